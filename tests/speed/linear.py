"""That time grows with the bytes and no faster, in the timed path and in decoding: docs/performance.md#what-never-ends.

    PYTHONPATH=. .venv/bin/python tests/speed/linear.py

Each shape once took a time that grew with the square of its length, because what had come before was joined again at
each read, or since a pattern started over at every byte. Four times the bytes are to take four times as long.
"""

import time
from collections.abc import Callable

from backends.dialect import claude, openai, tgi
from bench.types import Body, Reply
from bench.wire.http1 import Framing, TooLarge, parse

_HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
# What opens the response, and what is read again and again.
_SHAPES = {
    "interim responses": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "one chunk whose reads end like the last": (_HEAD + b"fffffff\r\n", b"0\r\n\r\n"),
    "one chunk, read byte by byte": (_HEAD + b"fffffff\r\n", b"\n"),
    "chunks of CRLF events": (_HEAD, b"c\r\ndata: abc\r\n\r\n\r\n"),
    "chunks of LF events": (_HEAD, b"b\r\ndata: abc\n\n\r\n"),
    "a head": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
}
_READS = 100_000

Decode = Callable[[int, dict[str, str], Body], Reply]
# What decodes it, the status, and what comes again and again, so many times.
_BODIES: dict[str, tuple[Decode, int, bytes, int]] = {
    "an error page of `<`": (openai.decode, 500, b"<", 128 << 10),
    "an error page of open style sheets": (openai.decode, 500, b"<style>", 20_000),
    "deltas of 8 kB": (openai.decode, 200, b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % (b"x" * 8000), 2000),
    "comments": (openai.decode, 200, b": keep-alive\n\n", 100_000),
    "broken events": (openai.decode, 200, b'data: {"choices":[{"del\n\n', 20_000),
    "lines of an event without end": (claude.decode, 200, b"data: x\n", 100_000),
    "JSON without end, a brace a line": (claude.decode, 200, b"{\n", 20_000),
    "usage of zeros with every delta": (
        openai.decode, 200, b'data: {"choices":[{"text":"x"}],"usage":{"completion_tokens":0}}\n\n', 20_000),
    "native tokens": (tgi.decode, 200, b'data: {"token":{"text":"x"}}\n\n', 20_000),
    "chunks of one byte": (openai.decode, 200, b"1\r\nx\r\n", 50_000),
}  # fmt: skip


def main() -> None:
    """Print a row for each shape."""
    print("| what comes without end | ms for 100,000 reads | times as long for 400,000 |\n|---|---:|---:|")
    for name, (opening, again) in _SHAPES.items():
        once, four = (min(_seconds(opening, again, n) for _ in range(3)) for n in (_READS, 4 * _READS))
        print(f"| {name} | {1000 * once:.1f} | {four / once:.1f} |")
    print("\n| what a body is made of | ms to decode | times as long for four times as much |\n|---|---:|---:|")
    for name, (decode, status, again, times) in _BODIES.items():
        once, four = (min(_decoding_s(decode, status, again * n) for _ in range(3)) for n in (times, 4 * times))
        print(f"| {name} | {1000 * once:.1f} | {four / once:.1f} |")


def _decoding_s(decode: Decode, status: int, body: bytes) -> float:
    framing = b"Transfer-Encoding: chunked" if body.startswith(b"1\r\n") else b"Content-Length: %d" % len(body)
    data = b"HTTP/1.1 %d X\r\n%b\r\n\r\n%b" % (status, framing, body)
    reads = [*range(1 << 16, len(data), 1 << 16), len(data)]
    start = time.process_time()
    response = parse(data, reads, list(range(len(reads))))
    decode(status, {}, response.body)
    return time.process_time() - start


def _seconds(opening: bytes, again: bytes, reads: int) -> float:
    feed: Callable[[bytes], bool] = Framing().feed
    feed(opening)
    start = time.process_time()
    try:
        for _ in range(reads):
            feed(again)
    except TooLarge:
        pass  # refused at its cap, however much comes
    return time.process_time() - start


if __name__ == "__main__":
    main()
