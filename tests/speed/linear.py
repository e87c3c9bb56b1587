"""That the timed path's time grows with the bytes and no faster: the table of docs/performance.md#what-never-ends.

    PYTHONPATH=. .venv/bin/python tests/speed/linear.py

Each shape once took a time that grew with the square of its length, because what had come before was joined again at
each read. Four times the bytes are to take four times as long.
"""

import time
from collections.abc import Callable

from bench.http1 import Framing, TooLarge

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


def main() -> None:
    """Print a row for each shape."""
    print("| what comes without end | ms for 100,000 reads | times as long for 400,000 |\n|---|---:|---:|")
    for name, (opening, again) in _SHAPES.items():
        once, four = (min(_seconds(opening, again, n) for _ in range(3)) for n in (_READS, 4 * _READS))
        print(f"| {name} | {1000 * once:.1f} | {four / once:.1f} |")


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
