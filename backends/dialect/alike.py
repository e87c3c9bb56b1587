"""Runs of events that differ only in one text, as the events of a stream mostly do, token after token.

They are found by comparing bytes, in columns; what an event means is left to whoever decodes one of them (`forms`). An
event that differs in any other byte belongs to no run.
"""

import re
from array import array
from typing import NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from bench.types import Body

Int64s = NDArray[np.int64]

BETWEEN = "\x7f"
"""Separates the texts of a run; an event whose text contains it belongs to no run."""
LEAST_BYTES = 4096
"""The least a run has: shorter ones are decoded as fast event by event."""
TEXTS = rb"content|text|delta|reasoning_content|reasoning"
"""The keys under which dialects send text."""
IS_TEXT = rb'(?!(?: |\\[nrt])*")'
"""What begins here is not empty and not only white space, which at the start of an answer is no output."""
_HOLE = re.compile(rb'"(?:%b)": ?"%b' % (TEXTS, IS_TEXT))
_FIELD = re.compile(rb"data: ?{")
# Each try may scan the whole body; a stream that changes its shape more often is decoded event by event.
_MOST_TRIES = 8
# Events compared at a time, which bounds the copies.
_BLOCK = 4096


class AlikeRun(NamedTuple):
    """The events from byte `start` to `stop` of a body, each a `data: {…}` line and a blank one.

    Each consists of the bytes `before`, a text that is not empty, and the bytes `after`. `texts` has all texts, each
    followed by `BETWEEN`; `stamps` is when each line was complete. The first begins an event, it does not continue one.
    """

    start: int
    stop: int
    before: bytes
    after: bytes
    texts: str
    stamps: "array[int]"


def runs(body: Body) -> list[AlikeRun]:
    """The runs of a body, in their order."""
    data, at, found = body.data, 0, list[AlikeRun]()
    for _ in range(_MOST_TRIES):
        if len(data) - at < LEAST_BYTES or (hole := _HOLE.search(data, at)) is None:
            break
        start = data.rfind(b"\n", at, hole.start()) + 1 or at
        close, stop = data.find(b'"', hole.end()), data.find(b"\n\n", hole.end()) + 2
        if not 0 < close < stop:
            break
        run = _run(body, start, data[start : hole.end()], data[close:stop])
        if run is not None:
            found.append(run)
        at = stop if run is None else run.stop
    return found


def _run(body: Body, start: int, before: bytes, after: bytes) -> AlikeRun | None:
    """The run whose first event begins at `start`, with these bytes before and after its text."""
    if not _FIELD.match(before) or body.data[max(start - 2, 0) : start] not in (b"", b"\n\n"):
        return None
    if b"\r" in before or b"\r" in after or after.count(b"\n") != 2:
        return None
    found = _alike(body, start, before, after)
    if not len(found.stops) or found.stops[-1] - start < LEAST_BYTES:
        return None
    try:
        texts = orjson.loads(b'"%b"' % found.texts)
    except orjson.JSONDecodeError:
        return None
    if type(texts) is not str or texts.count(BETWEEN) != len(found.stops) or texts[: texts.index(BETWEEN)].isspace():
        return None
    # The first of an event's two line feeds completes its line.
    return AlikeRun(start, int(found.stops[-1]), before, after, texts, _stamps(body, found.stops - 1))


class _Alike(NamedTuple):
    """Where events stop, and the bytes in the place of their texts, each followed by `BETWEEN`.

    Whether they are texts only JSON can tell. It is asked once for all of them: no escape and no character reaches
    across `BETWEEN`, so they are strings each if they are one string together.
    """

    stops: Int64s
    texts: bytes


def _alike(body: Body, start: int, before: bytes, after: bytes) -> _Alike:
    """The events from `start` on that have these bytes before and after what may be a text."""
    # Most servers write one event at a time, so events end where reads do. If not, line ends tell.
    ends = np.asarray(body.ends, np.int64)
    found = _ending_at(ends[np.searchsorted(ends, start, "right") :], body.data, start, before, after)
    rest = len(body.data) - (int(found.stops[-1]) if len(found.stops) else start)
    if rest > LEAST_BYTES:
        line_ends = np.flatnonzero(np.frombuffer(body.data, np.uint8) == 0x0A) + 1
        return _ending_at(line_ends[line_ends > start], body.data, start, before, after)
    return found


def _ending_at(ends: Int64s, data: bytes, start: int, before: bytes, after: bytes) -> _Alike:
    """The same, for events that end at some of these `ends`."""
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
    # Each with one byte more, to make room for `BETWEEN`.
    sizes = stops - len(after) + 1 - texts_at
    texts_end = np.cumsum(sizes)
    texts = octets[np.repeat(texts_at - texts_end + sizes, sizes) + np.arange(texts_end[-1])]
    texts[texts_end - 1] = ord(BETWEEN)
    # A line feed inside: that was more than one event.
    lines = np.flatnonzero(texts == 0x0A)
    if len(lines):
        stops = stops[: np.searchsorted(texts_end, lines[0], "right")]
        texts = texts[: texts_end[len(stops) - 1] if len(stops) else 0]
    return _Alike(stops, texts.tobytes())


def _all_there(data: bytes, places: Int64s, piece: bytes) -> int:
    """At how many places in a row, from the first on, these bytes stand."""
    # A view in which every byte begins an element of that length, so that numpy copies each in one go.
    windows = np.ndarray((len(data) - len(piece) + 1,), f"V{len(piece)}", data, strides=(1,))
    for first in range(0, len(places), _BLOCK):
        found = windows[places[first : first + _BLOCK]]
        if found.tobytes() != piece * len(found):
            same = found.view(np.uint8).reshape(len(found), -1) == np.frombuffer(piece, np.uint8)
            return first + _all_first(same.all(axis=1))
    return len(places)


def _all_first(holds: NDArray[np.bool_]) -> int:
    """For how many in a row, from the first on, it holds."""
    return len(holds) if holds.all() else int(np.argmin(holds))


def _stamps(body: Body, ends: Int64s) -> "array[int]":
    """When the first `ends[i]` bytes of a body had arrived; none is beyond its end."""
    read = np.searchsorted(np.asarray(body.ends, np.int64), ends)
    return array("q", np.asarray(body.t_ns, np.int64)[read].tobytes())
