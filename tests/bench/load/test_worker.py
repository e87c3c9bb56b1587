"""Whole load processes against the ground-truth server and scripted ones, read back from their captures."""

import json
import math
import re
import resource
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgpack  # type: ignore[import-untyped]
import psutil
import pytest
import zmq

from bench.errors import stop_reason
from bench.load.controller import LoadFailed, LoadProcesses, LoadSpec, Progress, load_processes, offer
from bench.plan.calls import Plan, make_plan
from bench.plan.prompts import Vocabulary
from bench.plan.resolve import resolve_load
from bench.runs.decoding import Captured, scan_captures
from bench.runs.table import read_requests
from bench.server.launch import free_port
from bench.truth.server import TruthOptions, launch
from bench.types import Exchange, Lengths, Scenario, Target
from bench.wire.capture import exchanges
from tests import warm
from tests.commands import bench

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="the ground-truth server is compiled, and for Linux"
)

MS = 1_000_000
VOCABULARY = Vocabulary(tuple(f"w{i}" for i in range(200)), 1.0, 12, True, "test")
SCENARIO = Scenario("s", "d", Lengths("fixed", 40, 40), Lengths("fixed", 5, 5), 0, 4, 20, 0)
WHOLE = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\ndata: x\n\n\r\n0\r\n\r\n"


@dataclass(frozen=True)
class Offered:
    """What became of a load: why it stopped, every Progress, and the captures."""

    plan: Plan
    stopped: str | None
    progress: list[Progress]
    captured: Captured
    calls: dict[int, Exchange]

    def counts(self) -> Counter[str]:
        """How many requests ended how; "ok" without an error of the wire."""
        return Counter(call.error[0] if call.error else "ok" for call in self.calls.values())

    def late_ms(self) -> list[float]:
        """How long after its due time each request was sent, ascending."""
        return sorted((call.sent_ns - call.due_ns) / MS for call in self.calls.values() if call.sent_ns is not None)

    def sent_ns(self) -> list[int]:
        return sorted(call.sent_ns for call in self.calls.values() if call.sent_ns is not None)

    def most_in_flight(self) -> int:
        steps = [(call.sent_ns, 1) for call in self.calls.values() if call.sent_ns is not None]
        steps += [(call.end_ns, -1) for call in self.calls.values() if call.sent_ns is not None]
        level = most = 0
        for _, step in sorted(steps):
            level += step
            most = max(most, level)
        return most


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    run = tmp_path / "run"
    (run / "capture").mkdir(parents=True)
    return run


def offer_load(
    folder: Path,
    url: str,
    *,
    workers: int = 1,
    output_tokens: int = 5,
    web_port: int | None = None,
    ca_file: Path | None = None,
    timeout_s: float = 60,
    backoff: bool = True,
    on_start: Callable[[LoadProcesses], None] = lambda processes: None,
    on_progress: Callable[[Progress], None] = lambda progress: None,
    should_stop: Callable[[], str | None] = lambda: None,
    **load: Any,
) -> Offered:
    """Offer a load to a server with real load processes; they are gone when it returns or raises."""
    scenario = replace(SCENARIO, output_tokens=Lengths("fixed", output_tokens, output_tokens))
    plan = make_plan(scenario, resolve_load(scenario, **load), 1, 2, VOCABULARY)
    spec = LoadSpec(
        role="local",
        worker=0,
        workers=workers,
        backend="openai",
        target=Target(url, "truth", None, None if ca_file is None else str(ca_file)),
        plan=plan,
        timeout_s=timeout_s,
        stall_timeout_s=60,
        folder=folder,
        master_port=free_port(),
        web_port=web_port,
        backoff=backoff,
    )
    seen: list[Progress] = []

    def note(progress: Progress) -> None:
        seen.append(progress)
        on_progress(progress)

    try:
        with load_processes(workers, folder) as processes:
            on_start(processes)
            stopped = offer(processes, spec, note, should_stop)
    finally:
        assert load_process_ids() == []
    return read_back(folder, plan, stopped, seen)


def load_process_ids() -> list[int]:
    return [
        child.pid
        for child in psutil.Process().children(recursive=True)
        if child.status() != psutil.STATUS_ZOMBIE
        and "bench.app.load_process" in child.cmdline()
        and not warm.is_parent(child.pid)
    ]


def read_back(folder: Path, plan: Plan, stopped: str | None, progress: list[Progress]) -> Offered:
    captured = scan_captures(folder)
    calls: dict[int, Exchange] = {}
    for path, file in captured.files.items():
        for call in exchanges(path, file.offsets, int(str(file.meta["worker"]))):
            assert call.seq not in calls, "every request is captured once"
            calls[call.seq] = call
    return Offered(plan, stopped, progress, captured, calls)


def only(captured: Captured) -> Any:
    [file] = captured.files.values()
    return file


# --- a load to its end --------------------------------------------------------------------------------------------


def test_a_closed_loop_keeps_its_seats_busy_and_captures_every_call_once(folder: Path) -> None:
    with launch(TruthOptions(ttft_ms=20, gap_ms=5)) as server:
        done = offer_load(folder, server.url, concurrency=4, requests=34, warmup="6")
    assert done.stopped is None
    assert sorted(done.calls) == list(range(40))
    assert done.counts() == {"ok": 40}
    assert done.most_in_flight() == 4
    assert {call.connect_ns for call in done.calls.values()} == {None}, "all slots connected before the start"
    assert done.late_ms()[0] >= 0
    file = only(done.captured)
    assert (file.torn_bytes, file.drops) == (0, [])
    assert file.end["cpu_s"] > 0
    assert file.end["wall_s"] > 0.3
    assert len(file.clock) >= 3
    assert done.sent_ns()[0] >= file.start_ns
    last = done.progress[-1]
    assert (last.sent, last.done, last.failed, last.dropped, last.in_flight) == (40, 40, 0, 0, 0)
    turns = [file.start_ns + slot * 2 * MS for slot in range(4)]
    assert all(sent >= turn for sent, turn in zip(done.sent_ns(), turns, strict=False)), "streams do not run in step"


@pytest.mark.slow
@pytest.mark.clock
def test_an_open_loop_stays_open_when_the_server_holds_every_request(folder: Path) -> None:
    with launch(TruthOptions(ttft_ms=3000, gap_ms=1)) as server:
        done = offer_load(folder, server.url, rate=50.0, arrivals="constant", duration="1s", warmup="200ms")
    assert sorted(done.calls) == list(range(60))
    assert done.counts() == {"ok": 60}
    start_ns = only(done.captured).start_ns
    assert [done.calls[seq].due_ns - start_ns for seq in range(60)] == [seq * 20 * MS for seq in range(60)]
    assert done.most_in_flight() >= 30
    assert done.late_ms()[0] >= 0
    assert done.late_ms()[57] < 1500, "nobody waits for an answer, which takes 3 s"
    assert any(progress.in_flight > 10 for progress in done.progress)


@pytest.mark.slow
@pytest.mark.clock
def test_beyond_the_limit_requests_wait_for_a_seat_and_their_lateness_is_kept(folder: Path) -> None:
    with launch(TruthOptions(ttft_ms=200, gap_ms=1)) as server:
        done = offer_load(
            folder, server.url, rate=40.0, arrivals="poisson", requests=30, warmup="0", max_in_flight=4, overload="wait"
        )
    assert sorted(done.calls) == list(range(30))
    assert done.counts() == {"ok": 30}
    assert done.most_in_flight() == 4
    assert done.plan.due_ns is not None
    start_ns = only(done.captured).start_ns
    assert [done.calls[seq].due_ns - start_ns for seq in range(30)] == done.plan.due_ns.tolist()
    assert [call.seq for call in sorted(done.calls.values(), key=lambda call: call.sent_ns or 0)] == list(range(30))
    assert done.late_ms()[-1] > 300, "30 requests take 1.5 s of 4 slots and were due within about 0.75 s"
    assert any(progress.waiting > 0 for progress in done.progress)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.clock
def test_what_is_all_due_at_once_goes_as_fast_as_slots_are_free(folder: Path, workers: int) -> None:
    with launch(TruthOptions(ttft_ms=250, gap_ms=1)) as server:
        done = offer_load(folder, server.url, workers=workers, rate=math.inf, requests=40, max_in_flight=8)
    assert sorted(done.calls) == list(range(40))
    assert done.counts() == {"ok": 40}
    assert done.most_in_flight() == 8
    starts = {file.start_ns for file in done.captured.files.values()}
    assert {call.due_ns for call in done.calls.values()} == starts and len(starts) == 1
    assert done.late_ms()[-1] > 900, "five rounds of eight, of which the last waits for four"
    assert any(progress.waiting > 0 for progress in done.progress[:-1])
    assert done.progress[-1].waiting == 0


@pytest.mark.slow
def test_beyond_the_limit_requests_can_be_dropped_and_each_is_counted(folder: Path) -> None:
    with launch(TruthOptions(ttft_ms=150, gap_ms=1)) as server:
        done = offer_load(
            folder, server.url, rate=40.0, arrivals="constant", duration="1s", warmup="0s", max_in_flight=3,
            overload="drop",
        )  # fmt: skip
    dropped = {seq for seq, _ in only(done.captured).drops}
    assert sorted([*done.calls, *dropped]) == list(range(40))
    assert done.counts() == {"ok": len(done.calls)}
    assert {0, 1, 2} <= set(done.calls), "slots that are free at the start are used"
    assert 3 <= len(done.calls) <= 24, "in a second three slots take 150 ms a request"
    assert done.progress[-1].dropped == len(dropped)


def test_two_workers_share_one_plan(folder: Path) -> None:
    with launch(TruthOptions(ttft_ms=20, gap_ms=5)) as server:
        done = offer_load(folder, server.url, workers=2, concurrency=6, requests=40, warmup="0")
    assert done.stopped is None
    assert sorted(done.calls) == list(range(40))
    assert done.counts() == {"ok": 40}
    assert {(seq % 2, call.worker) for seq, call in done.calls.items()} == {(0, 0), (1, 1)}
    assert done.most_in_flight() == 6
    assert len({file.start_ns for file in done.captured.files.values()}) == 1
    assert [file.end is not None for file in done.captured.files.values()] == [True, True]
    assert done.progress[-1].done == 40


# --- connections --------------------------------------------------------------------------------------------------


class ScriptedServer:
    """Gives every connection a thread that runs `script(socket, number of the connection)`."""

    def __init__(self, script: Callable[[socket.socket, int], None]) -> None:
        self._script = script
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self._sockets: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.port = self._listener.getsockname()[1]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._sockets.append(sock)
            thread = threading.Thread(target=self._serve, args=(sock, len(self._sockets) - 1))
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with sock, suppress(OSError):  # the client left
            self._script(sock, number)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._sockets:
            with suppress(OSError):  # it is closed
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


@contextmanager
def scripted(script: Callable[[socket.socket, int], None]) -> Iterator[ScriptedServer]:
    server = ScriptedServer(script)
    try:
        yield server
    finally:
        server.close()


def take_request(sock: socket.socket) -> int | None:
    """The number of the next request, which its id ends in; None when the client has left."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    fields = dict(line.split(b": ", 1) for line in head.lower().split(b"\r\n")[1:])
    while len(body) < int(fields[b"content-length"]):
        body += sock.recv(65536)
    return int(fields[b"x-request-id"].rpartition(b"-")[2])


@pytest.mark.clock
def test_a_server_that_closes_kept_connections_loses_no_request(folder: Path) -> None:
    """One closes with its last chunk, as llama.cpp does; one closes unread what comes next; one fails late."""
    asked: Counter[int] = Counter()
    answered: Counter[int] = Counter()

    def script(sock: socket.socket, number: int) -> None:
        first = True
        while (seq := take_request(sock)) is not None:
            if not first and seq % 10 == 3:
                return  # as if the connection had been closed before the request came
            asked[seq] += 1
            if seq == 15:
                time.sleep(0.7)
                return  # no such thing: this request was seen, and may not be sent again
            answered[seq] += 1
            sock.sendall(WHOLE)
            if seq % 10 == 7:
                return
            first = False

    with scripted(script) as server:
        done = offer_load(folder, f"http://127.0.0.1:{server.port}", concurrency=2, requests=40, warmup="0")
    assert sorted(done.calls) == list(range(40))
    assert done.counts() == {"ok": 39, "cut_stream": 1}
    error = done.calls[15].error
    assert error is not None
    assert error[0] == "cut_stream"
    assert asked[15] == 1
    assert answered == dict.fromkeys(set(range(40)) - {15}, 1)
    opened = {seq for seq, call in done.calls.items() if call.connect_ns is not None}
    assert 5 <= len(opened) <= 11


def test_connecting_is_timed_apart_and_is_no_part_of_the_first_byte(folder: Path, tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-subj", "/CN=bench test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*argv, "-keyout", key, "-out", cert], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    def script(sock: socket.socket, number: int) -> None:
        time.sleep(0.1)
        with context.wrap_socket(sock, server_side=True) as secure:
            take_request(secure)
            secure.sendall(WHOLE)

    with scripted(script) as server:
        done = offer_load(
            folder, f"https://127.0.0.1:{server.port}", ca_file=cert, concurrency=2, requests=8, warmup="0"
        )
    assert done.counts() == {"ok": 8}
    connect_ms = [call.connect_ns / MS for call in done.calls.values() if call.connect_ns is not None]
    assert len(connect_ms) == 6, "two were connected before the start"
    assert min(connect_ms) > 100
    for call in done.calls.values():
        assert call.sent_ns is not None
        assert call.sent_ns >= call.due_ns + (call.connect_ns or 0)


@pytest.mark.slow
@pytest.mark.clock
def test_a_server_that_dies_leaves_a_record_of_every_request(folder: Path) -> None:
    with launch(TruthOptions(ttft_ms=30, gap_ms=10)) as server:
        killed: list[int] = []

        def kill(progress: Progress) -> None:
            if progress.done >= 8 and not killed:
                killed.append(progress.done)
                server.stop()

        done = offer_load(folder, server.url, on_progress=kill, backoff=False, concurrency=4, requests=60, warmup="0")
    assert done.stopped is None
    assert sorted(done.calls) == list(range(60))
    counts = done.counts()
    assert set(counts) <= {"ok", "reset", "cut_stream", "connect_refused"}
    assert counts["ok"] >= 8
    assert counts["connect_refused"] >= 10
    assert counts["reset"] + counts["cut_stream"] <= 8, "what was in flight or about to be accepted"
    refused = [call for call in done.calls.values() if call.error and call.error[0] == "connect_refused"]
    assert all(call.sent_ns is None and len(call.data) == 0 for call in refused)
    assert done.progress[-1].failed == 60 - counts["ok"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("workers", "load"),
    [
        (2, {"concurrency": 4, "requests": 5000}),
        pytest.param(1, {"rate": 40.0, "requests": 5000}, marks=pytest.mark.slow),
        pytest.param(1, {"concurrency": 4, "duration": "60s", "warmup": "0s"}, marks=pytest.mark.slow),
    ],
)
def test_a_server_that_stays_away_ends_the_load(folder: Path, workers: int, load: dict[str, Any]) -> None:
    with launch(TruthOptions(ttft_ms=30, gap_ms=10)) as server:
        killed: list[int] = []

        def kill(progress: Progress) -> None:
            if progress.done >= 8 and not killed:
                killed.append(progress.done)
                server.stop()

        done = offer_load(folder, server.url, workers=workers, on_progress=kill, **({"warmup": "0"} | load))
    assert done.stopped is not None
    assert done.stopped.startswith("the server is gone: nothing but refused connections for 5 s (127.0.0.1:")
    assert stop_reason(done.stopped or "").unsent == "not_sent"
    counts = done.counts()
    # A listener that closes between both ends of a handshake resets it: connect_failed.
    assert set(counts) <= {"ok", "reset", "cut_stream", "connect_refused", "connect_failed", "unfinished"}
    assert counts["connect_refused"] < 400
    assert done.most_in_flight() <= 40


@pytest.mark.parametrize(
    ("status", "load"), [(401, {"concurrency": 1}), (401, {"rate": 50.0}), (407, {"concurrency": 1})]
)
def test_the_first_answer_that_refuses_the_key_ends_the_load_and_names_the_variable(
    folder: Path, status: int, load: dict[str, Any]
) -> None:
    denied = b"HTTP/1.1 %d No\r\nContent-Length: 0\r\n\r\n" % status

    def script(sock: socket.socket, number: int) -> None:
        while (seq := take_request(sock)) is not None:
            sock.sendall(denied if seq >= 2 else WHOLE)

    with scripted(script) as server:
        done = offer_load(folder, f"http://127.0.0.1:{server.port}", requests=60, warmup="0", **load)
    assert done.stopped == f"the key was refused (HTTP {status}); set OPENAI_API_KEY again"
    assert stop_reason(done.stopped).unsent == "not_sent"
    # Every further call would be refused too; by a rate some may be under way before the first is.
    assert len(done.calls) < 60 if "rate" in load else len(done.calls) == 3


@pytest.mark.parametrize("in_a_row", [2, 3])
def test_what_is_forbidden_three_times_in_a_row_ends_the_load_as_a_refused_key(folder: Path, in_a_row: int) -> None:
    forbidden = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"

    def script(sock: socket.socket, number: int) -> None:
        while (seq := take_request(sock)) is not None:
            sock.sendall(WHOLE if seq % (in_a_row + 1) == 0 else forbidden)

    with scripted(script) as server:
        done = offer_load(folder, f"http://127.0.0.1:{server.port}", requests=12, warmup="0", concurrency=1)
    if in_a_row == 3:
        assert done.stopped == "the key was refused (HTTP 403); set OPENAI_API_KEY again"
        assert done.progress[-1].failed == 3
    else:
        assert (done.stopped, done.progress[-1].failed) == (None, 8)


@pytest.mark.slow
@pytest.mark.clock
def test_a_slot_that_is_refused_waits_as_long_as_it_is_asked_to(folder: Path) -> None:
    refusal = b"HTTP/1.1 429 Too Many\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"

    def script(sock: socket.socket, number: int) -> None:
        while (seq := take_request(sock)) is not None:
            sock.sendall(refusal if seq in (2, 3) else WHOLE)

    with scripted(script) as server:
        done = offer_load(folder, f"http://127.0.0.1:{server.port}", concurrency=1, requests=6, warmup="0")
    starts = done.sent_ns()
    assert [round((later - sooner) / 1e9, 1) >= 1 for sooner, later in pairwise(starts)] == [0, 0, 1, 1, 0]
    waited_ns = [done.calls[seq + 1].due_ns - done.calls[seq].end_ns for seq in (2, 3)]
    assert min(waited_ns) >= 1e9, "the next call is due when the wait is over, and so not late"
    backoff = only(done.captured).end["backoff"]
    assert backoff["waits"] == 2
    assert 2 <= backoff["seat_s"] < 4


# --- stopping -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workers", "load"),
    [
        (1, {"rate": 30.0, "requests": 1000, "warmup": "0"}),
        (1, {"concurrency": 6, "duration": "60s", "warmup": "0s"}),
        (2, {"concurrency": 6, "requests": 1000, "warmup": "0"}),
    ],
)
def test_a_stop_in_mid_run_keeps_everything_and_what_is_in_flight_is_unfinished(
    folder: Path, workers: int, load: dict[str, Any]
) -> None:
    seen: list[Progress] = []

    def should_stop() -> str | None:
        return "the test said so" if seen and seen[-1].done >= 8 else None

    # Every third request has three tokens and no end: some of those are in flight, however fast the others go.
    with launch(TruthOptions(ttft_ms=2, gap_ms=5, faults="stall@3:50000/3")) as server:
        done = offer_load(
            folder,
            server.url,
            workers=workers,
            output_tokens=15,
            should_stop=should_stop,
            on_progress=seen.append,
            **load,
        )
    assert done.stopped == "the test said so"
    counts = done.counts()
    assert counts["ok"] >= 8
    assert counts["unfinished"] >= 3
    assert set(counts) == {"ok", "unfinished"}
    unfinished = [call for call in done.calls.values() if call.error]
    assert {call.error for call in unfinished} == {("unfinished", "the test said so")}
    assert any(b" t0" in call.data for call in unfinished), "what had come of them is kept"
    for worker, file in enumerate(done.captured.files.values()):
        assert file.end is not None
        assert sorted(file.seqs) == list(range(worker, worker + workers * len(file.seqs), workers))


def fetch(url: str, method: str = "GET") -> Any:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=300) as answer:
        return json.loads(answer.read())


def test_locust_counts_every_finished_request_once_and_its_page_can_stop_the_load(folder: Path) -> None:
    port = free_port()
    stats: list[dict[str, Any]] = []

    def look_and_stop(progress: Progress) -> None:
        if progress.done == 19 and not stats:
            for path in ("swarm?user_count=40&spawn_rate=40", "stats/reset"):
                with pytest.raises(urllib.error.HTTPError, match="403"):
                    fetch(f"http://127.0.0.1:{port}/{path}", "POST")
            stats.append(fetch(f"http://127.0.0.1:{port}/stats/requests"))
            assert stats[0]["user_count"] == progress.in_flight == 1, "of two slots"
            fetch(f"http://127.0.0.1:{port}/stop", "POST")

    with launch(TruthOptions(ttft_ms=10, gap_ms=1, faults="stall@1:50000ms/20,status:503/10")) as server:
        done = offer_load(
            folder, server.url, web_port=port, on_progress=look_and_stop, concurrency=2, requests=20, warmup="0"
        )
    assert done.stopped == "interrupted on Locust's web page"
    assert done.counts() == {"ok": 19, "unfinished": 1}
    assert done.calls[19].error == ("unfinished", "interrupted on Locust's web page")
    [row] = [row for row in stats[0]["stats"] if row["name"] == "openai"]
    assert (row["num_requests"], row["num_failures"]) == (19, 1)
    assert stats[0]["errors"][0]["occurrences"] == 1
    assert "http_503" in json.dumps(stats[0]["errors"])
    assert row["avg_content_length"] > 500


# --- the port between the processes ---


def forge(port: int, keys: tuple[bytes, bytes, bytes] | None) -> None:
    """Send what would end a load as done, as a worker whom nobody has started."""
    context = zmq.Context()
    with context.socket(zmq.DEALER) as client:
        client.linger = 0
        if keys is not None:
            client.curve_publickey, client.curve_secretkey, client.curve_serverkey = keys
        client.setsockopt(zmq.IDENTITY, b"forged")
        client.connect(f"tcp://127.0.0.1:{port}")
        for worker in (0, 1):
            for name, data in (
                ("client_ready", -1),
                ("load_done", {"worker": worker, "error": None}),
                ("load_wants_stop", {"reason": "forged"}),
            ):
                with suppress(zmq.ZMQError):  # nobody takes it
                    client.send(msgpack.packb((name, data, "forged")), zmq.NOBLOCK)
        time.sleep(0.3)
    context.term()


@pytest.mark.slow
@pytest.mark.parametrize("curve", [False, True])
def test_nobody_else_is_heard_on_the_port_between_the_processes(
    folder: Path, curve: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    forged: list[int] = []
    port = free_port()
    monkeypatch.setitem(globals(), "free_port", lambda: port)
    keys = (*zmq.curve_keypair(), zmq.curve_keypair()[0]) if curve else None

    def attack(progress: Progress) -> None:
        if progress.done >= 5 and not forged:
            forged.append(progress.done)
            forge(port, keys)

    with launch(TruthOptions(ttft_ms=20, gap_ms=5)) as server:
        done = offer_load(folder, server.url, workers=2, on_progress=attack, concurrency=4, requests=150, warmup="0")
    assert forged
    assert done.stopped is None
    assert done.counts() == {"ok": 150}


# --- accidents ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_load_process_ends_the_load_and_leaves_what_had_finished(folder: Path, workers: int) -> None:
    processes: LoadProcesses = []
    seen: list[Progress] = []

    def kill(progress: Progress) -> None:
        seen.append(progress)
        if progress.done >= 8:
            processes[-1].kill()

    with launch(TruthOptions(ttft_ms=10, gap_ms=5)) as server, pytest.raises(LoadFailed, match="a load process died"):
        offer_load(
            folder, server.url, workers=workers, on_start=processes.extend, on_progress=kill, concurrency=4,
            requests=2000, warmup="0",
        )  # fmt: skip
    plan = make_plan(SCENARIO, resolve_load(SCENARIO, concurrency=4, requests=2000, warmup="0"), 1, 2, VOCABULARY)
    left = read_back(folder, plan, None, seen)
    assert left.counts() == {"ok": len(left.calls)}
    assert len(left.calls) >= seen[-1].done
    assert [file.end for file in left.captured.files.values()] == [None] * workers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ttft_ms", "load"), [(2, {"concurrency": 4}), (60_000, {"rate": 300.0, "max_in_flight": 2, "overload": "drop"})]
)
def test_a_full_disk_ends_the_load_with_a_clear_error_and_a_readable_capture(
    folder: Path, ttft_ms: float, load: dict[str, Any]
) -> None:
    """A limit on the size of files stands for the disk's."""

    def fill_disk(processes: LoadProcesses) -> None:
        resource.prlimit(processes[0].pid, resource.RLIMIT_FSIZE, (5_000, 5_000))

    with launch(TruthOptions(ttft_ms=ttft_ms, gap_ms=1)) as server:
        done = offer_load(folder, server.url, on_start=fill_disk, requests=5000, warmup="0", **load)
    assert done.stopped is not None
    assert re.fullmatch(f"(No space.*|File too large): cannot write to {folder}; make room and run again", done.stopped)
    file = only(done.captured)
    assert file.torn_bytes == 0
    assert 0 < len(done.calls) + len(file.drops) < 1000
    assert set(done.counts()) <= {"ok", "unfinished"}
    assert (folder / "load.log").read_text() == ""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_load_process_that_is_stopped_is_not_waited_for_in_silence(folder: Path, workers: int) -> None:
    processes: LoadProcesses = []

    def stop(progress: Progress) -> None:
        if progress.done >= 8:
            processes[-1].send_signal(signal.SIGSTOP)

    with launch(TruthOptions(ttft_ms=10, gap_ms=5)) as server:
        ended: str | None
        try:
            ended = offer_load(
                folder, server.url, workers=workers, on_start=processes.extend, on_progress=stop, concurrency=4,
                duration="300s", warmup="0s",
            ).stopped  # fmt: skip
        except LoadFailed as problem:
            ended = str(problem)
    assert ended is not None
    assert re.match(r"(load process 1|the load) has said nothing for 15 s: ", ended)


def test_a_greenlet_that_dies_ends_the_load_with_its_error(folder: Path) -> None:
    """The timer of the open loop has no file left."""

    def allow_few(processes: LoadProcesses) -> None:
        resource.prlimit(processes[0].pid, resource.RLIMIT_NOFILE, (24, 24))

    with launch(TruthOptions(ttft_ms=10, gap_ms=5)) as server:
        try:
            done = offer_load(folder, server.url, on_start=allow_few, rate=300.0, requests=600, warmup="0")
        except LoadFailed as problem:
            assert re.match(r"a load process died: .*Too many open files", str(problem))
        else:
            assert "connect_failed" in done.counts()
            assert sum(done.counts().values()) == 600


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_no_process_and_can_be_decoded(tmp_path: Path) -> None:
    out = tmp_path / "run"
    argv = [
        sys.executable,
        str(Path(__file__).parents[3] / "bench.py"),
        "run",
        "--backend",
        "openai",
        "--model",
        "truth",
        "--out",
        str(out),
        "--concurrency",
        "4",
    ]
    argv += ["--requests", "500", "--warmup", "4", "--prompt-tokens", "40", "--output-tokens", "8"]
    with launch(TruthOptions(ttft_ms=20, gap_ms=10)) as server:
        with subprocess.Popen([*argv, "--url", server.url], stdout=subprocess.DEVNULL) as run:
            while sum(len(file.seqs) for file in scan_captures(out).files.values()) < 12:
                assert run.poll() is None
                time.sleep(0.05)
            started = psutil.Process(run.pid).children(recursive=True)
            assert any("bench.app.load_process" in process.cmdline() for process in started)
            run.kill()
        assert psutil.wait_procs(started, timeout=600)[1] == []
    finished = {seq for file in scan_captures(out).files.values() for seq in file.seqs}
    assert not (out / "requests.parquet").exists()

    decoded = bench("decode", out)
    assert decoded.returncode == 130, decoded.stderr
    rows = read_requests(out).to_pylist()
    assert sorted(row["seq"] for row in rows) == list(range(504))
    assert {row["seq"] for row in rows if row["error"] is None} == finished
    assert {row["error"] for row in rows if row["seq"] not in finished} == {"unfinished"}
    assert all(row["output_tokens"] == 8 for row in rows if row["seq"] in finished)
    summary = json.loads((out / "summary.json").read_text())
    assert summary["requests"]["succeeded"] == len(finished) - 4
    assert summary["requests"]["unfinished"] == 504 - len(finished)
