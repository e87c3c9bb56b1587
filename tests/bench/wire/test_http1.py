from collections.abc import Iterator
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.types import HttpRequest
from bench.wire import http1
from bench.wire.http1 import CR, HEAD_BYTES_MAX, Framing, MalformedResponse, TooLarge, encode_request, parse, parse_head

EVENTS = [b"data: " + str(n).encode() * n + b"\n\n" for n in range(1, 6)]
CRLF_EVENTS = [event.replace(b"\n", b"\r\n") for event in EVENTS]
# What ends a chunked body, as data: alone in a chunk, at the end of one, and before the end of an event.
LOOKALIKES = [b"0\r\n\r\n", b"data: 0\r\n\r\n", b"\r\n0\r\n\r\n", b"0\r\n\r\ndata: x\r\n\r\n", b"0\r\nX: y\r\n\r\n"]


def head(*lines: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join([status, *lines, "", ""]).encode()


def chunked(pieces: list[bytes], last: bytes = b"0\r\n\r\n", extension: bytes = b"") -> bytes:
    return b"".join(b"%x%s\r\n%s\r\n" % (len(piece), extension, piece) for piece in pieces) + last


CHUNKED = head("Content-Type: text/event-stream", "Transfer-Encoding: chunked")
INTERIM = head(status="HTTP/1.1 100 Continue") + head("Link: </x>", status="HTTP/1.1 103 Early Hints")

# name: (the response, its body, whether the connection can carry another request)
COMPLETE = {
    "chunks": (CHUNKED + chunked(EVENTS), b"".join(EVENTS), True),
    "chunks of CRLF events": (CHUNKED + chunked(CRLF_EVENTS), b"".join(CRLF_EVENTS), True),
    "chunks that look like the last": (CHUNKED + chunked(LOOKALIKES), b"".join(LOOKALIKES), True),
    "one event in several chunks": (CHUNKED + chunked([b"data: a", b"b\r\n", b"\r\n"]), b"data: ab\r\n\r\n", True),
    "trailers": (CHUNKED + chunked(EVENTS, b"0\r\nX-Time: 1\r\nX-More: 2\r\n\r\n"), b"".join(EVENTS), True),
    "chunk extensions": (CHUNKED + chunked(EVENTS, b"0;last\r\n\r\n", b";name=value"), b"".join(EVENTS), True),
    "upper case and padded chunk sizes": (CHUNKED + b"00A \r\n0123456789\r\n0\r\n\r\n", b"0123456789", True),
    "no chunk but the last": (CHUNKED + b"0\r\n\r\n", b"", True),
    "chunks, then closing": (head("Transfer-Encoding: chunked", "Connection: close") + chunked(EVENTS),
                             b"".join(EVENTS), False),
    "a length": (head("Content-Length: 12") + b"0\r\n\r\n0\r\n\r\nab", b"0\r\n\r\n0\r\n\r\nab", True),
    "a length of nothing": (head("content-LENGTH:0"), b"", True),
    "a length, then closing": (head("Content-Length: 3", "connection: Close") + b"abc", b"abc", False),
    "no content": (head(status="HTTP/1.1 204 No Content"), b"", True),
    "not modified, with the length of what was not sent": (
        head("Content-Length: 99", status="HTTP/1.1 304 Not Modified"), b"", True),
    "interim responses": (INTERIM + CHUNKED + chunked(EVENTS), b"".join(EVENTS), True),
    "HTTP/1.0 with a length": (head("Content-Length: 3", status="HTTP/1.0 200 OK") + b"abc", b"abc", False),
    "HTTP/1.0 kept alive": (
        head("Content-Length: 3", "Connection: keep-alive", status="HTTP/1.0 200 OK") + b"abc", b"abc", True),
    "an error with a body": (head("Content-Length: 4", status="HTTP/1.1 503 Service Unavailable") + b"busy",
                             b"busy", True),
    "lines that end in LF alone": (b"HTTP/1.1 200 OK\nX: y\nContent-Length: 4\n\na\n\nb", b"a\n\nb", True),
    "lines that end in both ways": (b"HTTP/1.1 200 OK\r\nX: y\nContent-Length: 3\n\r\nabc", b"abc", True),
    "a header folded into two lines": (head("X: y", " z", "Transfer-Encoding:", "\tchunked") + chunked(EVENTS),
                                       b"".join(EVENTS), True),
    "the same length twice": (head("Content-Length: 3", "Content-Length: 3") + b"abc", b"abc", True),
    "the same length in a list": (head("Content-Length: 3, 3") + b"abc", b"abc", True),
    "a length beside chunks": (head("Content-Length: 3", "Transfer-Encoding: chunked") + chunked(EVENTS),
                               b"".join(EVENTS), True),
    "chunks said twice": (head("Transfer-Encoding: chunked", "Transfer-Encoding: Chunked") + chunked(EVENTS),
                          b"".join(EVENTS), True),
    "chunks, and no other coding": (head("Transfer-Encoding: chunked;q=1", "Transfer-Encoding: identity")
                                    + chunked(EVENTS), b"".join(EVENTS), True),
    "closing said first of two": (head("Content-Length: 3", "Connection: close", "Connection: keep-alive") + b"abc",
                                  b"abc", False),
}  # fmt: skip
UNTIL_CLOSED = {
    "HTTP/1.1": (head("Content-Type: text/event-stream") + b"".join(EVENTS), b"".join(EVENTS)),
    "HTTP/1.0": (head(status="HTTP/1.0 200 OK") + b"".join(CRLF_EVENTS), b"".join(CRLF_EVENTS)),
    "a last chunk's look-alike": (head("Connection: close") + b"0\r\n\r\n", b"0\r\n\r\n"),
}
complete = pytest.mark.parametrize("name", COMPLETE)


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """The same bytes in one read, in two reads cut at every position, and byte by byte."""
    yield [data]
    for position in range(1, len(data)):
        yield [data[:position], data[position:]]
    yield [data[position : position + 1] for position in range(len(data))]


def parse_reads(reads: list[bytes]) -> tuple[tuple[str, str] | None, bytes, list[int]]:
    """(error, body, each body byte's stamp), where the stamp of read i is 100 + i."""
    response = parse(b"".join(reads), list(accumulate(map(len, reads))), [100 + n for n in range(len(reads))])
    body = response.body
    sizes = [end - start for start, end in zip([0, *body.ends], body.ends, strict=False)]
    return response.error, body.data, [t for t, size in zip(body.t_ns, sizes, strict=True) for _ in range(size)]


# --- noticing the end ---------------------------------------------------------------------------------------------


@complete
def test_a_response_is_complete_with_its_last_byte_and_not_before_wherever_it_is_cut(name: str) -> None:
    data, _, keep_alive = COMPLETE[name]
    for reads in cuts(data):
        framing = Framing()
        assert [framing.feed(read) for read in reads] == [False] * (len(reads) - 1) + [True], reads
        assert framing.keep_alive is keep_alive


@given(st.data(), st.sampled_from(sorted(COMPLETE)))
def test_a_response_is_complete_with_its_last_byte_in_any_number_of_reads(draw: st.DataObject, name: str) -> None:
    data, _, keep_alive = COMPLETE[name]
    positions = sorted(draw.draw(st.sets(st.integers(1, len(data) - 1))))
    reads = [data[a:b] for a, b in zip([0, *positions], [*positions, len(data)], strict=True)]
    framing = Framing()
    assert [framing.feed(read) for read in reads] == [False] * (len(reads) - 1) + [True]
    assert framing.keep_alive is keep_alive


@given(st.data(), st.sampled_from(sorted(COMPLETE | UNTIL_CLOSED)), st.binary(max_size=8))
def test_a_read_that_may_wait_need_not_be_fed(draw: st.DataObject, name: str, more: bytes) -> None:
    """Whatever comes: complete answers and those with bytes behind them, broken in the middle or cut short."""
    data = bytearray((COMPLETE | UNTIL_CLOSED)[name][0] + more)
    for at in draw.draw(st.sets(st.integers(0, len(data) - 1), max_size=2)):
        data[at] = draw.draw(st.integers(0, 255))
    positions = sorted(draw.draw(st.sets(st.integers(1, len(data) - 1))))
    reads = [bytes(data[a:b]) for a, b in zip([0, *positions], [*positions, len(data)], strict=True)]
    assert seen(reads, may_wait=True) == seen(reads, may_wait=False)


def seen(reads: list[bytes], *, may_wait: bool) -> tuple[object, ...]:
    """After which read an answer is complete or refused, and what is known of it then."""
    framing, n = Framing(), 0
    for n, read in enumerate(reads):
        if may_wait and framing.waiting is not None and len(read) > 3 and read[-4] != CR:
            framing.waiting.append(read)
            continue
        try:
            if framing.feed(read):
                break
        except MalformedResponse as problem:
            return n, str(problem)
    return n, framing.status, framing.keep_alive, framing.ends_with_connection


@pytest.mark.parametrize("name", UNTIL_CLOSED)
def test_without_a_length_a_response_ends_with_its_connection(name: str) -> None:
    for reads in cuts(UNTIL_CLOSED[name][0]):
        framing = Framing()
        assert [framing.feed(read) for read in reads] == [False] * len(reads)
        assert framing.ends_with_connection
        assert not framing.keep_alive


def test_a_response_with_an_end_of_its_own_does_not_end_with_its_connection() -> None:
    for data in (CHUNKED + b"3\r\nab", head("Content-Length: 9") + b"ab", b"HTTP/1.1 200 OK\r\n"):
        framing = Framing()
        assert not framing.feed(data)
        assert not framing.ends_with_connection


def test_the_status_is_known_when_the_head_is_complete() -> None:
    framing = Framing()
    framing.feed(INTERIM + b"HTTP/1.1 50")
    assert framing.status is None
    framing.feed(b"3 Busy\r\n\r\n")
    assert framing.status == 503


@pytest.mark.parametrize("name", ["chunks", "a length", "no content"])
def test_bytes_behind_the_end_spoil_the_connection_not_the_response(name: str) -> None:
    framing = Framing()
    assert framing.feed(COMPLETE[name][0] + b"HTTP/1.1 200 OK\r\n\r\n")
    assert not framing.keep_alive


# --- linear, whatever comes ---------------------------------------------------------------------------------------

# name: what is fed without end after a head, read by read. Each once had all that came before joined again.
ENDLESS = {
    "a head": (b"HTTP/1.1 200 OK\r\n", b"X-Header: of this length\r\n"),
    "a head without a line": (b"HTTP/1.1 200 OK\r\n", b"x" * 50),
    "interim responses": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "a chunk that looks like the last": (CHUNKED + b"fffffff\r\n", b"0\r\n\r\n"),
    "a chunk of single line feeds": (CHUNKED + b"fffffff\r\n", b"\n"),
    "chunks": (CHUNKED, b"4\r\n\r\n\r\n\r\n"),
    "a size line": (CHUNKED, b"\n"),
    "trailers": (CHUNKED + b"0\r\n", b"a\n"),
}


@pytest.mark.parametrize("name", ENDLESS)
def test_what_never_ends_leaves_nothing_to_look_at_again(name: str) -> None:
    opening, again = ENDLESS[name]
    framing, fed = Framing(), 0
    framing.feed(opening)
    try:
        for _ in range(40_000):
            assert not framing.feed(again)
            fed += len(again)
            held = len(framing._head_bytes) + sum(map(len, framing.waiting or []))
            assert held <= HEAD_BYTES_MAX + len(again)
    except TooLarge as problem:
        assert "KiB" in str(problem)
        assert fed <= 2 * HEAD_BYTES_MAX
        assert name not in ("interim responses", "a chunk that looks like the last", "chunks")


def test_a_head_that_is_too_long_is_refused_also_where_it_is_whole() -> None:
    with pytest.raises(TooLarge, match="head of over 64 KiB"):
        Framing().feed(head("X: " + "y" * HEAD_BYTES_MAX))


def walks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The size lines that are looked at from now on, where no chunk is known."""
    walked: list[bytes] = []

    def chunk_size(line: bytes) -> int:
        walked.append(line)
        return int(line, 16)

    monkeypatch.setattr(http1, "_KNOWN_MAX", 0)
    monkeypatch.setattr(http1, "_known_chunks", {})
    monkeypatch.setattr(http1, "_chunk_size", chunk_size)
    return walked


def test_a_stream_of_lf_events_is_not_walked_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    walked = walks(monkeypatch)
    framing = Framing()
    framing.feed(CHUNKED)
    for _ in range(100):
        framing.feed(chunked([b"data: x\n\n"], b""))
    assert walked == []
    assert framing.feed(b"0\r\n\r\n")
    assert len(walked) == 100, "what looks like the last chunk, where the last chunk would be, is it"


def test_a_stream_of_crlf_events_is_walked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    walked = walks(monkeypatch)
    framing = Framing()
    framing.feed(CHUNKED)
    for _ in range(100):
        framing.feed(chunked([b"data: x\r\n\r\n"], b""))
    assert framing.feed(b"0\r\n\r\n")
    assert len(walked) == 100


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=6), st.sampled_from(sorted(COMPLETE)))
def test_an_answer_ends_where_it_does_whatever_heads_and_chunks_came_before(pieces: list[bytes], before: str) -> None:
    data = CHUNKED + chunked(pieces)
    reads = [data[place : place + 97] for place in range(0, len(data), 97)]
    assert Framing().feed(COMPLETE[before][0])
    for known in ({}, http1._known_chunks):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(http1, "_known_chunks", known)
            framing = Framing()
            assert [framing.feed(read) for read in reads] == [False] * (len(reads) - 1) + [True]
            assert (framing.status, framing.keep_alive) == (200, True)


def test_what_is_remembered_of_chunks_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "_known_chunks", known := dict[bytes, int]())
    pieces = [bytes(divmod(n, 256)) for n in range(http1._KNOWN_MAX + 100)]
    for _ in range(2):
        assert Framing().feed(CHUNKED + chunked(pieces))
        assert len(known) == http1._KNOWN_MAX


# --- what is no response ------------------------------------------------------------------------------------------

MALFORMED = {
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "HTTP/2": b"\x00\x00\x12\x04\x00\x00\x00\x00",
    "a status that is no number": b"HTTP/1.1 OK\r\n\r\n",
    "no status": b"HTTP/1.1\r\n\r\n",
    "a broken second status line": INTERIM + b"nonsense\r\n\r\n",
    "a header without a colon": b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    "a length that is no number": head("Content-Length: many") + b"x",
    "a negative length": head("Content-Length: -1") + b"x",
    "two lengths": head("Content-Length: 1", "Content-Length: 2") + b"x",
    "two lengths in a list": head("Content-Length: 1, 2") + b"x",
}
MALFORMED_CHUNKS = {
    "a chunk size that is no number": CHUNKED + b"3\r\nabc\r\nxyz\r\nabc\r\n0\r\n\r\n",
    "a negative chunk size": CHUNKED + b"-3\r\nabc\r\n0\r\n\r\n",
    "no chunk size": CHUNKED + b"\r\nabc\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"3\r\nabcdefgh\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("name", MALFORMED | MALFORMED_CHUNKS)
def test_what_is_no_response_is_malformed_to_both_readers(name: str) -> None:
    data = (MALFORMED | MALFORMED_CHUNKS)[name]
    framing = Framing()
    with pytest.raises(MalformedResponse):
        framing.feed(data)
    error, _, _ = parse_reads([data])
    assert error is not None
    assert error[0] == "malformed"


def test_another_protocol_is_noticed_at_its_first_bytes_and_a_cut_head_is_not_one() -> None:
    with pytest.raises(MalformedResponse, match="SSH"):
        parse_head(b"SSH-")
    assert parse_head(b"") is None
    assert parse_head(b"HTT") is None


def test_chunks_before_a_malformed_one_are_kept() -> None:
    error, body, _ = parse_reads([MALFORMED_CHUNKS["a chunk size that is no number"]])
    assert (error and error[0], body) == ("malformed", b"abc")


# --- taking it apart ----------------------------------------------------------------------------------------------


@complete
def test_every_body_byte_has_the_stamp_of_the_read_that_brought_it(name: str) -> None:
    data, body, _ = COMPLETE[name]
    for reads in cuts(data):
        error, parsed, stamps = parse_reads(reads)
        assert error is None
        assert parsed == body
        assert stamps == expected_stamps(data, body, reads), reads


def expected_stamps(data: bytes, body: bytes, reads: list[bytes]) -> list[int]:
    """By another way than parse's: the place in the stream of each body byte, one after another."""
    bringer = [100 + n for n, read in enumerate(reads) for _ in read]
    response_head = parse_head(data)
    assert response_head is not None
    place = response_head.length
    if not response_head.chunked:
        return bringer[place : place + len(body)]
    stamps: list[int] = []
    while len(stamps) < len(body):
        line = data[place:].split(b"\r\n", 1)[0]
        size = int(line.split(b";")[0], 16)
        place += len(line) + 2
        stamps += bringer[place : place + size]
        place += size + 2
    return stamps


@pytest.mark.parametrize("name", UNTIL_CLOSED)
def test_a_body_that_ends_with_its_connection_is_whole(name: str) -> None:
    data, body = UNTIL_CLOSED[name]
    for reads in cuts(data):
        error, parsed, stamps = parse_reads(reads)
        assert (error, parsed) == (None, body)
        assert stamps == expected_stamps(data, body, reads)


@pytest.mark.parametrize(
    "name", ["chunks", "chunks that look like the last", "trailers", "a length", "interim responses"]
)
def test_a_response_cut_short_anywhere_is_a_cut_stream_and_keeps_what_came(name: str) -> None:
    data, body, _ = COMPLETE[name]
    last_chunk = data.rfind(b"\r\n0\r\n") + 5 if "chunked" in str(data) else len(data)
    for length in range(last_chunk):
        error, parsed, stamps = parse_reads([data[:length]])
        assert error is not None
        assert error[0] == "cut_stream"
        assert body.startswith(parsed)
        assert len(stamps) == len(parsed)


def test_a_cut_says_where() -> None:
    assert parse_reads([]) == (("cut_stream", "closed without a response"), b"", [])
    assert parse_reads([b"HTTP/1.1 2"])[0] == ("cut_stream", "closed inside the response's head")
    assert parse_reads([head("Content-Length: 5") + b"ab"])[0] == ("cut_stream", "closed after 2 of 5 body bytes")
    assert parse_reads([CHUNKED + b"5\r\nab"])[:2] == (("cut_stream", "closed before the last chunk"), b"ab")


def test_the_heads_stamp_is_that_of_the_read_which_completed_it() -> None:
    reads = [INTERIM, CHUNKED[:-1], CHUNKED[-1:], chunked(EVENTS)]
    response = parse(b"".join(reads), list(accumulate(map(len, reads))), [1, 2, 3, 4])
    assert (response.status, response.headers_ns) == (200, 3)
    assert response.headers["content-type"] == "text/event-stream"


@given(st.lists(st.binary(min_size=1, max_size=20), max_size=8), st.data())
def test_any_chunks_in_any_reads_give_the_same_body(pieces: list[bytes], draw: st.DataObject) -> None:
    data = CHUNKED + chunked(pieces)
    positions = sorted(draw.draw(st.sets(st.integers(1, len(data) - 1), max_size=12)))
    reads = [data[a:b] for a, b in zip([0, *positions], [*positions, len(data)], strict=True)]
    framing = Framing()
    assert [framing.feed(read) for read in reads] == [False] * (len(reads) - 1) + [True]
    error, body, stamps = parse_reads(reads)
    assert (error, body) == (None, b"".join(pieces))
    assert stamps == expected_stamps(data, body, reads)


def test_a_request_names_its_host_and_its_length() -> None:
    request = HttpRequest("POST", "/v1/chat/completions", (("X-Request-Id", "7"),), b'{"a": 1}')
    assert encode_request(request, "api.test:8080") == (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.test:8080\r\nX-Request-Id: 7\r\n"
        b'Content-Length: 8\r\n\r\n{"a": 1}'
    )
