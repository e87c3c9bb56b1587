"""A client that is late to look, against the ground-truth server: stamps of packets are right all the same."""

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gevent
import numpy as np
import pytest
from gevent import ssl as cooperative_ssl
from gevent.server import StreamServer

from bench.packets import join, segments, watch
from bench.runs.arrivals import Arrivals, stopwatch
from bench.truth.server import TruthOptions, compare, launch, read_log
from bench.types import Exchange, HttpRequest
from bench.wire.capture import CaptureWriter, exchanges, scan
from bench.wire.clock import now_ns
from bench.wire.connection import Wire, endpoint
from bench.wire.http1 import encode_request, parse

pytestmark = pytest.mark.skipif(watch.lacks() is not None, reason=f"{watch.lacks()}")

MS = 1_000_000
TOKENS = 20


@contextmanager
def watched(url: str, tmp_path: Path, ca_file: str | None = None, asleep_s: float = 0.06) -> Iterator[list[Exchange]]:
    """One answer read by a client that sleeps so long at a time, with what its capture says of it."""
    found: list[Exchange] = []
    target = endpoint(url, ca_file)
    with watch.ring_process(tmp_path / "log") as ring:
        ring.watch(tmp_path / "packets.seg", target)
        wire = Wire(target, 10, 10)
        busy = gevent.spawn(_be_busy, asleep_s)
        connection = wire.connect()
        body = b'{"messages": [], "stream": true, "max_tokens": %d}' % TOKENS
        request = HttpRequest("POST", "/v1/chat/completions", (("X-Request-Id", "0"),), body)
        outcome = connection.exchange(encode_request(request, "truth"))
        busy.kill()
        connection.close()
        wire.close()
    assert outcome.error is None
    writer = CaptureWriter(tmp_path / "a.cap", {"worker": 0})
    writer.exchange(0, 0, outcome.sent_ns, outcome.end_ns, None, outcome.received, None, outcome.place)
    writer.close({})
    found += exchanges(tmp_path / "a.cap", scan(tmp_path / "a.cap").offsets, 0)
    yield found


def _be_busy(asleep_s: float) -> None:
    while True:
        time.sleep(asleep_s)
        gevent.sleep(0.001)


def arrivals(found: list[Exchange], path: Path) -> Arrivals:
    packets = segments.scan(path)
    rows = packets.between(*join.wanted(found, packets.servers))
    (joined,) = join.join(found, packets.servers, packets.opened, rows)
    assert joined is not None
    return stopwatch(0, []).arrivals(found[0], joined)


@pytest.mark.slow
@pytest.mark.clock
@pytest.mark.parametrize("asleep_s", [0.06, 0.3])
def test_a_frozen_client_knows_when_each_token_came(tmp_path: Path, asleep_s: float) -> None:
    # A read takes in what came meanwhile: gaps that do not divide it, so that its last token is now young and now old.
    options = TruthOptions(ttft_ms=30, gap_ms=23, tokens=TOKENS, role_chunk=False)
    with (
        launch(options, log=tmp_path / "truth") as server,
        watched(server.url, tmp_path, asleep_s=asleep_s) as found,
    ):
        pass
    assert segments.scan(tmp_path / "packets.seg").dropped == 0
    assert len(found[0].sizes) < 0.8 * TOKENS, "many reads brought several tokens"
    seen = arrivals(found, tmp_path / "packets.seg")
    body = parse(found[0].data, seen.ends, seen.t_ns).body
    starts = [at for at in range(len(body.data)) if body.data.startswith(b" t0", at)]
    t_ns = np.array(body.t_ns)[np.searchsorted(body.ends, starts, "right")]
    error = compare(read_log(tmp_path / "truth"), np.zeros(TOKENS, np.int64), np.arange(TOKENS), t_ns)
    assert (error.lost, error.unknown) == (0, 0)
    assert error.first_token.p50_ms is not None
    assert error.first_token.p50_ms < 5
    assert error.gap.p50_ms is not None
    assert error.gap.p50_ms < 0.5
    assert seen.stamps == "packets"
    assert max(seen.lags_ns) > MS, "of the last token of each read, which may just have come"


@pytest.mark.clock
def test_and_so_does_one_that_reads_tls(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-subj", "/CN=bench test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*argv, "-keyout", key, "-out", cert], check=True, capture_output=True)
    context = cooperative_ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    sent_ns: list[int] = []
    parts = [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (10 * TOKENS), *[b"data: x..\n"] * TOKENS]

    def answer(sock: Any, _: object) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.recv(65536)
        for part in parts:
            sent_ns.append(now_ns())
            sock.sendall(part)
            # Not the hub's sleep, which the client's own sleeps would hold up: both are in this process.
            time.sleep(0.005)

    server = StreamServer(("127.0.0.1", 0), answer, ssl_context=context)
    server.start()
    try:
        with watched(f"https://127.0.0.1:{server.server_port}", tmp_path, str(cert)) as found:
            pass
    finally:
        server.stop()
    seen = arrivals(found, tmp_path / "packets.seg")
    assert seen.ends == np.cumsum([len(part) for part in parts]).tolist()
    late_ms = (seen.t_ns - np.array(sent_ns)) / MS
    assert late_ms.min() > -0.1
    assert np.median(late_ms) < 1
    assert len(set(seen.t_ns)) == len(parts)
