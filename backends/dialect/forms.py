"""Answers of one form: the same bytes but for a name, a date and their texts, as a load's short answers mostly are.

Strategy: what is left of an answer with blanks in place of these is its form. When a form comes for the second time it
is decoded twice more, with other things in its blanks each time and a stamp of its own for each byte. Where both say
the same but for their texts, and of these where each goes, the form is known, and an answer of it is filled in and not
decoded. What is not known is decoded as ever; both give the same reply, to which a test holds them.
"""

import re
from bisect import bisect_left
from collections.abc import Mapping
from functools import wraps
from itertools import accumulate
from typing import Any, NamedTuple

import orjson

from bench.deltas import Deltas, in_columns
from bench.types import Body, Decode, Reply

_NAME = re.compile(rb'("id": ?")([\w.:-]+)"')
_DATE = re.compile(rb'("created": ?)([1-9]\d{0,11})([,}])')
_TEXT = re.compile(rb'("(?:content|text|delta|reasoning_content|reasoning)": ?")((?:[^"\\\n]|\\[^\n])+)(?=")')
# A byte that no JSON holds, and which of its blanks a form has there.
_BLANK = re.compile(rb"\0([ndt])")
# What a server says of one answer alone, and no dialect reads.
_OF_ONE_ANSWER = frozenset({"date", "x-request-id", "request-id", "cf-ray", "openai-processing-ms"})
_LONGEST, _MOST_FORMS, _MOST_HEADERS = 4096, 1024, 64
# So many answers in a row of forms that were not known: as many as then follow are not looked at.
_UNLIKE, _PASSED_OVER = 64, 1024


class _Apart(NamedTuple):
    """An answer's form, and what stands in its blanks."""

    form: bytes
    name: bytes
    date: bytes
    raw: list[bytes]
    texts: list[str]


class _Arrival(NamedTuple):
    """Output that is there with byte `fixed` of the body, besides what stands in so many of its blanks before it."""

    fixed: int
    names: int
    dates: int
    texts: int


class _Form(NamedTuple):
    """What an answer says: its text of literals and of the texts with these numbers, and all else of the reply.

    `kinds` and `tokens` are those of its `Deltas`.
    """

    text: tuple[str | int, ...]
    arrivals: tuple[_Arrival, ...]
    kinds: bytes
    tokens: tuple[int | None, ...] | None
    rest: tuple[Any, ...]


def by_form(decode: Decode) -> Decode:
    """The same decoder, which fills in an answer whose form it knows.

    For a decoder that takes stamps only for the end of a line or of the body, and texts only for the answer's.
    """
    known: dict[tuple[bytes, Any], _Form | None] = {}
    seen: set[tuple[bytes, Any]] = set()
    headers_seen: dict[int, tuple[Mapping[str, str], Any]] = {}
    unlike = 0

    def said_by(headers: Mapping[str, str]) -> Any:
        """What of the headers may be read; the same object, as of heads that are the same, is looked at once."""
        found = headers_seen.get(id(headers))
        if found is None:
            if len(headers_seen) >= _MOST_HEADERS:
                headers_seen.clear()
            said = tuple(one for one in headers.items() if one[0] not in _OF_ONE_ANSWER)
            found = headers_seen[id(headers)] = headers, said
        return found[1]

    @wraps(decode)
    def decoded(status: int, headers: Mapping[str, str], body: Body) -> Reply:
        nonlocal unlike
        if status != 200 or len(body.data) > _LONGEST or not body.ends or unlike < 0:
            unlike += unlike < 0
            return decode(status, headers, body)
        apart = _taken_apart(body.data)
        if apart is None:
            return decode(status, headers, body)
        key = apart.form, said_by(headers)
        form = known.get(key)
        if form is not None:
            unlike = 0
            return _filled_in(form, apart, body)
        unlike = unlike + 1 if unlike < _UNLIKE else -_PASSED_OVER
        if len(seen) >= _MOST_FORMS:
            seen.clear()
            known.clear()
        if key in seen and key not in known:
            known[key] = _form_of(decode, headers, apart.form)
        seen.add(key)
        return decode(status, headers, body)

    return decoded


def _taken_apart(data: bytes) -> _Apart | None:
    """An answer's form, and its blanks; None where it has bytes or texts that no JSON holds."""
    if b"\0" in data:
        return None
    name, date = _NAME.search(data), _DATE.search(data)
    if name:
        data = data.replace(name[0], name[1] + b'\0n"')
    if date:
        data = data.replace(date[0], date[1] + b"\0d" + date[3])
    parts = _TEXT.split(data)
    raw = parts[2::3]
    try:
        texts = orjson.loads(b'["' + b'","'.join(raw) + b'"]') if raw else []
    except orjson.JSONDecodeError:
        return None
    parts[2::3] = [b"\0t"] * len(raw)
    if any(map(str.isspace, texts)):
        # White space is no text where an answer begins: it is of the form.
        parts[2::3] = [said if text.isspace() else b"\0t" for said, text in zip(raw, texts, strict=True)]
        raw = [said for said, text in zip(raw, texts, strict=True) if not text.isspace()]
        texts = [text for text in texts if not text.isspace()]
    return _Apart(b"".join(parts), name[2] if name else b"", date[2] if date else b"", raw, texts)


def _filled_in(form: _Form, apart: _Apart, body: Body) -> Reply:
    ends, t_ns, deltas = body.ends, body.t_ns, Deltas()
    name_bytes, date_bytes, texts_bytes = len(apart.name), len(apart.date), [0, *accumulate(map(len, apart.raw))]
    for fixed, names, dates, texts in form.arrivals:
        there = fixed + names * name_bytes + dates * date_bytes + texts_bytes[texts]
        deltas.t_ns.append(t_ns[bisect_left(ends, there)])
    deltas.kinds += form.kinds
    deltas.tokens = form.tokens
    said = apart.texts
    return Reply("".join([said[one] if type(one) is int else one for one in form.text]), deltas, *form.rest)  # type: ignore[misc]


def _form_of(decode: Decode, headers: Mapping[str, str], form: bytes) -> _Form | None:
    """What answers of a form say; None where that depends on what stands in the blanks, or on what was wrong."""
    headers = {name: value for name, value in headers.items() if name not in _OF_ONE_ANSWER}
    first = _marked(decode, headers, form, b"a-1", b"1", "\ue000{}\ue000")
    return first if first == _marked(decode, headers, form, b"chatcmpl-b.2", b"1750000000", "Mark {}.") else None


def _marked(
    decode: Decode, headers: Mapping[str, str], form: bytes, name: bytes, date: bytes, mark: str
) -> _Form | None:
    """What the decoder says of a form with these in its blanks."""
    parts = _BLANK.split(form)
    kinds = parts[1::2]
    marks = [mark.format(n) for n in range(kinds.count(b"t"))]
    texts = iter(marks)
    parts[1::2] = [name if kind == b"n" else date if kind == b"d" else next(texts).encode() for kind in kinds]
    data = b"".join(parts)
    each = list(range(1, len(data) + 1))
    reply = decode(200, headers, Body(data, each, each))
    if reply.error or reply.unread or reply.counted_by != "server":
        return None
    blank_ends = list(accumulate(map(len, parts)))[1::2]
    deltas, arrivals = in_columns(reply.deltas), []
    for there in deltas.t_ns:
        before = bisect_left(blank_ends, there + 1)
        names, dates, said = (kinds[:before].count(blank) for blank in (b"n", b"d", b"t"))
        fixed = there - sum(map(len, parts[1 : 2 * before : 2]))
        arrivals.append(_Arrival(fixed, names, dates, said))
    tokens = None if deltas.tokens is None else tuple(deltas.tokens)
    return _Form(_pieces(reply.text, marks), tuple(arrivals), bytes(deltas.kinds), tokens, reply[2:])


def _pieces(text: str, marks: list[str]) -> tuple[str | int, ...]:
    """A text as literals and the numbers of the marks in it."""
    numbers = {mark: n for n, mark in enumerate(marks)}
    parts = re.split("(" + "|".join(map(re.escape, marks)) + ")", text) if marks else [text]
    return tuple(numbers.get(part, part) for part in parts if part)
