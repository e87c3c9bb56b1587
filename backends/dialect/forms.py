"""Answers of one form: the same bytes but for names, dates, counts and texts, as a load's answers mostly are.

Strategy: what is left of an answer with blanks in place of these is its form; of a run of events that differ in their
text alone (`alike`) one event is left, with one blank for all texts. When a form has come a few times it is decoded
twice more, with other things in its blanks each time, a run of another length, and a stamp of its own for each byte.
Where both say the same but for texts and counts, and of these where each goes, the form is known (`learning`), and an
answer of it is filled in and not decoded. What is not known is decoded as ever; both give the same reply, to which a
test holds them.
"""

from collections.abc import Mapping
from functools import wraps

from backends.dialect.blanks import Form, FormPattern, cut, filled_in, form_of, pattern_of
from backends.dialect.learning import learned
from bench.types import Body, Decode, Reply

# What a server says of one answer alone, and no dialect reads.
_OF_ONE_ANSWER = frozenset({"date", "x-request-id", "request-id", "cf-ray", "openai-processing-ms"})
_MOST_FORMS, _MOST_HEADERS = 1024, 64
# So many answers in a row of forms that were not known: as many as then follow are not looked at.
_UNLIKE, _PASSED_OVER = 256, 2048
# A form is learned when it came so often: that takes a few milliseconds. Those of the few that came last are tried
# first, which takes a tenth of the time of finding out an answer's form.
_OFTEN, _LATEST = 6, 4

_Said = tuple[tuple[str, str], ...]
_Known = tuple[FormPattern, Form]


def by_form(decode: Decode) -> Decode:
    """The same decoder, which fills in an answer whose form it knows.

    For a decoder that takes stamps only for the end of a line or of the body, texts only for the answer's, and counts
    only for sums and to compare them with those of the same name; where an event that brings a text, and nothing else
    that the reply has, does so wherever it comes between two events.
    """
    forms = _Forms(decode)

    @wraps(decode)
    def decoded(status: int, headers: Mapping[str, str], body: Body) -> Reply:
        return (forms.reply(headers, body) if status == 200 else None) or decode(status, headers, body)

    return decoded


class _Forms:
    """The forms that have come, each with what of the headers may be read."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self._times: dict[tuple[bytes, _Said], int] = {}
        self._known: dict[tuple[bytes, _Said], _Known | None] = {}
        self._latest: dict[_Said, list[_Known]] = {}
        self._headers: dict[int, tuple[Mapping[str, str], _Said]] = {}
        self._unlike = 0

    def reply(self, headers: Mapping[str, str], body: Body) -> Reply | None:
        """What an answer says, None where its form is not known."""
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
        """What of the headers may be read; the same object, as of heads that are the same, is looked at once."""
        found = self._headers.get(id(headers))
        if found is None:
            if len(self._headers) >= _MOST_HEADERS:
                self._headers.clear()
            said = tuple(one for one in headers.items() if one[0] not in _OF_ONE_ANSWER)
            found = self._headers[id(headers)] = headers, said
        return found[1]
