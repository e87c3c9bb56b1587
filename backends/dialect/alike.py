"""Runs of events that differ in one text and in nothing else: what an answer is made of, token after token.

Strategy: nearly all events of a stream are the same bytes as the one before, but for a text. One such event is parsed
and taken in for all, with a mark for its text; where taking it in brings that text and does nothing else, so does every
event of the run. Their bytes are compared and their texts taken out in columns, and these are parsed at once, as one
text. What is not of that shape, to the byte, is left to whoever reads event by event. Both give the same answer; a test
holds them to it.
"""

import re
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from bench.types import Body

Int64s = NDArray[np.int64]

MARK = "\ue000 the text of an event \ue000"
_MARK = orjson.dumps(MARK)[1:-1]
BETWEEN = "\x7f"
"""Stands behind each text of a run; a text that holds it is of no run."""
_HOLE = re.compile(rb'"(?:content|text|delta|reasoning_content|reasoning)": ?"(?!")')
_FIELD = re.compile(rb"data: ?(?={)")
# Each may look at all of a body: what changes its shape more often is read event by event.
_MOST_TRIES = 8
# Fewer are read one by one as soon.
_LEAST_EVENTS = 12
_SHORT_BYTES = 8 << 10
# So many events are compared at a time.
_BLOCK = 4096


class AlikeRun(NamedTuple):
    """The events of a body from byte `start` to `stop`: one of them with `MARK` for its text, all texts, and stamps.

    No text is empty, and behind each stands `BETWEEN`.
    """

    start: int
    stop: int
    event: Any
    texts: str
    stamps: "array[int]"


def runs(body: Body) -> Iterator[AlikeRun]:
    """The runs of a body, in their order: events that are a `data: {…}` line and a blank one each."""
    data, at = body.data, 0
    if len(data) < _SHORT_BYTES and data.count(b"\n") < 2 * _LEAST_EVENTS:
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
    if event is None:
        return None
    found = _alike(body, start, before, after + b"\n\n")
    if len(found.stops) < _LEAST_EVENTS:
        return None
    texts = _parsed(b'"%b"' % found.texts)
    if type(texts) is not str or texts.count(BETWEEN) != len(found.stops):
        return None
    # The first of an event's two line feeds completes its line.
    return AlikeRun(start, int(found.stops[-1]), event, texts, stamps_of(body, found.stops - 1))


class _Alike(NamedTuple):
    """Where events stop, and what stands in the place of their texts, with `BETWEEN` behind each.

    That is for JSON to say whether it is a text: no escape, no letter and no quotation mark goes on behind `BETWEEN`,
    and so all are strings where they are one together.
    """

    stops: Int64s
    texts: bytes


def _alike(body: Body, start: int, before: bytes, after: bytes) -> _Alike:
    """The events from `start` on that have these bytes before and after what may be a text."""
    # Most servers write an event at a time. Where they do not, a run ends at what is several events between two writes,
    # or not all of one; then line ends tell.
    ends = np.asarray(body.ends, np.int64)
    found = _ending_at(ends[ends > start], body.data, start, before, after)
    rest = len(body.data) - (int(found.stops[-1]) if len(found.stops) else start)
    if rest > _LEAST_EVENTS * (len(before) + len(after)):
        line_ends = np.flatnonzero(np.frombuffer(body.data, np.uint8) == 0x0A) + 1
        return _ending_at(line_ends[line_ends > start], body.data, start, before, after)
    return found


def _ending_at(ends: Int64s, data: bytes, start: int, before: bytes, after: bytes) -> _Alike:
    """The same of the pieces between those of the `ends` that are ends of events."""
    octets = np.frombuffer(data, np.uint8)
    stops = ends[(octets[ends - 1] == 0x0A) & (octets[ends - 2] == 0x0A)]
    begins = np.concatenate([[start], stops[:-1]])[: len(stops)]
    # No text is empty.
    count = _all_first(stops - begins > len(before) + len(after))
    count = _all_there(data, begins[:count], before)
    stops = stops[: _all_there(data, stops[:count] - len(after), after)]
    if not len(stops):
        return _Alike(stops, b"")
    texts_at = begins[: len(stops)] + len(before)
    # Each with the byte behind it, which makes room for what stands between them.
    sizes = stops - len(after) + 1 - texts_at
    texts_end = np.cumsum(sizes)
    texts = octets[np.repeat(texts_at - texts_end + sizes, sizes) + np.arange(texts_end[-1])]
    texts[texts_end - 1] = ord(BETWEEN)
    # Several events are none.
    lines = np.flatnonzero(texts == 0x0A)
    if len(lines):
        stops = stops[: np.searchsorted(texts_end, lines[0], "right")]
        texts = texts[: texts_end[len(stops) - 1] if len(stops) else 0]
    return _Alike(stops, texts.tobytes())


def _all_there(data: bytes, places: Int64s, piece: bytes) -> int:
    """At how many of the first places these bytes stand."""
    # A view of every byte as the first of so many: numpy then copies each at once.
    windows = np.ndarray((len(data) - len(piece) + 1,), f"V{len(piece)}", data, strides=(1,))
    for first in range(0, len(places), _BLOCK):
        found = windows[places[first : first + _BLOCK]]
        if found.tobytes() != piece * len(found):
            same = found.view(np.uint8).reshape(len(found), -1) == np.frombuffer(piece, np.uint8)
            return first + _all_first(same.all(axis=1))
    return len(places)


def _all_first(holds: NDArray[np.bool_]) -> int:
    """Of how many of the first it holds."""
    return len(holds) if holds.all() else int(np.argmin(holds))


def _parsed(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def stamps_of(body: Body, ends: Int64s) -> "array[int]":
    """When the first `ends[i]` bytes of a body had arrived; none is beyond its end."""
    read = np.searchsorted(np.asarray(body.ends, np.int64), ends)
    return array("q", np.asarray(body.t_ns, np.int64)[read].tobytes())
