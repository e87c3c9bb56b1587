"""Chunks taken apart in columns are those taken apart one by one: nothing tells which of the two it was."""

from itertools import accumulate
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.wire import chunks, http1

HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
PIECES = st.sampled_from(
    [b"a", b"data: {}\n\n", b"data: x\r\n\r\n", b"\r", b"\n", b"\r\n", b"0\r\n\r\n", 17 * b"b", b""]
)
WHOLE = st.builds(lambda size, piece: size % len(piece) + b"\r\n" + piece + b"\r\n",
                  st.sampled_from([b"%x", b"%x", b"%x", b"%X", b"0%x", b"00000000%x", b"%x;a=b", b" %x", b"0x%x"]),
                  PIECES)  # fmt: skip
ODD = st.sampled_from(
    [b"zz\r\nab\r\n", b"-1\r\na\r\n", b"2\r\na\r\n", b"1\r\nab\r\n", b"1\ra\r\n", b"1\r\na\rb", b"\r\n"]
)


def taken_apart(data: bytes, reads: list[int], columns_from: int) -> tuple[object, ...]:
    with patch.object(http1, "_BYTES_IN_COLUMNS", columns_from):
        found = http1.parse(data, reads, [100 + 3 * n for n in range(len(reads))])
    return found.error, found.headers_ns, found.body.data, list(found.body.ends), list(found.body.t_ns)


@settings(max_examples=400, deadline=None)
@given(
    pieces=st.lists(st.one_of(WHOLE, WHOLE, WHOLE, ODD), max_size=12),
    end=st.sampled_from([b"0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"", b"0"]),
    cut=st.integers(0, 60),
    reads=st.lists(st.integers(1, 400), max_size=12),
)
def test_any_chunks_in_any_reads(pieces: list[bytes], end: bytes, cut: int, reads: list[int]) -> None:
    data = HEAD + b"".join(pieces) + end
    data = data[: max(len(data) - cut, len(HEAD))] if cut > 40 else data
    ends = sorted({min(read, len(data)) for read in reads} | {len(data)})
    assert taken_apart(data, ends, 0) == taken_apart(data, ends, 1 << 40)


@pytest.mark.parametrize("parts", [1, 3])
def test_what_servers_send_is_taken_apart_in_columns(parts: int) -> None:
    """Else the test above held nothing. A read may bring part of a chunk, or several."""
    events = [b"data: {%d}\n\n" % 10**n for n in range(20)]
    data = HEAD + b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events) + b"0\r\n\r\n"
    ends = [len(data) * n // parts for n in range(1, parts + 1)]
    found = chunks.plain_chunks(data, len(HEAD), ends, ends, 0)
    assert found.data == b"".join(events)
    assert data[found.position :] == b"0\r\n\r\n"
    assert set(accumulate(map(len, events))) <= set(found.ends)
