"""Server-sent events out of a stamped body, following https://html.spec.whatwg.org/multipage/server-sent-events.html.

Strategy: what engines really send is perfectly regular (`data: {…}` and a blank line, over and over), and for that a
few passes in C over the whole body do. Whatever is not, to the byte, of that shape goes through the standard's parser,
line by line. Both give the same events with the same stamps; a test holds them to it.

Servers and the proxies before them also break the standard, in ways that other clients read over or report: a blank
`data:` to keep the connection alive, blanks around `[DONE]`, no blank lines between events, and errors as a line of
JSON or of words in the middle of the stream, or as a field or an event of the name `error`. All of these are read here,
for every dialect.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice
from typing import Any, NamedTuple

import orjson

from backends.dialect.outside import lenient
from bench.types import Body

BOM = b"\xef\xbb\xbf"
DONE = b"[DONE]"
FIELD_NAMES = (b"event:", b"data:", b"id:", b"retry:", b"error:", b":")
FIELDS = (b"data: ", b"data:")  # TGI leaves out the space, or not, by its version
LINE = re.compile(rb"([^\r\n]*)(?:\r\n|\r|\n)|([^\r\n]+)\Z")
A_FIELD = re.compile(rb"(?:\A|[\r\n])(?:event|data|id|retry|error)?:")
ERROR_WORDS = re.compile(rb"\W{0,8}(?:\w{1,20} ){0,2}error\b", re.IGNORECASE)
KEEP_ALIVES = (b"ping", b"heartbeat", b"keepalive", b"keep-alive")
FIELD_BEGINNINGS = frozenset((b"event", b"data", b"id", b"retry", b"error", b""))


class Event(NamedTuple):
    """`name` is that of its `event:` line, b"" without one. Not `standard` are lines of no field, or of `error:`.

    `line_ends` are the bytes of the body at which its lines of data were complete.
    """

    t_ns: int
    data: bytes
    name: bytes
    standard: bool
    line_ends: tuple[int, ...] = ()


def every_event(body: Body) -> Iterator[Event]:
    """Every event of the standard, and as events of their own `error:` lines and runs of lines without a field.

    An event's stamp is that of the read that completed its last data line. One liberty: an event that the end of the
    stream cuts off before its blank line is kept, since some servers leave that line out, and of a broken stream the
    last event is evidence.
    """
    data: list[bytes] = []
    bare: list[bytes] = []
    ends: list[int] = []
    bare_ends: list[int] = []
    name = b""
    for line in LINE.finditer(body.data, len(BOM) if body.data.startswith(BOM) else 0):
        text = line[1] if line[2] is None else line[2]
        end = line.start() + len(text) + 1
        text = text.removeprefix(BOM)  # .NET's writers put one before whatever they are made for
        field, colon, value = text.partition(b":")
        if bare and (field in FIELD_BEGINNINGS or not text):
            yield _event(body, bare, bare_ends, b"", False)
            bare, bare_ends = [], []
        if field == b"data":
            data.append(value.removeprefix(b" "))
            ends.append(end)
        elif not text:
            if data:
                yield _event(body, data, ends, name, True)
            data, ends, name = [], [], b""
        elif field == b"event":
            name = value.strip().lower()
        elif field == b"error" and colon:
            yield Event(_stamp(body, end), value.strip(), b"error", False)
        elif field not in FIELD_BEGINNINGS:
            bare.append(text)
            bare_ends.append(end)
    if bare:
        yield _event(body, bare, bare_ends, b"", False)
    if data:
        yield _event(body, data, ends, name, True)


def _event(body: Body, lines: list[bytes], ends: list[int], name: bytes, standard: bool) -> Event:
    return Event(_stamp(body, ends[-1]), b"\n".join(lines), name, standard, tuple(ends))


def json_events(body: Body) -> tuple[list[Any], Sequence[int]]:
    """The data of every event as JSON, and every event's stamp; data that is not JSON (`[DONE]`) stays `bytes`.

    An error in any shape is a dictionary with the key `error`; events without data, or with null, are left out.
    """
    if (regular := _regular_values(body.data)) is not None:
        return regular, _regular_stamps(body)
    values, stamps = list[Any](), list[int]()
    for event in every_event(body):
        value = lenient(event.data)
        if event.name != b"error" and isinstance(value, dict):
            values.append(value)
            stamps.append(event.t_ns)
            continue
        for each in _lines(body, event) if isinstance(value, bytes) else [event]:
            for value in _values(each):
                values.append(value)
                stamps.append(each.t_ns)
    return values, stamps


def _lines(body: Body, event: Event) -> list[Event]:
    """Each line as an event of its own where all are whole: servers, and gateways, leave the blank lines out."""
    if len(event.line_ends) < 2:
        return [event]
    lines = zip(event.data.split(b"\n"), event.line_ends, strict=True)
    told = [event._replace(t_ns=_stamp(body, end), data=line) for line, end in lines if line.strip()]
    are_whole = all(_is_done(one.data) or isinstance(lenient(one.data), dict) for one in told)
    return told if len(told) > 1 and are_whole else [event]


def _is_done(data: bytes) -> bool:
    return data.strip(b' "\t').upper() == DONE


def json_values(body: Body) -> tuple[list[Any], Sequence[int]]:
    """What a body says as JSON values with their stamps: a stream's events, or one document, such as an error.

    Data that is not JSON stays `bytes`, as does a body that is neither. The event in which a stream was cut is left
    out.
    """
    text = body.data.removeprefix(BOM).lstrip()
    if not text.startswith(FIELD_NAMES):
        value = lenient(text)
        if not (isinstance(value, bytes) and A_FIELD.search(text)):
            documents = _documents(value) if text and not _begins(text, FIELD_NAMES) else []
            return documents, list(body.t_ns[-1:]) * len(documents)
    values, stamps = json_events(body)
    if values and isinstance(values[-1], bytes) and not body.data.endswith((b"\n", b"\r")) and _is_cut(values[-1]):
        return values[:-1], stamps[:-1]
    return values, stamps


def is_document(body: Body) -> bool:
    """Whether the body is one piece of JSON and no stream: an answer that was not streamed, or an error."""
    return body.data[:64].removeprefix(BOM).lstrip().startswith(b"{")


def _is_cut(text: bytes) -> bool:
    """Whether a stream that ends with these bytes was cut in an event, and not ended by words for whoever reads it."""
    return text.startswith(b"{") or _begins(text, (DONE, *FIELD_NAMES))


def _begins(text: bytes, wholes: tuple[bytes, ...]) -> bool:
    return any(whole.startswith(text) for whole in wholes if whole != text)


def _documents(value: Any) -> list[Any]:
    """One JSON value, the values of a list, or of what is no JSON the first of its lines that is an error."""
    if isinstance(value, list):
        return value
    if not isinstance(value, bytes):
        return [value]
    if ERROR_WORDS.match(value):
        return [_error(value)]
    lines = (lenient(line) for line in value.splitlines() if line.startswith(b"{"))
    return [next((line for line in lines if isinstance(line, dict) and line.get("error")), value)]


def _values(event: Event) -> list[Any]:
    data = event.data.strip()
    if not data or data == b"null":
        return []
    if _is_done(data):
        return [DONE]
    if not (event.standard or event.name):
        return _documents(lenient(data))
    value = lenient(data)
    if event.name in KEEP_ALIVES and not isinstance(value, dict):
        return []
    if event.name == b"error" and not (isinstance(value, dict) and "error" in value):
        return [_error(value)]
    if isinstance(value, bytes) and ERROR_WORDS.match(value):
        return [_error(value)]
    return [value]


def _error(said: Any) -> dict[str, Any]:
    return {"error": said.decode("utf-8", "replace") if isinstance(said, bytes) else said}


def _regular_values(data: bytes) -> list[Any] | None:
    """All events of a body that is nothing but `data: {…}` lines, a blank line after each; None for any other.

    They are parsed at once, as one array: two thirds of the time of one by one.
    """
    field = next((name for name in FIELDS if data.startswith((name + b"{", name + DONE))), None)
    if field is None:
        return None
    between = b"}\n\n" + field + b"{"
    objects = data.removesuffix(field + DONE + b"\n\n")
    if not objects:
        return [DONE]
    count = objects.count(between) + 1
    if not (objects.endswith(b"}\n\n") and objects.count(b"\n") == 2 * count):
        return None
    if b"\r" in objects:
        return None
    try:
        values: list[Any] = orjson.loads(b"[%b]" % objects[len(field) : -2].replace(between, b"},{"))
    except orjson.JSONDecodeError:
        return None
    if len(values) != count:
        return None
    return values if objects is data else [*values, DONE]


def _regular_stamps(body: Body) -> list[int]:
    # Every event is its line and two line feeds; the first of the two completes the line.
    line_ends = accumulate((len(line) + 2 for line in body.data.split(b"\n\n")[:-1]), initial=-1)
    ends, t_ns = body.ends, body.t_ns
    return [t_ns[bisect_left(ends, end)] for end in islice(line_ends, 1, None)]


def _stamp(body: Body, end: int) -> int:
    """When the first `end` bytes had arrived; a last line without a line end counts as ended by the end of the body."""
    return body.t_ns[bisect_left(body.ends, min(end, len(body.data)))]
