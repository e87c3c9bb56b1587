import gzip
import zlib
from collections.abc import Callable
from functools import partial
from itertools import accumulate, pairwise

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.types import Body
from bench.wire import codings
from bench.wire.codings import unpacked
from bench.wire.http1 import Response, parse

EVENTS = [f'data: {{"n": {n}}}\n\n'.encode() for n in range(5)]
WHOLE = b"".join(EVENTS)


class _Flushing:
    """A compressor as servers use it on streams: flushed after each event, so that nothing is held back."""

    def __init__(self, name: str) -> None:
        self.name = name
        if name in ("gzip", "x-gzip", "deflate", "raw deflate"):
            bits = {"deflate": zlib.MAX_WBITS, "raw deflate": -zlib.MAX_WBITS}.get(name, 16 + zlib.MAX_WBITS)
            self.zlib = zlib.compressobj(wbits=bits)
        elif name == "br":
            self.brotli = brotli.Compressor()
        else:
            self.zstd = zstandard.ZstdCompressor().compressobj()

    def __call__(self, event: bytes) -> bytes:
        if self.name == "br":
            return bytes(self.brotli.process(event) + self.brotli.flush())
        if self.name == "zstd":
            return self.zstd.compress(event) + self.zstd.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
        return self.zlib.compress(event) + self.zlib.flush(zlib.Z_SYNC_FLUSH)

    def end(self) -> bytes:
        if self.name == "br":
            return bytes(self.brotli.finish())
        return self.zstd.flush() if self.name == "zstd" else self.zlib.flush()


NAMES = ["gzip", "x-gzip", "deflate", "raw deflate", "br", "zstd"]
each = pytest.mark.parametrize("name", NAMES)
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "br": partial(brotli.compress, quality=4),
    "zstd": zstandard.compress,
}


def packed(name: str) -> tuple[list[bytes], bytes]:
    """(the compressed bytes of each event, what ends the stream)."""
    compress = _Flushing(name)
    return [compress(event) for event in EVENTS], compress.end()


def body(*reads: bytes) -> Body:
    """Read i arrives at 10 * (i + 1)."""
    return Body(b"".join(reads), list(accumulate(map(len, reads))), [10 * (i + 1) for i in range(len(reads))])


def coding(name: str) -> list[str]:
    return [name.removeprefix("raw ")]


def stamps(of: Body) -> list[int]:
    """The stamp of each byte."""
    sizes = [end - start for start, end in zip([0, *of.ends], of.ends, strict=False)]
    return [t for t, size in zip(of.t_ns, sizes, strict=True) for _ in range(size)]


@each
def test_every_event_has_the_stamp_of_the_read_that_completed_its_compressed_bytes(name: str) -> None:
    events, end = packed(name)
    found, fault = unpacked(body(*events, end), coding(name))
    assert (found.data, fault) == (WHOLE, None)
    assert stamps(found) == [10 * (i + 1) for i, event in enumerate(EVENTS) for _ in event]


@each
def test_what_a_compressor_holds_back_comes_as_late_as_it_was_let_out(name: str) -> None:
    if name == "zstd" or name == "br":
        data = PACK[name](WHOLE)
    else:
        compress = _Flushing(name)
        data = compress.zlib.compress(WHOLE) + compress.end()
    found, fault = unpacked(body(data[:-1], data[-1:]), coding(name))
    assert (found.data, fault) == (WHOLE, None)
    assert set(stamps(found)) <= {10, 20}


@each
def test_wherever_a_stream_is_cut_what_came_is_read_and_that_is_no_fault(name: str) -> None:
    events, end = packed(name)
    stream = b"".join(events) + end
    for length in range(len(stream)):
        found, fault = unpacked(body(stream[:length]), coding(name))
        assert fault is None
        assert WHOLE.startswith(found.data)
        arrived = sum(end <= length for end in accumulate(map(len, events)))
        assert found.data.startswith(b"".join(EVENTS[:arrived]))


@given(
    st.binary(max_size=3000),
    st.lists(st.sampled_from(sorted(PACK)), min_size=1, max_size=3),
    st.lists(st.integers(0, 4000)),
)
@settings(max_examples=60, deadline=None)
def test_stacked_codings_in_any_reads_give_the_same_bytes(data: bytes, names: list[str], cuts: list[int]) -> None:
    sent = data
    for name in names:
        sent = PACK[name](sent)
    edges = [0, *sorted({cut for cut in cuts if cut < len(sent)}), len(sent)]
    reads = [sent[start:stop] for start, stop in pairwise(edges) if stop > start]
    found, fault = unpacked(body(*reads), names)
    assert (found.data, fault) == (data, None)
    assert found.t_ns == sorted(found.t_ns)
    assert (found.ends[-1] if found.ends else 0) == len(data)


@given(st.binary(max_size=300), st.sampled_from(sorted(codings.CODINGS)))
@settings(max_examples=100, deadline=None)
def test_no_bytes_at_all_make_it_fail(data: bytes, name: str) -> None:
    found, _ = unpacked(body(data) if data else body(), [name])
    assert len(stamps(found)) == len(found.data)


def test_several_members_are_one_body_and_padding_is_none() -> None:
    found, fault = unpacked(body(gzip.compress(b"ab") + gzip.compress(b"cd") + b"\0" * 8), ["gzip"])
    assert (found.data, fault) == (b"abcd", None)
    found, fault = unpacked(body(zstandard.compress(b"ab") + zstandard.compress(b"cd")), ["zstd"])
    assert (found.data, fault) == (b"abcd", None)


def test_a_body_that_is_broken_in_the_middle_keeps_what_came_before() -> None:
    events, end = packed("gzip")
    found, fault = unpacked(body(*events[:2], b"\xff" * 40, end), ["gzip"])
    assert found.data == b"".join(EVENTS[:2])
    assert fault is not None
    assert fault.startswith("its content coding (gzip) is broken: ")


@pytest.mark.parametrize("name", sorted(PACK))
def test_a_bomb_is_left_when_it_has_unpacked_to_more_than_anyone_sends(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codings, "MOST_BYTES", 1 << 20)
    bomb = PACK[name](bytes(64 << 20))
    for names in ([name], [name, "gzip"]):
        sent = bomb if len(names) == 1 else gzip.compress(bomb)
        found, fault = unpacked(body(sent), names)
        assert fault == "it unpacks to more than 1 MiB"
        assert len(found.data) <= 34 << 20


def test_codings_that_are_not_known_are_named() -> None:
    assert unpacked(body(b"\xfd"), ["gzip", "lzma"]) == (
        Body(b"", [], []),
        "its content coding is not known: gzip, lzma",
    )
    assert unpacked(body(b"\xfd"), ["gzip"] * 5)[1] is not None


@pytest.mark.parametrize("name", ["none", "utf-8", "binary", "8bit", "aws-chunked", "lzma"])
def test_a_text_under_the_name_of_an_unknown_coding_was_not_packed(name: str) -> None:
    for sent in (body(*EVENTS), body(b"data: \xc3")):
        assert unpacked(sent, [name]) == (sent, None)


@given(st.binary(max_size=40), st.lists(st.integers(0, 200), max_size=4))
def test_what_follows_a_whole_member_and_is_none_is_passed_over(junk: bytes, cuts: list[int]) -> None:
    whole = gzip.compress(WHOLE)
    data = whole + b"x" + junk
    edges = [0, *sorted(cut for cut in cuts if cut < len(data)), len(data)]
    reads = [data[start:stop] for start, stop in pairwise(edges)]
    found, fault = unpacked(body(*reads), ["gzip"])
    assert (found.data, fault) == (WHOLE, None)


# --- in responses -------------------------------------------------------------------------------------------------


def response(headers: str, data: bytes, status: int = 200) -> Response:
    sent = f"HTTP/1.1 {status} OK\r\nContent-Length: {len(data)}\r\n{headers}\r\n".encode() + data
    return parse(sent, [len(sent)], [10])


@pytest.mark.parametrize(
    "headers",
    [
        "Content-Encoding: gzip, br\r\n",
        "Content-Encoding: gzip\r\nContent-Encoding: br\r\n",
        "content-encoding: identity, GZIP ,Br\r\n",
        "Content-Encoding: gzip\r\nTransfer-Encoding: br\r\n",
    ],
)
def test_a_response_is_unpacked_in_the_order_of_its_headers(headers: str) -> None:
    found = response(headers, brotli.compress(gzip.compress(WHOLE)))
    assert (found.body.data, found.error) == (WHOLE, None)


def test_chunks_come_off_before_the_coding_and_a_cut_stays_a_cut() -> None:
    events, end = packed("gzip")
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n"
    chunks = [b"%x\r\n%b\r\n" % (len(event), event) for event in (*events, end)]
    for reads, error in ([head, *chunks, b"0\r\n\r\n"], None), ([head, *chunks[:3]], "cut_stream"):
        found = parse(b"".join(reads), list(accumulate(map(len, reads))), list(range(len(reads))))
        assert (found.error and found.error[0]) == error
        assert found.body.data == b"".join(EVENTS[: len(EVENTS) if error is None else 3])


def test_what_cannot_be_unpacked_is_malformed_and_a_refusal_keeps_its_status() -> None:
    assert response("Content-Encoding: lzma\r\n", b"\xfd").error == (
        "malformed", "its content coding is not known: lzma")  # fmt: skip
    assert response("Content-Encoding: gzip\r\n", b"not gzip").error is not None
    assert response("Content-Encoding: gzip\r\n", b"not gzip", status=503).error is None
