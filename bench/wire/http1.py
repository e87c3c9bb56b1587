"""HTTP/1.1 responses: noticing, while load runs, that one is complete; and taking it apart afterwards.

Strategy: in the timed path nobody needs a response's content, only its end. `Framing` therefore looks at the head
once, and from then on at the last bytes of each read. A chunked body can only end in CRLF CRLF, so chunks are walked
only when a read ends that way, from where the last walk stopped: a stream of LF events is never walked before its
end, and one of CRLF events costs one pass in all. `parse` runs later, on the kept bytes, and gives every body byte
the stamp of the read that brought it.
"""

import re
from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import ClassVar, NamedTuple

from bench.types import Body, HttpRequest
from bench.wire.chunks import plain_chunks
from bench.wire.codings import unpacked

STATUS = re.compile(rb"[1-5]\d\d")


class MalformedResponse(ValueError):
    """The bytes are not an HTTP/1.1 response."""


class TooLarge(MalformedResponse):
    """A part of the response is longer than anything that a server has to say there."""


HEAD_BYTES_MAX = 64 << 10
"""A response's head, interim responses included."""

_LINE_BYTES_MAX = 8 << 10
_TRAILERS_BYTES_MAX = 16 << 10
# Heads that differ in their Date alone are short; longer ones would be kept in the cache for nothing.
_CACHED_HEAD_BYTES = 4 << 10
# How far it is from one chunk to the next, by the first bytes of those whose size has up to three digits: a stream has
# chunks of few sizes, and to look one up takes a ninth of the time of reading it.
_known_chunks: dict[bytes, int] = {}
_KNOWN_BYTES, _KNOWN_MAX = 5, 4096
CR = ord("\r")
_LAST_CHUNK = b"0\r\n\r\n"
# A line may end in LF alone (RFC 9112, 2.2), and go on in the next one that begins with a blank (5.2).
_BLANK_LINE = re.compile(rb"\n\r?\n")
_FOLD = re.compile(rb"\r?\n[ \t]+")
# Their values may be listed in one header or in several; of any other header the last stands.
_LISTS = frozenset({"content-encoding", "transfer-encoding", "connection", "content-length"})


class Head(NamedTuple):
    """A response's head, itself `length` bytes; `body_bytes` is None where chunks or the connection's end say it.

    `codings` are what was done to the body before it was sent, first to last, chunks not among them.
    """

    length: int
    status: int
    headers: Mapping[str, str]
    keep_alive: bool
    chunked: bool
    body_bytes: int | None
    codings: Sequence[str]


def encode_request(request: HttpRequest, host: str) -> bytes:
    """Give the bytes of a keep-alive request with Content-Length added, and Host where it names none itself."""
    said = "".join([f"{name}: {value}\r\n" for name, value in request.headers])
    names_host = "host" in [name.lower() for name, _ in request.headers]
    host_line = "" if names_host else f"Host: {host}\r\n"
    head = f"{request.method} {request.path} HTTP/1.1\r\n{host_line}{said}Content-Length: {len(request.body)}\r\n\r\n"
    return head.encode("latin-1") + request.body


def parse_head(data: bytes) -> Head | None:
    """Parse the final response's head, stepping over 1xx; None while incomplete. Header names become lower case."""
    start = 0
    while True:
        blank = _BLANK_LINE.search(data, start)
        if blank is None:
            if start == 0 and not b"HTTP/1.".startswith(data[:7]):
                raise MalformedResponse(f"not HTTP/1.1: {data[:40]!r}")
            return None
        block = data[start : blank.start()]
        parsed = _cached_head_block(block) if len(block) <= _CACHED_HEAD_BYTES else _parse_head_block(block)
        head = Head(blank.end(), *parsed)
        # A server may send 1xx before its answer, even unasked (RFC 9110, 15.2).
        if not 100 <= head.status < 200:
            return head
        start = head.length


def _parse_head_block(block: bytes) -> tuple[int, Mapping[str, str], bool, bool, int | None, Sequence[str]]:
    if b"\n " in block or b"\n\t" in block:
        block = _FOLD.sub(b" ", block)
    if block.count(b"\n") != block.count(b"\r\n"):
        block = block.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    first, *rest = block.removesuffix(b"\r").split(b"\r\n")
    parts = first.split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not STATUS.fullmatch(parts[1]):
        raise MalformedResponse(f"bad status line: {first[:60]!r}")
    headers: dict[str, str] = {}
    for line in rest:
        name, colon, value = line.partition(b":")
        if not colon:
            raise MalformedResponse(f"bad header line: {line[:60]!r}")
        key, said = name.strip().decode("latin-1").lower(), value.strip().decode("latin-1")
        headers[key] = f"{headers[key]}, {said}" if key in _LISTS and key in headers else said
    status = int(parts[1])
    connection = headers.get("connection", "").lower()
    # Persistence is the default of HTTP/1.1 and has to be asked for in HTTP/1.0 (RFC 9112, 9.3).
    keep_alive = "keep-alive" in connection if parts[0] == b"HTTP/1.0" else "close" not in connection
    # Chunks tell the length where they are the last coding, whatever Content-Length says (RFC 9112, 6.3).
    coding = headers.get("transfer-encoding", "")
    chunked = coding == "chunked" or _listed(coding)[-1:] == ["chunked"]
    body_bytes = None
    # These never have a body (RFC 9112, 6.3); a length in a 304's head is that of the answer it stands for.
    if status in (204, 304):
        chunked, body_bytes = False, 0
    elif not chunked and "content-length" in headers:
        said_bytes = {_number(length.encode("latin-1"), 10) for length in headers["content-length"].split(",")}
        if len(said_bytes) > 1:
            raise MalformedResponse(f"more than one length: {headers['content-length'][:40]!r}")
        (body_bytes,) = said_bytes
    return status, headers, keep_alive, chunked, body_bytes, _codings(headers)


# At thousands of responses a second they differ in their Date at most, which changes once in that second.
_cached_head_block = lru_cache(maxsize=64)(_parse_head_block)


class Framing:
    """Tells when a response is complete, looking at as little as it can.

    `status` is None until the head has come. After completion `keep_alive` says whether the connection can carry
    another request. Raises MalformedResponse and TooLarge. Its time is linear in the bytes fed, however they are cut:
    no byte of a body is looked at again, those of a head and of a chunk's size line only as often as their caps allow.

    In chunks `waiting` has the reads that nobody had to look at yet, elsewhere it is None. A read whose fourth last
    byte is there and not `CR` may be put there in place of being fed.
    """

    __slots__ = ("_head_bytes", "_missing", "_step", "keep_alive", "status", "waiting")

    # The last head that came whole, and what it says: a server's answers begin with the same bytes until its Date
    # changes.
    _last_head: ClassVar[tuple[bytes, Head | None]] = (b"", None)

    def __init__(self) -> None:
        self.waiting: list[bytes] | None = None
        self._head_bytes: bytes | bytearray = b""
        # Of a counted body what is to come; in chunks what is to be stepped over before the next size line.
        self._missing = 0
        # A plain function, not a bound method: that would be a cycle per request, and nothing collects cycles here.
        self._step: Callable[[Framing, bytes], bool] = Framing._head
        self.keep_alive = False
        self.status: int | None = None

    def feed(self, data: bytes) -> bool:
        """Take the bytes of one read; True when the response is complete."""
        return self._step(self, data)

    @property
    def ends_with_connection(self) -> bool:
        """Whether the body is complete when the server closes."""
        return self._step is Framing._until_close

    def _head(self, data: bytes) -> bool:
        if self._head_bytes:
            searched = max(0, len(self._head_bytes) - 3)
            self._head_bytes += data
            if _BLANK_LINE.search(self._head_bytes, searched) is None:
                return self._incomplete_head()
            data = bytes(self._head_bytes)
        last, head = Framing._last_head
        if head is None or not data.startswith(last):
            head = parse_head(data)
            if head is None:
                # Whatever is complete in it was interim, and is not looked at again.
                interim = max((blank.end() for blank in _BLANK_LINE.finditer(data)), default=0)
                self._head_bytes = bytearray(data[interim:])
                return self._incomplete_head()
            _check_length("a response's head", head.length, HEAD_BYTES_MAX)
            if head.length <= _CACHED_HEAD_BYTES:
                Framing._last_head = data[: head.length], head
        self._head_bytes = b""
        self.keep_alive = head.keep_alive
        self.status = head.status
        body = data[head.length :]
        if head.chunked:
            self._step = Framing._chunked
            self.waiting = []
            return self._chunked(body)
        if head.body_bytes is not None:
            self._missing = head.body_bytes
            self._step = Framing._counted
            return self._counted(body)
        # Neither chunks nor a length: the body ends where the connection does (RFC 9112, 6.3, last rule).
        self.keep_alive = False
        self._step = Framing._until_close
        return False

    def _incomplete_head(self) -> bool:
        _check_length("a response's head", len(self._head_bytes), HEAD_BYTES_MAX)
        return False

    def _counted(self, data: bytes) -> bool:
        self._missing -= len(data)
        # More than was announced: what follows would be taken for the head of the next answer.
        if self._missing < 0:
            self.keep_alive = False
        return self._missing <= 0

    def _until_close(self, data: bytes) -> bool:
        return False

    def _chunked(self, data: bytes) -> bool:
        assert self.waiting is not None
        self.waiting.append(data)
        # One byte tells nearly all reads from those that may bring the end, CR LF CR LF, or its last bytes.
        if data[-4] != CR if len(data) >= 4 else not data.endswith(b"\n"):
            return False
        pending = b"".join(self.waiting)
        position = self._missing
        while position <= len(pending):
            while step := _known_chunks.get(pending[position : position + _KNOWN_BYTES]):
                position += step
            if position == len(pending) - len(_LAST_CHUNK) and pending.endswith(_LAST_CHUNK):
                return True
            eol = pending.find(b"\r\n", position)
            if eol < 0:
                _check_length("a chunk's size line", len(pending) - position, _LINE_BYTES_MAX)
                break
            size = _chunk_size(pending[position:eol])
            if size == 0:
                # Trailers may follow the last chunk; a blank line ends them.
                stop = pending.find(b"\r\n\r\n", eol)
                if stop < 0:
                    _check_length("trailers", len(pending) - position, _TRAILERS_BYTES_MAX)
                    break
                if stop + 4 != len(pending):
                    self.keep_alive = False
                return True
            step = eol + 2 + size + 2 - position
            if eol + 2 - position <= _KNOWN_BYTES and len(_known_chunks) < _KNOWN_MAX:
                _known_chunks[pending[position : position + _KNOWN_BYTES]] = step
            position += step
        self._missing = max(0, position - len(pending))
        self.waiting = [pending[position:]]
        return False


def _check_length(what: str, length: int, most: int) -> None:
    if length > most:
        raise TooLarge(f"{what} of over {most >> 10} KiB")


class Response(NamedTuple):
    """A response taken apart; `error` names what cut it short or made it unreadable, the rest is what could be read."""

    status: int | None
    headers: Mapping[str, str]
    headers_ns: int | None
    body: Body
    error: tuple[str, str] | None


_NO_BODY = Body(b"", [], [])
# Of shorter answers chunks are as soon taken apart one by one.
_BYTES_IN_COLUMNS = 8 << 10


def parse(data: bytes, ends: Sequence[int], t_ns: Sequence[int]) -> Response:
    """Take a captured response apart. Read i ended at byte `ends[i]` and is stamped `t_ns[i]` (both ascending)."""
    try:
        head = parse_head(data)
    except MalformedResponse as problem:
        return Response(None, {}, None, _NO_BODY, ("malformed", str(problem)))
    if head is None:
        what = "closed inside the response's head" if data else "closed without a response"
        return Response(None, {}, None, _NO_BODY, ("cut_stream", what))
    read = 0
    while ends[read] < head.length:
        read += 1
    headers_ns = t_ns[read]
    error: tuple[str, str] | None = None
    if head.chunked:
        body, error = _dechunk(data, head.length, ends, t_ns, read)
    else:
        while read < len(ends) and ends[read] <= head.length:
            read += 1
        body = Body(data[head.length :], [end - head.length for end in ends[read:]], t_ns[read:])
        if head.body_bytes is not None and len(body.data) < head.body_bytes:
            error = ("cut_stream", f"closed after {len(body.data)} of {head.body_bytes} body bytes")
    if head.codings:
        body, fault = unpacked(body, head.codings)
        # What a failed request says is for whoever reads its message; its status is the error.
        if fault and head.status == 200:
            error = error or ("malformed", fault)
    return Response(head.status, head.headers, headers_ns, body, error)


def _codings(headers: Mapping[str, str]) -> list[str]:
    """What was done to a body before it was sent, first to last, transfer codings but for chunks included."""
    named = f"{headers.get('content-encoding', '')},{headers.get('transfer-encoding', '')}"
    return [name for name in _listed(named) if name != "chunked"]


def _listed(codings: str) -> list[str]:
    """The names in a list of codings, without their parameters; identity is none."""
    names = (one.partition(";")[0].strip() for one in codings.lower().split(","))
    return [name for name in names if name not in ("", "identity")]


def _dechunk(
    data: bytes, position: int, ends: Sequence[int], t_ns: Sequence[int], read: int
) -> tuple[Body, tuple[str, str] | None]:
    parts: list[bytes] = []
    body_ends, body_t_ns = array("q"), array("q")
    if len(data) >= _BYTES_IN_COLUMNS:
        position, plain, body_ends, body_t_ns, read = plain_chunks(data, position, ends, t_ns, read)
        parts.append(plain)
    total = sum(map(len, parts))
    available = len(data)
    error: tuple[str, str] | None = ("cut_stream", "closed before the last chunk")
    find = data.find
    while True:
        eol = find(b"\r\n", position)
        if eol < 0:
            break
        try:
            size = _chunk_size(data[position:eol])
        except MalformedResponse as problem:
            error = ("malformed", str(problem))
            break
        if size == 0:
            error = None
            break
        start = eol + 2
        stop = start + size
        if stop > available:
            stop = available
        parts.append(data[start:stop])
        while ends[read] < stop:
            if ends[read] > start:
                total += ends[read] - start
                start = ends[read]
                body_ends.append(total)
                body_t_ns.append(t_ns[read])
            read += 1
        total += stop - start
        body_ends.append(total)
        body_t_ns.append(t_ns[read])
        position = stop + 2
        if position > available:
            break
    return Body(b"".join(parts), body_ends, body_t_ns), error


def _chunk_size(line: bytes) -> int:
    try:
        size = int(line, 16)
    except ValueError:
        return _number(line.partition(b";")[0], 16)
    if size < 0:
        raise MalformedResponse(f"bad chunk size: {line[:20]!r}")
    return size


def _number(text: bytes, base: int) -> int:
    try:
        value = int(text, base)
    except ValueError:
        value = -1
    if value < 0:
        raise MalformedResponse(f"bad length: {text[:20]!r}")
    return value
