"""What our own code costs per token, without load: the wire's reads, and the decoding of what they brought.

Under a real load a busy machine finds several tokens in one read, an idle one wakes up for each, and the cost per token
depends more on that than on our code. Here each stream is fed one event and then read, in turn, so that every event is
a read of its own, the same number on every machine. Runs in a separate process, interleaved with the reference work.
"""

import json
import socket
import statistics
import subprocess
import sys
from array import array
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from bench.app.gate.reference import PIECES, READS, ROOT, TIMEOUT_S, reads, unit_s

if TYPE_CHECKING:
    from bench.wire.connection import Connection, RequestOutcome

STREAMS = 50
TOKENS = 150
REQUEST = b"GET / HTTP/1.1\r\nhost: gate\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = b'data: {"id":"1","model":"gate","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'
LAST = b"data: [DONE]\n\n"


class TokenCost(NamedTuple):
    """CPU time of a read by the wire (feeding included) and of decoding a token, relative to a reference read.

    `reads` and `tokens` are how many there were.
    """

    read_ratio: float
    decode_ratio: float
    reads: int
    tokens: int


def token_cost() -> TokenCost:
    """Measure our code once, in a separate process."""
    command = [sys.executable, "-m", "bench.app.gate.token_cost"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=TIMEOUT_S)
    return TokenCost(**json.loads(done.stdout))


def _main() -> None:
    from bench.wire.connection import Wire, endpoint

    with socket.create_server(("127.0.0.1", 0), backlog=STREAMS) as listener:
        wire = Wire(endpoint(f"http://127.0.0.1:{listener.getsockname()[1]}"), TIMEOUT_S, TIMEOUT_S)
        pairs = [(wire.connect(), listener.accept()[0]) for _ in range(STREAMS)]
    for _, peer in pairs:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    found = [_piece(pairs) for _ in range(1 + PIECES)][1:]  # the first one warms up
    read_ratios, decode_ratios, read, decoded = zip(*found, strict=True)
    medians = statistics.median(read_ratios), statistics.median(decode_ratios)
    print(json.dumps(TokenCost(*medians, sum(read), sum(decoded))._asdict()))


def _piece(pairs: "Sequence[tuple[Connection, socket.socket]]") -> TokenCost:
    """An answer on each connection, received and decoded."""
    from bench.wire.clock import cpu_s

    plain = reads()
    units_s = [unit_s(plain, READS // 3)]
    start_s = cpu_s()
    outcomes = _receive(pairs)
    read_s = cpu_s() - start_s
    units_s.append(unit_s(plain, READS // 3))
    start_s = cpu_s()
    tokens = _decode(outcomes)
    decode_s = cpu_s() - start_s
    units_s.append(unit_s(plain, READS // 3))
    read = sum(len(outcome.received.user_ns) for outcome in outcomes)
    unit = statistics.fmean(units_s)
    return TokenCost(read_s / read / unit, decode_s / tokens / unit, read, tokens)


def _receive(pairs: "Sequence[tuple[Connection, socket.socket]]") -> "list[RequestOutcome]":
    import gevent

    asking = [gevent.spawn(connection.exchange, REQUEST) for connection, _ in pairs]
    for data in (HEAD, *[_chunk(EVENT)] * TOKENS, _chunk(LAST) + _chunk(b"")):
        gevent.idle()  # until everything has been read
        for _, peer in pairs:
            peer.sendall(data)
    outcomes = [job.get() for job in asking]
    for _, peer in pairs:
        peer.recv(len(REQUEST), socket.MSG_WAITALL)
    return outcomes


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def _decode(outcomes: "Sequence[RequestOutcome]") -> int:
    """Decode as for a run's captures; returns the number of tokens."""
    from backends import BACKENDS
    from bench.runs.arrivals import stopwatch
    from bench.runs.records import Planned, record
    from bench.types import Exchange

    planned, decode, tokens = Planned(0, None, 0, 0, None, None, TOKENS), BACKENDS["openai"].decode, 0
    for outcome in outcomes:
        received, start_ns = outcome.received, outcome.sent_ns or 0
        sizes, kernel = array("I", map(len, received.parts)), array("q", bytes(received.kernel))
        data = b"".join(received.parts)
        stamps = (array("q", received.user_ns), sizes, kernel)
        exchange = Exchange(0, 0, start_ns, start_ns, outcome.end_ns, None, *stamps, data, outcome.error)
        tokens += len(record(exchange, planned, stopwatch(start_ns, []), 0, decode).arrivals_ns)
    return tokens


if __name__ == "__main__":
    _main()
