"""Decoding by form: most answers of a load have the same bytes except for names, dates, counts and texts.

Strategy: an answer's form is what remains when these are replaced by blanks; a run of events that differ only in their
text (`alike`) becomes one event with one blank. Once a form has been seen a few times, two made-up answers of it are
decoded: with different values in the blanks, runs of different lengths, and a timestamp for each byte. If both replies
agree except for texts and counts, and it is clear which blank each of these came from, the form is learned
(`learning`): the next answer of that form is filled in instead of decoded. All others are decoded as usual. A test
holds both ways to the same reply.
"""

from collections.abc import Mapping
from functools import wraps

from backends.dialect.blanks import Form, FormPattern, cut, filled_in, form_of, pattern_of
from backends.dialect.learning import learned
from bench.types import Body, Decode, Reply

# Headers that differ from answer to answer and that no dialect reads.
_OF_ONE_ANSWER = frozenset({"date", "x-request-id", "request-id", "cf-ray", "openai-processing-ms"})
_MOST_FORMS, _MOST_HEADERS = 1024, 64
# After so many answers in a row of unknown forms, the next ones are passed over: looking costs time and finds nothing.
_UNLIKE, _PASSED_OVER = 256, 2048
# Learning takes a few milliseconds, so a form must come this often first. The latest few forms are tried before an
# answer's own is worked out, which would take ten times as long.
_OFTEN, _LATEST = 6, 4

_Said = tuple[tuple[str, str], ...]
_Known = tuple[FormPattern, Form]


def by_form(decode: Decode) -> Decode:
    """Return the same decoder, which fills in an answer whose form it knows.

    It must take timestamps only at the end of a line or of the body, use texts only as the answer's text, and use
    counts only to add them up and to compare those of one name. An event that brings only a text must do so wherever
    it stands between two others.
    """
    forms = _Forms(decode)

    @wraps(decode)
    def decoded(status: int, headers: Mapping[str, str], body: Body) -> Reply:
        return (forms.reply(headers, body) if status == 200 else None) or decode(status, headers, body)

    return decoded


class _Forms:
    """The forms seen so far, by form and by the headers that a dialect may read."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._times: dict[tuple[bytes, _Said], int] = {}
        self._known: dict[tuple[bytes, _Said], _Known | None] = {}
        self._latest: dict[_Said, list[_Known]] = {}
        self._headers: dict[int, tuple[Mapping[str, str], _Said]] = {}
        self._unlike = 0

    def reply(self, headers: Mapping[str, str], body: Body) -> Reply | None:
        """Fill in an answer; None if its form is not known."""
        if self._unlike < 0 or not body.ends or (short := cut(body)) is None:
            self._unlike += self._unlike < 0
            return None
        data, runs = short
        said = self._said_by(headers)
        for known in self._latest.get(said, ()):
            if (reply := filled_in(*known, body, data, runs)) is not None:
                self._unlike = 0
                return reply
        form = form_of(data, len(runs))
        known_form = None if form is None else self._known_form(form, said)
        return None if known_form is None else filled_in(*known_form, body, data, runs)

    def _known_form(self, form: bytes, said: _Said) -> _Known | None:
        key = form, said
        if known := self._known.get(key):
            self._unlike = 0
            others = [one for one in self._latest.get(said, ()) if one is not known]
            self._latest[said] = [known, *others][:_LATEST]
            return known
        self._unlike = self._unlike + 1 if self._unlike < _UNLIKE else -_PASSED_OVER
        if len(self._times) >= _MOST_FORMS:
            for kept in (self._times, self._known, self._latest):
                kept.clear()
        times = self._times[key] = self._times.get(key, 0) + 1
        if times == _OFTEN:
            what = learned(self._decode, dict(said), form)
            self._known[key] = None if what is None else (pattern_of(form), what)
        return None

    def _said_by(self, headers: Mapping[str, str]) -> _Said:
        """The headers that a dialect may read; identical heads share one object, which is looked at once."""
        found = self._headers.get(id(headers))
        if found is None:
            if len(self._headers) >= _MOST_HEADERS:
                self._headers.clear()
            said = tuple(one for one in headers.items() if one[0] not in _OF_ONE_ANSWER)
            found = self._headers[id(headers)] = headers, said
        return found[1]
