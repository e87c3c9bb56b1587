"""Instructions that a request takes from the dispatcher to the capture, in the load process, by callgrind.

    PYTHONPATH=. python tests/speed/request.py [TOKENS]

TOKENS (4) come in a read each, over loopback, from a server that is a part of the same process: its sends are counted
too, a tenth of the whole. Needs valgrind, and some minutes. Unlike times, instructions are the same on a busy machine.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

REQUESTS = 400


def main(tokens: str = "4") -> None:
    """Count with some requests and with more, and print the difference for one of them."""
    if shutil.which("valgrind") is None:
        sys.exit("valgrind is not installed")
    fewer, more = (_instructions(tokens, requests) for requests in (REQUESTS // 4, REQUESTS))
    print(f"{(more - fewer) / (REQUESTS - REQUESTS // 4):,.0f} instructions for a request of {tokens} tokens")


def _instructions(tokens: str, requests: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind"
        valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", "--max-stackframe=100000000"]
        argv = [*valgrind, sys.executable, __file__, "--load", tokens, str(requests), folder]
        subprocess.run(argv, check=True, stderr=subprocess.DEVNULL)
        return next(int(line.split()[1]) for line in out.read_text().splitlines() if line.startswith("totals:"))


def load(tokens: int, requests: int, folder: Path) -> None:
    """Offer requests one after another, each answered read by read."""
    from gevent import monkey

    monkey.patch_all()
    import _socket

    from locust.stats import RequestStats

    from bench.load.tally import Tally
    from bench.wire.capture import CaptureWriter
    from bench.wire.connection import Wire
    from bench.wire.endpoint import endpoint

    listener: Any = _socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    wire = Wire(endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}"), 60, 60)
    connection: Any = wire.connect()
    server = _socket.socket(fileno=listener._accept()[0])
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    events = [b'data: {"id":"chatcmpl-1","choices":[{"delta":{"content":" t%06d"}}]}\n\n' % n for n in range(tokens)]
    chunks = [b"%x\r\n%s\r\n" % (len(event), event) for event in events]
    answer = [head + chunks[0], *chunks[1:], b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"]
    left: list[bytes] = []
    read = connection._recvmsg_into

    def read_and_have_more_sent(*room: Any) -> Any:
        came = read(*room)
        if left:
            server.send(left.pop())
        return came

    class Sending:
        """The connection's socket; what is sent is answered."""

        def send(self, request: bytes) -> int:
            taken: int = sock.send(request)
            server.recv(1 << 16)
            left.extend(reversed(answer))
            server.send(left.pop())
            return taken

        def __getattr__(self, name: str) -> Any:
            return getattr(sock, name)

    sock, connection._sock, connection._recvmsg_into = connection._sock, Sending(), read_and_have_more_sent
    capture = CaptureWriter(folder / "worker-0.cap", {}, gathers=True)
    tally = Tally(RequestStats(), "openai")
    for seq in range(requests):
        assert connection.is_open()
        outcome = connection.exchange(b"x" * 600)
        assert outcome.error is None and len(outcome.received.parts) == len(answer)
        capture.exchange(seq, 0, outcome.sent_ns, outcome.end_ns, None, outcome.received, outcome.error, outcome.place)
        tally.add(outcome)
    capture.close({})


if __name__ == "__main__":
    if sys.argv[1:2] == ["--load"]:
        load(int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
    else:
        main(*sys.argv[1:])
