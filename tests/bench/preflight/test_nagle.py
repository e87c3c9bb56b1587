"""The probe against the ground-truth server, with Nagle's algorithm on and off."""

import json
import shutil
import socket
import sys
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit

import pytest

from backends import BACKENDS
from bench.preflight import nagle
from bench.preflight.nagle import AckEffect, probe
from bench.runs.manifest import ArrivedAnswer
from bench.truth.server import TruthOptions, launch
from bench.types import HttpRequest
from bench.wire.http1 import encode_request
from tests.commands import bench

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="the ground-truth server is compiled, and for Linux"
)

ASK = encode_request(
    HttpRequest(
        "POST",
        "/v1/chat/completions",
        (),
        json.dumps(
            {"model": "truth", "messages": [{"role": "user", "content": "a"}], "stream": True, "max_tokens": 12}
        ).encode(),
    ),
    "test",
)

WITHOUT_NODELAY = TruthOptions(ttft_ms=4, gap_ms=1, nodelay=False)


def seen(first_byte_ms: float, first_token_ms: float) -> ArrivedAnswer:
    return ArrivedAnswer(first_byte_ms, first_token_ms, 1)


@pytest.mark.parametrize(
    ("delayed", "quick", "waits"),
    [
        (seen(0.2, 41.0), seen(0.2, 8.0), True),
        (seen(30.0, 75.0), seen(30.0, 36.0), True),  # a network between
        (seen(0.2, 41.0), seen(0.2, 39.0), False),
        (seen(60.0, 60.1), seen(20.0, 20.1), False),  # late with all of it, by chance
        (seen(0.2, 700.0), seen(0.2, 500.0), False),  # the head was acknowledged long before
    ],
)
def test_a_wait_is_one_behind_the_first_byte_that_an_acknowledgement_ends(
    delayed: ArrivedAnswer, quick: ArrivedAnswer, waits: bool
) -> None:
    assert AckEffect(delayed, quick, 3).waits is waits


@pytest.mark.slow
@pytest.mark.clock
@pytest.mark.parametrize(
    ("nodelay", "quick_ack"), [(False, False), pytest.param(False, True, marks=pytest.mark.slow), (True, False)]
)
def test_a_run_says_of_its_server_that_it_waits(tmp_path: Path, nodelay: bool, quick_ack: bool) -> None:
    run = tmp_path / "run"
    argv = ["run", "--backend", "openai", "--model", "truth", "--out", str(run)]
    argv += ["--requests", "20", "--warmup", "0", "--prompt-tokens", "40", "--output-tokens", "8"]
    argv += ["--quick-ack", "on" if quick_ack else "off"]
    with launch(TruthOptions(ttft_ms=4, gap_ms=1, nodelay=nodelay)) as server:
        done = bench(*argv, "--url", server.url)
    assert done.returncode in (0, 3), done.stderr
    manifest, summary = (json.loads((run / name).read_text()) for name in ("run.json", "summary.json"))
    assert (manifest["nagle"]["message"] is None) is nodelay
    assert (manifest["nagle"]["message"] in manifest["notes"]) is not nodelay
    codes = [reason["code"] for reason in summary["verdict"]["reasons"]]
    assert ("nagle" in codes) is (not nodelay and not quick_ack)


def probed(options: TruthOptions) -> AckEffect | None:
    with launch(options) as server:
        url = urlsplit(server.url)
        with socket.create_connection((url.hostname, url.port), timeout=10) as sock:
            return probe(sock, ASK, BACKENDS["openai"].decode)


def test_a_server_without_nodelay_is_found() -> None:
    """Other load may make its prompt answers late too, but not at every try."""
    assert any(found is not None and found.waits for found in map(probed, [WITHOUT_NODELAY] * 20))


class Simulated:
    """A connection in virtual time to a server that writes its head after 0.2 ms, and 12 tokens, 1 ms each, from 4 ms.

    Without `nodelay` what it writes waits for what came before to be acknowledged, which takes 40 ms unless `at_once`.
    """

    def __init__(self, nodelay: bool) -> None:
        event = b'data: {"choices": [{"delta": {"content": "a"}}]}\n\n'
        head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        tokens = [(4.0 + token, b"%x\r\n%b\r\n" % (len(event), event)) for token in range(12)]
        self.writes = [(0.2, head), *tokens, (15.0, b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")]
        self.waits, self.at_once = not nodelay, True
        self.at_ms = 0.0

    def now_ns(self) -> int:
        return round(self.at_ms * 1e6)

    def setsockopt(self, level: int, option: int, value: int) -> None:
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_QUICKACK)
        self.at_once = bool(value)

    def sendall(self, _: bytes) -> None:
        self.left, self.asked_ms, self.free_ms = list(self.writes), self.at_ms, 0.0

    def recv(self, _: int) -> bytes:
        """The next write, and with it all that had to wait as long."""
        now_ms = max(self.left[0][0], self.free_ms)
        come = [data for at_ms, data in self.left if at_ms <= now_ms]
        del self.left[: len(come)]
        self.at_ms = self.asked_ms + now_ms
        if self.waits and not self.at_once:
            self.free_ms = now_ms + 40.0
        return b"".join(come)


@pytest.mark.parametrize("nodelay", [False, True])
def test_both_figures_are_given_and_a_server_that_waits_is_asked_eleven_times(
    nodelay: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    sock = Simulated(nodelay)
    monkeypatch.setattr(nagle, "now_ns", sock.now_ns)
    found = probe(cast("socket.socket", sock), ASK, BACKENDS["openai"].decode)
    assert found is not None
    quick = ArrivedAnswer(0.2, 4.0, 12)
    delayed = quick if nodelay else ArrivedAnswer(0.2, 40.2, 1)
    assert (found, found.waits) == (AckEffect(delayed, quick, 3 if nodelay else 11), not nodelay)
    assert found.kept(quick_ack=False).message == (None if nodelay else found.message(quick_ack=False))


@pytest.mark.parametrize("options", [TruthOptions(ttft_ms=4, gap_ms=1), TruthOptions(ttft_ms=45, gap_ms=0)])
def test_a_server_that_sends_what_it_has_is_not(options: TruthOptions) -> None:
    found = probed(options)
    assert found is not None
    assert not found.waits
    assert found.kept(quick_ack=False).message is None


@pytest.mark.parametrize(
    "options",
    [
        TruthOptions(ttft_ms=1, framing="close"),
        TruthOptions(ttft_ms=1, faults="status:503/1"),
        TruthOptions(ttft_ms=1, faults="cut@3/2"),
        TruthOptions(ttft_ms=1, faults="empty/1"),
    ],
)
def test_where_an_answer_says_nothing_nothing_is_known(options: TruthOptions) -> None:
    assert probed(options) is None


def test_the_finding_names_both_figures_the_cause_and_the_cure() -> None:
    found = AckEffect(ArrivedAnswer(0.2, 43.7, 1), ArrivedAnswer(0.2, 8.3, 16), 11)
    for quick_ack, cure in ((False, "measure the server itself with --quick-ack on"), (True, "is sent with --quick")):
        message = found.message(quick_ack=quick_ack)
        for part in ("43.7 ms in 1 piece,", "8.3 ms in 16 pieces", "does not set TCP_NODELAY", "delayed ack", cure):
            assert part in message
