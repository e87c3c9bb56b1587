"""Server-sent events out of a stamped body, following https://html.spec.whatwg.org/multipage/server-sent-events.html.

Strategy: what engines really send is perfectly regular (`data: {…}` and a blank line, over and over), and for that a
few passes in C over the whole body do. Whatever is not, to the byte, of that shape goes through the standard's parser,
line by line. Both give the same events with the same stamps; a test holds them to it.
"""

import re
from bisect import bisect_left
from itertools import accumulate
from typing import Any

from backends._json import lenient
from bench.types import Body

BOM = b"\xef\xbb\xbf"
LINE = re.compile(rb"([^\r\n]*)(?:\r\n|\r|\n)|([^\r\n]+)\Z")


def events(body: Body) -> list[tuple[int, bytes]]:
    """Every event as (t_ns, data); t_ns is the stamp of the read that completed the event's last data line.

    One liberty with the standard: an event that the end of the stream cuts off before its blank line is kept, since
    some servers leave that line out, and of a broken stream the last event is evidence.
    """
    found: list[tuple[int, bytes]] = []
    data: list[bytes] = []
    completed = 0
    for line in LINE.finditer(body.data, len(BOM) if body.data.startswith(BOM) else 0):
        text = line[1] if line[2] is None else line[2]
        name, _, value = text.partition(b":")
        if name == b"data":
            data.append(value.removeprefix(b" "))
            completed = line.start() + len(text) + 1
        elif not text and data:
            found.append((_stamp(body, completed), b"\n".join(data)))
            data = []
    if data:
        found.append((_stamp(body, completed), b"\n".join(data)))
    return found


def json_events(body: Body) -> tuple[list[Any], list[int]]:
    """The data of every event as JSON, and every event's stamp; data that is not JSON (`[DONE]`) stays `bytes`."""
    regular = _regular_events(body)
    if regular is None:
        exact = events(body)
        return [lenient(data) for _, data in exact], [t_ns for t_ns, _ in exact]
    datas, stamps = regular
    return [lenient(data) for data in datas], stamps


def _regular_events(body: Body) -> tuple[list[bytes], list[int]] | None:
    """The events of a body that is nothing but single `data:` lines, a blank line after each; None for any other."""
    lines = body.data.split(b"\n")
    datas = lines[:-1:2]
    blanks = lines[1::2]
    if len(lines) != 2 * len(datas) + 1 or any(blanks) or lines[-1] or b"\r" in body.data:
        return None
    if not all(line.startswith(b"data:") for line in datas):
        return None
    # Every event is its line and two line feeds; the first of the two completes the line.
    line_ends = [event_end - 1 for event_end in accumulate([len(line) + 2 for line in datas])]
    return [line[5:].removeprefix(b" ") for line in datas], [_stamp(body, end) for end in line_ends]


def _stamp(body: Body, end: int) -> int:
    """When the first `end` bytes had arrived; a last line without a line end counts as ended by the end of the body."""
    return body.t_ns[bisect_left(body.ends, min(end, len(body.data)))]
