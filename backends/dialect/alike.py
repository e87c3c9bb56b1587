"""Runs of events that differ in one text and in nothing else: what an answer is made of, token after token.

Strategy: nearly all events of a stream are the same bytes as the one before, but for a text. One such event is parsed
and taken in for all, with a mark for its text; where taking it in brings that text and does nothing else, so does every
event of the run, and their texts are parsed at once, as one array. What is not of that shape, to the byte, is left to
whoever reads event by event. Both give the same answer; a test holds them to it.
"""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from bench.types import Body

MARK = "\ue000 the text of an event \ue000"
_MARK = orjson.dumps(MARK)[1:-1]
_HOLE = re.compile(rb'"(?:content|text|delta|reasoning_content|reasoning)": ?"(?!")')
_FIELD = re.compile(rb"data: ?(?={)")
# Each may look at all of a body: what changes its shape more often is read event by event.
_MOST_TRIES = 8
# Fewer are read one by one as soon.
_LEAST_EVENTS = 12


class AlikeRun(NamedTuple):
    """The events of a body from byte `start` to `stop`: one of them with `MARK` for its text, all texts, and stamps."""

    start: int
    stop: int
    event: Any
    texts: list[str]
    stamps: list[int]


def runs(body: Body) -> Iterator[AlikeRun]:
    """The runs of a body, in their order: events that are a `data: {…}` line and a blank one each."""
    data, at = body.data, 0
    if data.count(b"\n") < 2 * _LEAST_EVENTS:
        return
    for _ in range(_MOST_TRIES):
        hole = _HOLE.search(data, at)
        if hole is None:
            return
        start = data.rfind(b"\n", at, hole.start()) + 1 or at
        close, stop = data.find(b'"', hole.end()), data.find(b"\n\n", hole.end())
        if not 0 < close < stop:
            return
        run = _run(body, start, hole.end(), data[close:stop])
        if run is not None:
            yield run
        at = stop + 2 if run is None else run.stop


def _run(body: Body, start: int, text_at: int, after: bytes) -> AlikeRun | None:
    """The run whose first event begins at `start`, its text at `text_at`, with the bytes `after` it."""
    before = body.data[start:text_at]
    field = _FIELD.match(before)
    if field is None or b"\r" in before or b"\r" in after or b"\n" in after:
        return None
    event = _parsed(before[field.end() :] + _MARK + after)
    between = after + b"\n\n" + before
    pieces = body.data[text_at:].split(between)
    if event is None or len(pieces) < _LEAST_EVENTS:
        return None
    # The first piece with a line end is followed by something else; its text may still be of the run.
    odd = len(pieces) - 1
    if b"\n".join(pieces[:odd]).count(b"\n") != odd - 1:
        odd = next(n for n, piece in enumerate(pieces) if b"\n" in piece)
    last, closed, _ = pieces[odd].partition(after + b"\n\n")
    pieces[odd:] = [last] if closed and b"\n" not in last else []
    texts = _texts(pieces) if pieces else None
    if texts is None:
        return None
    stops = start + np.cumsum(np.fromiter(map(len, pieces), np.int64, len(pieces)) + len(between))
    # The first of an event's two line feeds completes its line.
    return AlikeRun(start, int(stops[-1]), event, texts, stamps_of(body, stops - 1))


def _texts(pieces: list[bytes]) -> list[str] | None:
    """Strings of JSON without their quotation marks, parsed; None unless each is whole, with nothing beside it."""
    # No string of JSON holds a line end.
    escaped = b"\n".join(pieces).replace(rb"\\", b"")
    if escaped.count(b'"') != escaped.count(rb"\"") or b"\\\n" in escaped or escaped.endswith(b"\\"):
        return None
    return _parsed(b'["' + b'","'.join(pieces) + b'"]')  # type: ignore[no-any-return]


def _parsed(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def stamps_of(body: Body, ends: NDArray[np.int64]) -> list[int]:
    """When the first `ends[i]` bytes of a body had arrived; none is beyond its end."""
    return list(map(body.t_ns.__getitem__, np.searchsorted(body.ends, ends).tolist()))
