"""From wire to rows: captures are made by the real wire, without load processes, or by hand."""

import errno
import os
import re
import shutil
import sys
import urllib.request
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gevent
import numpy as np
import pytest

from backends.dialect import openai
from bench.plan.calls import Plan, calls, make_plan
from bench.plan.prompts import Vocabulary
from bench.plan.resolve import resolve_load
from bench.plan.written import write_plan
from bench.runs import decoding, records
from bench.runs.arrivals import Stopwatch, stopwatch
from bench.runs.decoding import decode_run, scan_captures
from bench.runs.manifest import LoadClient
from bench.runs.records import Planned, record
from bench.runs.table import SCHEMA, column_of, read_requests, to_table
from bench.server.launch import free_port
from bench.truth.server import TruthOptions, TruthServer, compare, launch, read_log
from bench.types import Exchange, Lengths, Record, Reply, Scenario, Target, Usage, UserError
from bench.wire import http1
from bench.wire.capture import CaptureWriter, Received
from bench.wire.clock import ClockSample, now_ns, sample
from bench.wire.connection import Wire, WireError, endpoint
from tests.summaries import manifest_of

pytestmark = pytest.mark.usefixtures("kernel_stamps")

MS = 1_000_000
SECOND = 1_000_000_000
VOCABULARY = Vocabulary(tuple(f"w{i}" for i in range(200)), 1.0, 12, True, "test")
Rows = dict[int, dict[str, Any]]

needs_truth = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="the ground-truth server is compiled, and for Linux"
)


def plan_of(requests: int, tokens: int = 8) -> Plan:
    scenario = Scenario("s", "d", Lengths("fixed", 40, 40), Lengths("fixed", tokens, tokens), 0, 4, requests, 0)
    return make_plan(scenario, resolve_load(scenario, warmup="0"), 1, 2, VOCABULARY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "capture").mkdir()
    return tmp_path


class Observer:
    """Sends a plan's calls through a wire and captures them as a load process does."""

    def __init__(self, folder: Path, plan: Plan, worker: int = 0) -> None:
        self.start_ns = now_ns()
        self.writer = CaptureWriter(folder / "capture" / f"worker-{worker}.cap", {"worker": worker})
        self.writer.start(self.start_ns)
        self.writer.clock(sample())
        self._calls = {call.seq: call for call in calls(plan)}

    def ask(self, url: str, seqs: Iterable[int], *, timeout_s: float = 10, stall_timeout_s: float = 10) -> None:
        """Send these calls at once, each on a connection of its own."""
        wire = Wire(endpoint(url), timeout_s, stall_timeout_s)
        with gevent.Timeout(20):
            gevent.joinall([gevent.spawn(self._ask, wire, url, seq) for seq in seqs], raise_error=True)
        wire.close()

    def _ask(self, wire: Wire, url: str, seq: int) -> None:
        due_ns = now_ns()
        request = http1.encode_request(openai.request(self._calls[seq], Target(url, "truth")), "truth")
        try:
            connection = wire.connect()
        except WireError as problem:
            self.writer.exchange(seq, due_ns, None, now_ns(), None, Received(), (problem.code, str(problem)))
            return
        outcome = connection.exchange(request)
        connection.close()
        self.writer.exchange(seq, due_ns, outcome.sent_ns, outcome.end_ns, None, outcome.received, outcome.error)


def rows_of(folder: Path, plan: Plan, count: int) -> Rows:
    """The rows that become of a folder's captures and a plan of so many calls."""
    write_plan(plan, folder / "plan.parquet", range(count))
    decode_run(folder, scan_captures(folder), 0.0, openai.decode)
    table = read_requests(folder)
    assert table.schema.equals(SCHEMA)
    rows = {row["seq"]: row for row in table.to_pylist()}
    assert sorted(rows) == list(range(count)), "one row for each planned call"
    assert table.num_rows == count
    return rows


def observe(folder: Path, options: TruthOptions, count: int, log: Path | None = None) -> Rows:
    """`count` calls at once to a ground-truth server of these options, as rows."""
    plan = plan_of(count, options.tokens)
    with launch(options, log=log) as server:
        observer = Observer(folder, plan)
        observer.ask(server.url, range(count))
        observer.writer.close({})
    return rows_of(folder, plan, count)


def generated_tokens(server: TruthServer) -> int:
    with urllib.request.urlopen(f"{server.url}/metrics") as answer:
        found = re.search(rb"^truth:generation_tokens_total (\d+)", answer.read(), re.MULTILINE)
    assert found is not None
    return int(found[1])


# --- what is measured is what happened ----------------------------------------------------------------------------


@pytest.mark.slow
@needs_truth
@pytest.mark.parametrize("options", [
    TruthOptions(),
    TruthOptions(framing="close", eol="crlf"),
    TruthOptions(framing="length", split=3),
    TruthOptions(tokens_per_event=1, usage=False, role_chunk=False),
], ids=["chunked", "closed CRLF", "length split", "no usage"])  # fmt: skip
@pytest.mark.clock
def test_arrivals_are_those_of_the_servers_log_and_tokens_those_of_its_counter(
    folder: Path, options: TruthOptions
) -> None:
    # Far apart, so that a client that is held up finds some tokens by themselves.
    options = replace(options, ttft_ms=60, gap_ms=120, tokens=20)
    plan = plan_of(12, 20)
    with launch(options, log=folder / "log") as server:
        observer = Observer(folder, plan)
        observer.ask(server.url, range(12))
        observer.writer.close({})
        counter = generated_tokens(server)
    rows = rows_of(folder, plan, 12)
    assert {row["error"] for row in rows.values()} == {None}
    assert sum(row["output_tokens"] for row in rows.values()) == counter == 240
    assert {row["token_source"] for row in rows.values()} == {"server usage" if options.usage else "chunk count"}
    t_ns = np.array([rows[seq]["arrivals_ns"] for seq in range(12)]) + observer.start_ns
    # Where a read brought several events, the times of all but the last are lost, and the row says so.
    alone = np.diff(t_ns, axis=1, append=0) * np.diff(t_ns, axis=1, prepend=0) != 0
    assert (~alone).any() == any(row["coalesced_reads"] for row in rows.values())
    request, token = np.nonzero(alone)
    found = compare(read_log(folder / "log"), request, token, t_ns[alone])
    assert (found.lost, found.unknown) == (240 - len(token), 0)
    assert found.first_token.p50_ms is not None
    assert found.gap.p50_ms is not None
    assert found.first_token.p50_ms < 1
    assert found.gap.p50_ms < 0.3
    for row in rows.values():
        assert row["sent_ns"] < row["headers_ns"] <= row["first_token_ns"] == row["first_text_ns"]
        assert row["first_token_ns"] < row["last_token_ns"] <= row["end_ns"]
        assert (row["first_token_ns"] - row["sent_ns"]) / MS > 59
        assert row["arrival_tokens"] == [1] * 20
        assert len(row["lags_ns"]) == row["reads"] > 0
        assert min(row["lags_ns"]) >= 0
        assert (row["status"], row["finish"], row["phase"]) == (200, "length", "measured")
        assert (row["prompt_tokens"] is not None) == options.usage
        assert row["bytes_received"] > 20 * 190


@needs_truth
@pytest.mark.clock
def test_a_role_chunk_is_the_first_byte_and_not_the_first_token(folder: Path) -> None:
    row = observe(folder, TruthOptions(ttft_ms=80, gap_ms=1, tokens=3), 1)[0]
    assert (row["first_token_ns"] - row["first_byte_ns"]) / MS > 40
    assert (row["first_token_ns"] - row["sent_ns"]) / MS >= 80


@needs_truth
@pytest.mark.clock
def test_several_tokens_in_an_event_share_the_servers_sum_and_split_events_arrive_with_their_last_piece(
    folder: Path,
) -> None:
    log = folder / "log"
    options = TruthOptions(ttft_ms=20, gap_ms=3, tokens=10, tokens_per_event=4, split=4)
    row = observe(folder, options, 1, log)[0]
    assert (row["output_tokens"], row["token_source"]) == (10, "server usage")
    assert len(row["arrivals_ns"]) == 3
    assert sum(row["arrival_tokens"]) == 10
    assert set(row["arrival_tokens"]) == {3, 4}


@needs_truth
def test_text_is_known_by_its_hash(folder: Path) -> None:
    rows = observe(folder, TruthOptions(ttft_ms=1, gap_ms=0, tokens=5, faults="empty/3"), 3)
    assert rows[0]["text_sha"] == rows[1]["text_sha"] != None  # noqa: E711
    assert rows[2]["text_sha"] is None


# --- whatever becomes of a call, it is a row ----------------------------------------------------------------------

FAULTS = "stall@2:5000ms/11,reset@2/13,cut@2/17,error@2/19,garbage@2/23,status:503/29,empty/31"


@needs_truth
@pytest.mark.clock
def test_every_kind_of_failure_is_a_row_with_its_code_and_what_came_before_it(folder: Path) -> None:
    plan = plan_of(33)
    with launch(TruthOptions(ttft_ms=10, gap_ms=2, faults=FAULTS)) as server:
        observer = Observer(folder, plan)
        observer.ask(server.url, [0, 12, 16, 18, 22, 28, 30])
        observer.ask(server.url, [10], stall_timeout_s=0.25)
        observer.ask(server.url, [21], timeout_s=0.25)
        observer.ask(f"http://127.0.0.1:{free_port()}", [1])
        observer.writer.drop(2, now_ns())
        observer.writer.close({})
    rows = rows_of(folder, plan, 33)
    codes = {
        0: None, 1: "connect_refused", 2: "dropped", 3: "unfinished", 10: "stall", 12: "reset", 16: "cut_stream",
        18: "error_event", 21: "timeout", 22: None, 28: "http_503", 30: "empty", 32: "unfinished",
    }  # fmt: skip
    assert {seq: rows[seq]["error"] for seq in codes} == codes
    assert all(bool(row["error_message"]) == (row["error"] is not None) for row in rows.values())
    assert (rows[22]["unread"], len(rows[22]["arrivals_ns"])) == (1, len(rows[0]["arrivals_ns"]) - 1)
    assert "chatcmpl-truth" in rows[22]["unread_example"]
    for seq in (10, 12, 16, 18, 21):
        row = rows[seq]
        assert (row["status"], len(row["arrivals_ns"]), row["output_tokens"]) == (200, 2, 2), row["error"]
        assert row["token_source"] == "chunk count"
        assert row["sent_ns"] < row["first_token_ns"] <= row["last_token_ns"] <= row["end_ns"]
    assert "injected" in rows[18]["error_message"]
    assert (rows[28]["status"], rows[28]["error_message"], rows[28]["arrivals_ns"]) == (503, "injected", [])
    assert (rows[30]["finish"], rows[30]["output_tokens"], rows[30]["first_token_ns"]) == ("stop", 0, None)
    assert 250 <= (rows[10]["end_ns"] - rows[10]["last_token_ns"]) / MS < 4000
    assert 250 <= (rows[21]["end_ns"] - rows[21]["sent_ns"]) / MS < 4000
    for seq in (1, 2, 3):
        row = rows[seq]
        assert (row["sent_ns"], row["status"], row["reads"], row["lags_ns"]) == (None, None, 0, [])
        assert (row["prompt_tokens_wanted"], row["max_tokens"], row["phase"]) == (40, 8, "measured")
        assert row["prompt_tokens"] is None
    assert rows[1]["end_ns"] > 0
    assert rows[3]["error_message"] == "the load ended before it was sent"


def test_what_a_killed_worker_left_is_decoded_beside_what_others_finished(folder: Path) -> None:
    plan = plan_of(6)
    start_ns = now_ns()
    for worker in (0, 1):
        writer = CaptureWriter(folder / "capture" / f"worker-{worker}.cap", {"worker": worker, "stamps": "kernel"})
        writer.start(start_ns)
        for seq in (worker, worker + 2):
            writer.exchange(*answered(seq, start_ns))
        if worker == 0:
            writer.close({"cpu_s": 1.0})
    (folder / "capture" / "worker-2.cap").write_bytes(b"LSB1")
    torn = folder / "capture" / "worker-1.cap"
    torn.write_bytes(torn.read_bytes()[:-5])
    captured = scan_captures(folder)
    assert captured.clients() == (
        LoadClient(worker=0, stamps="kernel", cpu_s=1.0),
        LoadClient(worker=1, stamps="kernel"),
    )
    assert (captured.described_in(manifest_of({})).capture_torn_bytes or 0) > 0
    assert captured.seqs() == [0, 1, 2]
    rows = rows_of(folder, plan, 6)
    assert {seq: (row["worker"], row["error"]) for seq, row in rows.items()} == {
        0: (0, None), 1: (1, None), 2: (0, None), 3: (None, "unfinished"), 4: (None, "unfinished"),
        5: (None, "unfinished"),
    }  # fmt: skip


def test_each_capture_is_decoded_by_the_clock_of_its_own_process(folder: Path) -> None:
    """Merged, the second's samples would displace the first's arrivals by the 40 ms between the clocks."""
    apart_ns = 40 * MS
    for worker in (0, 1):
        wall_ns = WALL + worker * apart_ns
        writer = CaptureWriter(folder / "capture" / f"worker-{worker}.cap", {"worker": worker, "stamps": "kernel"})
        writer.start(0)
        writer.clock(ClockSample(worker * MS, wall_ns))
        given = answer(0, [2 * SECOND, 3 * SECOND], [wall_ns + 2 * SECOND - 5, wall_ns + 3 * SECOND - 5])
        received = Received()
        received.user_ns.extend(given.user_ns)
        received.kernel += given.kernel.tobytes()
        received.parts += [given.data[:CUT], given.data[CUT:]]
        writer.exchange(worker, 0, 0, 3 * SECOND, None, received, None)
    captured = scan_captures(folder)
    rows = rows_of(folder, plan_of(2), 2)
    assert [rows[seq]["arrivals_ns"] for seq in (0, 1)] == [[2 * SECOND - 5, 3 * SECOND - 5]] * 2
    assert captured.described_in(manifest_of({})).clock_step_ns == 0


def test_a_damaged_capture_is_an_error_and_writes_no_rows(folder: Path) -> None:
    plan = plan_of(2)
    path = folder / "capture" / "worker-0.cap"
    writer = CaptureWriter(path, {"worker": 0})
    writer.exchange(*answered(0, now_ns()))
    writer.exchange(*answered(1, now_ns()))
    writer.close({})
    data = bytearray(path.read_bytes())
    data[200] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="damaged"):
        rows_of(folder, plan, 2)
    assert not (folder / "requests.parquet").exists()


def test_a_load_that_never_started_is_all_unfinished(folder: Path) -> None:
    rows = rows_of(folder, plan_of(3), 3)
    assert [row["error"] for row in rows.values()] == ["unfinished"] * 3


def test_a_large_run_decoded_on_every_core_gives_the_same_rows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan, start_ns = plan_of(7), now_ns()
    writer = CaptureWriter(folder / "capture" / "worker-0.cap", {"worker": 0})
    writer.start(start_ns)
    for seq in range(6):
        writer.exchange(*answered(seq, start_ns))
    writer.close({})
    alone = rows_of(folder, plan, 7)
    monkeypatch.setattr(decoding, "_CALLS_PER_TASK", 2)
    monkeypatch.setattr(decoding, "_POOL_FROM_BYTES", 0)
    assert rows_of(folder, plan, 7) == alone

    def read_only(*_: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(decoding, "ProcessPoolExecutor", read_only)  # /dev/shm cannot be written
    assert rows_of(folder, plan, 7) == alone


def answered(seq: int, start_ns: int) -> tuple[int, int, int, int, None, Received, None]:
    """The arguments of CaptureWriter.exchange for a whole answer of two tokens, 10 ms apart."""
    sent_ns = start_ns + seq * 100 * MS
    exchange = answer(sent_ns, [sent_ns + 10 * MS, sent_ns + 20 * MS])
    received = Received()
    received.user_ns.extend(exchange.user_ns)
    received.kernel += bytes(16 * len(exchange.user_ns))
    received.parts += [exchange.data[:CUT], exchange.data[CUT:]]
    return seq, sent_ns, sent_ns, exchange.end_ns, None, received, None


# --- one exchange, by hand ----------------------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":" t"}}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
CUT = len(HEAD) + len(TOKEN)
PLANNED = Planned(seq=7, due_ns=None, session=7, turn=0, phase=None, prompt_tokens=40, max_tokens=8)


def answer(sent_ns: int, t_ns: Sequence[int], kernel: Sequence[int] = (), **fields: Any) -> Exchange:
    """A stream of two reads with a token each, `t_ns` by our clock and `kernel` by the wall clock (0: no stamp)."""
    data = HEAD + TOKEN + TOKEN + STOP
    plain = Exchange(
        seq=7,
        worker=0,
        due_ns=sent_ns,
        sent_ns=sent_ns,
        end_ns=t_ns[-1],
        connect_ns=None,
        user_ns=array("q", t_ns),
        sizes=array("I", [CUT, len(data) - CUT]),
        kernel=array("q", [part for stamp in kernel for part in divmod(stamp, SECOND)]),
        data=data,
        error=None,
    )
    return plain._replace(**fields)


def watch_of(start_ns: int, *samples: tuple[int, int]) -> Stopwatch:
    return stopwatch(start_ns, [ClockSample(*one) for one in samples])


WALL = 1_700_000_000 * SECOND


def test_kernel_stamps_are_mapped_by_the_offset_in_force_and_lag_is_the_difference() -> None:
    watch = watch_of(1000, (5 * SECOND, WALL), (6 * SECOND, WALL + 400))
    exchange = answer(0, [5 * SECOND + 900, 6 * SECOND + 900], [WALL + 5 * SECOND + 100, WALL + 6 * SECOND + 600])
    found = watch.arrivals(exchange)
    t_ns, lags = found.t_ns, found.lags_ns
    assert t_ns == [5 * SECOND + 100 - 1000, 6 * SECOND + 200 - 1000]
    assert lags == [800, 700]


def test_a_read_without_the_kernels_stamp_has_ours_and_no_lag() -> None:
    watch = watch_of(0, (0, WALL))
    for kernel, arrivals, lags in (
        ([WALL + 100, 0], [100, 300], [50]),
        ([0, WALL + 250], [150, 250], [50]),
        ([0, 0], [150, 300], []),
        ([], [150, 300], []),
    ):
        found = watch.arrivals(answer(0, [150, 300], kernel))
        assert (found.t_ns, found.lags_ns) == (arrivals, lags)


def test_without_clock_samples_our_own_stamps_serve() -> None:
    found = watch_of(50).arrivals(answer(0, [150, 300], [WALL + 100, WALL + 200]))
    assert (found.t_ns, found.lags_ns) == ([100, 250], [])


@pytest.mark.parametrize("step_ns", [5 * SECOND, -5 * SECOND])
def test_a_step_of_the_wall_clock_displaces_nothing(step_ns: int) -> None:
    watch = watch_of(0, (0, WALL), (1 * SECOND, WALL), (2 * SECOND, WALL + step_ns))
    before, between, after = (
        watch.arrivals(answer(0, [t_ns, t_ns + 300], [wall_ns + t_ns - 100, wall_ns + t_ns + 200]))
        for t_ns, wall_ns in (
            (SECOND // 2, WALL),
            (SECOND + SECOND // 2, WALL + step_ns),
            (2 * SECOND + SECOND // 2, WALL + step_ns),
        )
    )
    assert (before.t_ns, before.lags_ns) == ([SECOND // 2 - 100, SECOND // 2 + 200], [100, 100])
    assert (between.t_ns, between.lags_ns) == ([SECOND * 3 // 2, SECOND * 3 // 2 + 300], [])
    assert (after.t_ns, after.lags_ns) == ([SECOND * 5 // 2 - 100, SECOND * 5 // 2 + 200], [100, 100])


def test_the_samples_noise_neither_turns_reads_around_nor_makes_lag_negative() -> None:
    watch = watch_of(0, (0, WALL), (1000, WALL - 120))
    found = watch.arrivals(answer(0, [990, 1010], [WALL + 980, WALL + 900]))
    t_ns, lags = found.t_ns, found.lags_ns
    assert t_ns == [980, 1010]
    assert lags == [10, 0]
    watch = watch_of(0, (0, WALL), (1000, WALL + 120))
    assert watch.arrivals(answer(0, [990, 1010], [WALL + 980, WALL + 1000])).t_ns == [980, 980]


def test_a_row_counts_from_the_runs_start() -> None:
    row = record(answer(1000, [3000, 5000], connect_ns=9), PLANNED, watch_of(500), 0, openai.decode)
    assert (row.due_ns, row.sent_ns, row.connect_ns) == (500, 500, 9)
    assert (row.headers_ns, row.first_byte_ns, row.first_token_ns) == (2500, 2500, 2500)
    assert (row.first_text_ns, row.last_token_ns, row.end_ns) == (2500, 4500, 4500)
    assert (list(row.arrivals_ns), list(row.arrival_tokens)) == ([2500, 4500], [1, 1])
    assert (row.reads, row.coalesced_reads, row.error, row.finish) == (2, 0, None, "stop")


def test_a_read_that_brings_several_arrivals_is_counted() -> None:
    exchange = answer(0, [100, 100])
    row = record(exchange, PLANNED, watch_of(0), 0, openai.decode)
    assert (list(row.arrivals_ns), row.coalesced_reads) == ([100, 100], 1)


@pytest.mark.parametrize(
    ("fields", "planned", "phase"),
    [
        ({"sent_ns": 99}, None, "warmup"),
        ({"sent_ns": 100}, None, "measured"),
        ({"sent_ns": 99}, "measured", "measured"),
        ({"sent_ns": 100}, "warmup", "warmup"),
        ({"sent_ns": None, "due_ns": 99}, None, "warmup"),
        ({"sent_ns": None, "due_ns": 100}, None, "measured"),
    ],
)
def test_a_call_planned_for_no_phase_belongs_to_the_one_it_began_in(
    fields: dict[str, Any], planned: Any, phase: str
) -> None:
    exchange = answer(0, [150, 300])._replace(**fields)
    assert record(exchange, PLANNED._replace(phase=planned), watch_of(0), 100, openai.decode).phase == phase


def test_the_wires_error_comes_before_the_responses_and_that_before_the_replys() -> None:
    def error(exchange: Exchange) -> str | None:
        return record(exchange, PLANNED, watch_of(0), 0, openai.decode).error

    def broken(data: bytes, **fields: Any) -> Exchange:
        return answer(0, [1, 2], data=data, sizes=array("I", [1, len(data) - 1]), **fields)

    unavailable = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\n"
    assert error(broken(unavailable + b"busy")) == "http_503"
    assert error(broken(unavailable + b"b")) == "cut_stream"
    assert error(broken(unavailable + b"b", error=("timeout", "too late"))) == "timeout"
    assert error(broken(b"nonsense")) == "malformed"


def test_an_end_that_the_wire_noticed_is_the_wires() -> None:
    exchange = answer(0, [100, 200], end_ns=900, error=("stall", "no byte for 1 s"))
    assert record(exchange, PLANNED, watch_of(0), 0, openai.decode).end_ns == 900


@pytest.mark.parametrize(
    "message", ["bad key sk-abcdefghijklmnop123", "Authorization: Bearer abc.def", "hf_abcdefghijklmnopqrst is unknown"]
)
def test_keys_that_a_server_repeats_are_removed(message: str) -> None:
    exchange = answer(0, [100, 200], error=("reset", message))
    shown = record(exchange, PLANNED, watch_of(0), 0, openai.decode).error_message
    assert shown is not None
    assert "[removed]" in shown
    assert not re.search("abc", shown)


@pytest.mark.parametrize(
    ("deltas", "total", "expected"),
    [
        ([1, 1], None, ([1, 1], 2, "per-chunk usage")),
        ([3, 1, 2], 6, ([3, 1, 2], 6, "per-chunk usage")),
        ([None, None], None, ([1, 1], 2, "chunk count")),
        ([None, None], 2, ([1, 1], 2, "server usage")),
        ([None, None, None], 10, ([3, 3, 4], 10, "server usage")),
        ([None, None, None], 2, ([0, 1, 1], 2, "server usage")),
        ([], 0, ([], 0, "server usage")),
    ],
)
def test_tokens_are_counted_by_who_knows_best(deltas: list[int | None], total: int | None, expected: Any) -> None:
    usage = None if total is None else Usage(output_tokens=total)
    reply = Reply("x", [(n, tokens, "text") for n, tokens in enumerate(deltas)], usage, "stop", None)
    row = record(answer(0, [1, 2]), PLANNED, watch_of(0), 0, lambda status, headers, body: reply)
    assert (list(row.arrival_tokens), row.output_tokens, row.token_source) == expected


def test_the_servers_sum_does_not_count_for_an_answer_that_failed() -> None:
    reply = Reply("x", [(1, None, "text")], Usage(output_tokens=50), None, ("error_event", "no"))
    row = record(answer(0, [1, 2]), PLANNED, watch_of(0), 0, lambda status, headers, body: reply)
    assert (row.output_tokens, row.token_source) == (1, "chunk count")


def test_rows_survive_the_table() -> None:
    row = record(answer(0, [3000, 5000], [WALL + 2000, WALL + 4000]), PLANNED, watch_of(0, (0, WALL)), 0, openai.decode)
    table = to_table([row, row])
    names = [column_of(name) for name in Record._fields]
    assert table.schema.names == names
    values = [list(value) if isinstance(value, array) else value for value in row]
    assert table.to_pylist() == [dict(zip(names, values, strict=True))] * 2
    assert to_table([]).num_rows == 0


# --- what a backend cannot cope with ------------------------------------------------------------------------------


def _fails(*_: Any) -> Reply:
    raise RecursionError("nested \ud800 too deep,\nBearer abcdefghijkl")


def _reply(**fields: Any) -> Reply:
    return Reply("a", [(10, 1, "text")], None, "stop", None)._replace(**fields)


UNFIT: dict[str, Callable[..., Reply]] = {
    "a count beyond 64 bits": lambda *_: _reply(usage=Usage(prompt_tokens=2**70, output_tokens=1)),
    "half of a surrogate pair": lambda *_: _reply(finish="\ud800"),
    "a text that cannot be encoded": lambda *_: _reply(text="\ud800"),
    "a list for a word": lambda *_: _reply(service_tier=["a"]),
    "an exception": _fails,
}


@pytest.mark.parametrize("name", UNFIT)
def test_an_answer_that_a_backend_fails_on_costs_one_call_and_not_the_run(name: str) -> None:
    plan = {seq: PLANNED._replace(seq=seq) for seq in range(3)}

    def decode(*asked: Any) -> Reply:
        return UNFIT[name](*asked) if asked[2].data == b"odd" else _reply()

    rows = [record(given(seq, b"odd" if seq == 1 else b"ok"), plan[seq], watch_of(0), 0, decode) for seq in range(3)]
    table = records.sound_table(rows, plan).to_pylist()
    assert [row["error"] for row in table] == [None, "malformed", None]
    odd = table[1]
    assert odd["error_message"].startswith("the answer could not be decoded (")
    assert "abcdefghijkl" not in odd["error_message"]
    assert (odd["sent_ns"], odd["end_ns"], odd["arrivals_ns"]) == (table[0]["sent_ns"], table[0]["end_ns"], [])
    assert (odd["bytes_received"], odd["reads"]) == (table[0]["bytes_received"] + 1, 1)


def given(seq: int, body: bytes = b"ok") -> Exchange:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    return Exchange(seq, 0, 0, 5, 50, None, array("q", [50]), array("q", [len(data)]), array("q"), data, None)
