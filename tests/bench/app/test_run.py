"""Whole runs, as a user starts them: a process, a server, a folder."""

import base64
import csv
import http.server
import json
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from analysis.run.derived import DERIVED, with_derived
from analysis.run.summary import RunSummary
from backends import BACKENDS
from bench.app import RunOptions, observe, run_request, summarise
from bench.cli.root import command
from bench.packets import watch
from bench.preflight import rehearsal
from bench.runs import folder
from bench.runs.table import SCHEMA
from bench.server import tinymodel
from bench.server.launch import launch
from bench.truth import server as truth
from bench.truth.server import TruthOptions
from bench.types import ServeOptions
from bench.wire import http1
from bench.wire.capture import exchanges, scan
from tests.bench.telemetry.fake_exporters import RECORDED, Course, FakeExporter
from tests.commands import bench

needs_truth = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="the ground-truth server is compiled, and for Linux"
)

ROOT = Path(__file__).parents[3]
SMOKE = ("run", "--scenario", "smoke", "--requests", "16", "--seed", "7")
FILES = {"run.json", "plan.parquet", "capture", "requests.parquet", "telemetry.parquet", "summary.json", "report.html"}
KEY = "hunter2-hunter2"
HEADER_KEY, QUERY_KEY = "gw-0a1b2c3d4e5f/XYZ", "qq-77-not-to-be-seen"
SECRETS = (KEY, HEADER_KEY, QUERY_KEY)
OF_A_RUN = ("bench.app.load_process", "bench.telemetry.sampler")


def start(*arguments: str | Path, **how: Any) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    env = {name: value for name, value in os.environ.items() if name != "OPENAI_API_KEY"} | how.pop("env", {})
    command = [sys.executable, "bench.py", *map(str, arguments)]
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True, env=env, **how)


def apart(*arguments: str | Path, **how: Any) -> "subprocess.CompletedProcess[str]":
    """Run a command in a process of its own."""
    process = start(*arguments, **how)
    out, err = process.communicate(timeout=600)
    return subprocess.CompletedProcess(arguments, process.returncode, out, err)


def made(out: Path, seed: int = 7, **options: Any) -> RunSummary:
    """A run in this process, that came to its end, and what was made of it."""
    assert observe(run_request(RunOptions(scenario="smoke", requests=16, seed=seed, out=out, **options))) is None
    return summarise(out)


def read(run: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / name).read_bytes())
    return content


def wait_for(condition: Callable[[], bool], timeout_s: float = 600) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def loading(run: Path) -> Callable[[], bool]:
    """Whether the run's load has an answer to show."""
    return lambda: any(path.stat().st_size > 2000 for path in (run / "capture").glob("*.cap"))


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A llama.cpp server with the tiny model, for all runs that need none of their own."""
    serve = BACKENDS["llamacpp"].serve
    assert serve is not None
    how = serve(str(tinymodel.model_path("tiny", "gguf")), ServeOptions(None, 8, 2048, 1, ()))
    log = tmp_path_factory.mktemp("server") / "log"
    with launch(how, log, ready_timeout_s=300, on_progress=lambda _: None, port=None) as server:
        yield server.url


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that launched its server and went well."""
    run = tmp_path_factory.mktemp("smoke") / "run"
    done = apart(*SMOKE, "--out", run)
    assert done.returncode == 0
    assert not re.search("^error", done.stderr, re.MULTILINE)  # a slow run shows its progress, errors counted
    assert "\x1b" not in done.stdout + done.stderr
    assert ("scenario smoke:" in done.stderr, "scenario smoke:" in done.stdout) == (True, False)
    assert f"report      {run / 'report.html'}\n" in done.stdout
    return run


def assert_sound(run: Path, calls: int | None = None) -> dict[str, Any]:
    """What holds of every run that went well, on a server that counts tokens and on a small model."""
    summary = read(run, "summary.json")
    assert summary["verdict"]["status"] != "invalid"
    assert [identity for identity in summary["identities"] if identity["holds"] is False] == []
    assert (
        summary["requests"]["succeeded"] == summary["requests"]["planned"] == (calls or summary["requests"]["planned"])
    )
    requests = pq.read_table(run / "requests.parquet")
    assert requests.schema == with_derived(SCHEMA.empty_table()).schema
    of_the_stamps = with_derived(requests)
    assert requests.equals(of_the_stamps)
    measured = requests.filter(pc.field("phase") == "measured")
    for name in DERIVED:
        told = summary["metrics"].get(name, {"count": 0})
        assert len(measured[name].drop_null()) == told["count"]
    assert requests["prompt_tokens"] == requests["prompt_tokens_wanted"]
    assert requests["output_tokens"] == requests["max_tokens"].cast("int64")
    return summary


# --- a run that goes well ---------------------------------------------------------------------------------------


def test_a_run_leaves_what_the_contract_names(smoke: Path) -> None:
    assert {path.name for path in smoke.iterdir()} >= FILES
    assert (smoke / "report.html").read_text().endswith("</html>")
    assert not list(smoke.rglob("*.partial"))
    run, summary = read(smoke, "run.json"), read(smoke, "summary.json")
    assert run.keys() >= {
        "schema", "run_id", "created_at", "argv", "backend", "model", "url", "launched", "scenario", "load", "seed",
        "plan_hash", "tokenizer", "slo", "timeout_s", "stall_timeout_s", "workers", "server", "hardware", "packages",
        "git_commit", "interrupted", "notes", "clients",
    }  # fmt: skip
    assert summary.keys() >= {
        "schema", "run_id", "backend", "model", "scenario", "plan_hash", "seed", "verdict", "window", "requests",
        "metrics", "throughput", "client", "gpu", "cost",
    }  # fmt: skip
    assert summary["metrics"].keys() >= {
        "ttft_ms", "ttft_text_ms", "itl_ms", "chunk_gap_ms", "tpot_ms", "service_ms", "response_ms", "lateness_ms",
        "prompt_tokens", "output_tokens",
    }  # fmt: skip
    assert (run["launched"], run["interrupted"], run["seed"], run["tokenizer"]["exact"]) == (True, False, 7, True)
    assert pq.read_table(smoke / "telemetry.parquet").column_names == ["t_ns", "source", "name", "value"]


def test_a_run_offers_exactly_what_its_scenario_says(smoke: Path) -> None:
    summary = assert_sound(smoke, calls=16)
    requests = pq.read_table(smoke / "requests.parquet")
    assert set(requests["prompt_tokens"].to_pylist()) == {64}
    assert set(requests["output_tokens"].to_pylist()) == {16}
    assert sorted(requests["seq"].to_pylist()) == list(range(18))
    assert requests["phase"].to_pylist().count("warmup") == 2
    best = "packets" if watch.lacks() is None else "kernel" if sys.platform == "linux" else "user"
    assert summary["client"]["stamps"] == best


def test_a_summary_comes_as_markdown_and_json_too(smoke: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for form in ("markdown", "json", "csv"):
        command("report").main([str(smoke), "--format", form], standalone_mode=False)
        said.append(capsys.readouterr().out)
    assert said[0].startswith("### tiny on llamacpp, scenario smoke")
    assert json.loads(said[1]) == read(smoke, "summary.json")
    rows = list(csv.DictReader(said[2].splitlines()))
    measured = [float(row["ttft_ms"]) for row in rows if row["phase"] == "measured"]
    assert statistics.fmean(measured) == pytest.approx(json.loads(said[1])["metrics"]["ttft_ms"]["mean"])


@pytest.mark.slow
def test_two_workers_offer_the_same_plan_and_share_it(
    smoke: Path, url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    made(run, url=f"{url}/v1/", workers=2)
    assert capfd.readouterr() == ("", "")  # a run from Python prints nothing
    assert_sound(run, calls=16)
    ours, theirs = (pq.read_table(path / "plan.parquet").drop("prompt_hash") for path in (run, smoke))
    assert ours.equals(theirs)
    assert read(run, "run.json")["plan_hash"] == read(smoke, "run.json")["plan_hash"]
    assert [client["worker"] for client in read(run, "run.json")["clients"]] == [0, 1]
    workers = pq.read_table(run / "requests.parquet")["worker"].to_pylist()
    assert workers.count(0) == workers.count(1) == 9


@pytest.mark.slow
@pytest.mark.alone  # nobody sends on time otherwise
def test_an_open_loop_on_the_plain_dialect_delivers_its_rate(url: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = bench(
        *("run", "--scenario", "smoke", "--seed", "7", "--backend", "openai", "--url", url, "--model", "tiny"),
        *(
            "--out",
            run,
            "--rate",
            "20",
            "--duration",
            "2s",
            "--warmup",
            "500ms",
            "--slo",
            "ttft_ms:p50<0.001",
            "--quiet",
        ),
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert re.search(r"ttft_ms:p50<0.001 +missed ", done.stdout)
    summary = assert_sound(run)
    requests = pq.read_table(run / "requests.parquet")
    assert summary["offered"]["wanted_rps"] == 20
    assert summary["window"] == {"start_s": 0.5, "seconds": 2.0}
    assert requests["phase"].to_pylist() == [
        "warmup" if due < 5e8 else "measured" for due in requests["due_ns"].to_pylist()
    ]


@pytest.mark.slow
def test_the_gpus_of_a_server_elsewhere_are_seen_by_their_exporter_and_no_password_is_written(
    url: str, tmp_path: Path, web_server: Callable[[type[http.server.BaseHTTPRequestHandler]], str]
) -> None:
    course, begun_s = Course(300.0, 0.0, 0.0, 60.0), time.monotonic()
    fake = FakeExporter((RECORDED / "dcgm-l4.txt").read_text(), course, ahead_s=3.0)

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(fake.answer(time.monotonic() - begun_s).encode())

        def date_time_string(self, timestamp: float | None = None) -> str:
            return super().date_time_string(time.time() + fake.ahead_s)

        def log_message(self, *_: object) -> None: ...

    run = tmp_path / "run"
    exporter = f"http://bob:pw@{web_server(Page).removeprefix('http://')}/metrics"
    argv = ("bench.py", "run", f"--metrics-url={exporter}")
    options = RunOptions(
        scenario="smoke", rate="5", duration="3s", warmup="0", url=url, metrics_url=(exporter,), out=run,
        grid_gco2e_per_kwh=Decimal(400),
    )  # fmt: skip
    assert observe(run_request(options, argv)) is None
    summary = summarise(run)
    energy, (gpu,) = summary.energy, summary.gpu
    assert energy is not None and gpu.name == "NVIDIA L4" and gpu.energy_source == "counter"
    (source,), seconds = read(run, "run.json")["telemetry"]["sources"], summary.window.seconds
    assert seconds is not None and energy.joules is not None
    assert energy.joules == pytest.approx(300 * seconds, rel=0.01, abs=300 * source["scrape_s_max"])
    rate = summary.throughput.output_tokens_per_s
    # A run that a busy machine disturbed may have no rate.
    per_joule = None if rate is None else pytest.approx(rate * seconds / energy.joules)
    assert energy.output_tokens_per_joule == per_joule
    assert energy.gco2e == pytest.approx(energy.joules / 3.6e6 * 400)
    assert source["clock_offset_s"] == pytest.approx(3.0, abs=source["clock_offset_within_s"])
    assert source["tells"] == ["gpus"] and source["failed"] == 0
    assert not any(b"bob:pw" in path.read_bytes() for path in run.rglob("*") if path.is_file())


# --- a run that is cut short --------------------------------------------------------------------------------------


@pytest.mark.slow
@needs_truth
def test_ctrl_c_ends_the_load_and_reports_what_there_is(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with truth.launch(TruthOptions(ttft_ms=20, gap_ms=50)) as server:
        asked = ("--backend", "openai", "--model", "truth", "--url", server.url, "--output-tokens", "8")
        process = start("run", *asked, "--duration", "60s", "--warmup", "0", "--out", run)
        wait_for(loading(run))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=600)
    assert (process.returncode, err.splitlines()[-1]) == (130, "stopped early: interrupted")
    assert {path.name for path in run.iterdir()} >= FILES
    assert read(run, "run.json")["interrupted"] is True
    counts = read(run, "summary.json")["requests"]
    assert counts["succeeded"] >= 1 and counts["unfinished"] >= 1
    assert counts["planned"] == counts["succeeded"] + counts["unfinished"]
    assert "Interrupted: " in (run / "report.html").read_text()


@pytest.mark.slow
def test_a_kill_leaves_no_process_and_the_report(tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start("run", "--duration", "60s", "--warmup", "0", "--workers", "2", "--out", run)
    wait_for(loading(run))
    started = psutil.Process(process.pid).children(recursive=True)
    assert len(started) >= 5  # the server and its supervisor, the telemetry, a master and two workers
    process.terminate()
    process.communicate(timeout=600)
    assert process.returncode == 130
    assert psutil.wait_procs(started, timeout=0)[1] == []
    assert {path.name for path in run.iterdir()} >= FILES


@pytest.mark.slow
def test_a_run_that_was_killed_outright_is_read_from_its_captures(url: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    process = start(*SMOKE, "--requests", "2000", "--warmup", "0", "--url", url, "--out", run)
    wait_for(loading(run))
    started = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    assert psutil.wait_procs(started, timeout=600)[1] == []
    done = bench("decode", run)
    assert (done.returncode, done.stderr) == (130, "")
    assert "interrupted: the run was " in done.stdout
    assert {path.name for path in run.iterdir()} >= FILES
    counts = read(run, "summary.json")["requests"]
    assert counts["planned"] == counts["succeeded"] + counts["unfinished"] == 2000


@pytest.mark.slow
def test_ctrl_c_before_the_load_leaves_nothing(tmp_path: Path) -> None:
    binary, run = tmp_path / "llama-server", tmp_path / "run"
    binary.write_text("#!/bin/sh\necho up\nexec sleep 60\n")
    binary.chmod(0o755)
    process = start("run", "--server", binary, "--out", run)
    log = run / "server.log"
    wait_for(lambda: log.exists() and log.stat().st_size > 0)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=600)
    assert (process.returncode, err.splitlines()[-1]) == (130, "interrupted")
    assert not run.exists()


def test_a_run_that_was_killed_before_its_load_says_that_nothing_was_sent(smoke: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    with folder.new(run):
        folder.write_json(run / "run.json", read(smoke, "run.json") | {"interrupted": True, "clients": []})
    done = bench("decode", run)
    assert (done.returncode, done.stderr) == (130, "")
    assert re.search(r"\nrequests +0 of 16 succeeded; 16 unfinished\n", done.stdout)
    assert "none of 16 requests succeeded" in done.stdout


@pytest.mark.slow
@needs_truth
def test_a_disk_that_fills_up_ends_the_run_in_a_line_and_loses_nothing(tmp_path: Path) -> None:
    run = tmp_path / "run"

    def allow_small_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    with truth.launch(TruthOptions(ttft_ms=1, gap_ms=1)) as server:
        asked = ("--backend", "openai", "--model", "truth", "--url", server.url, "--warmup", "0")
        done = apart("run", *asked, "--out", run, preexec_fn=allow_small_files)
    assert done.returncode == 3
    assert re.search(rf"stopped early: .*: cannot write to {run}; make room and run again\n", done.stderr)
    *_, kept, error = done.stderr.splitlines()
    assert kept == f"the captures are kept; make a report from them with: bench.py decode {run}"
    assert error.startswith(f"error: {run}") and "File too large" in error
    seen = scan(run / "capture" / "worker-0.cap").seqs
    assert seen

    again = bench("decode", run)
    assert again.returncode == 3
    requests = pq.read_table(run / "requests.parquet").to_pylist()
    assert sorted(row["seq"] for row in requests if row["worker"] is not None) == sorted(seen)


# --- keys -------------------------------------------------------------------------------------------------------


class Telltale(http.server.BaseHTTPRequestHandler):
    """Repeats the secrets it was sent wherever a server can, and fails all but what comes before the load.

    It notes on whose command line and in which of our processes' environment they are.
    """

    protocol_version = "HTTP/1.1"
    seen_in: ClassVar[set[str]] = set()
    looked_at: ClassVar[set[str | None]] = set()

    def do_GET(self) -> None:
        self.answer(200, {"data": [{"id": "m", "owned_by": f"{KEY} {HEADER_KEY}", "note": QUERY_KEY}]})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers["X-Gateway"] == HEADER_KEY and QUERY_KEY in self.path
        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it has ended
                line = " ".join(process.cmdline())
                ours = next((name for name in OF_A_RUN if name in line), None)
                held = line if ours is None else f"{line} {process.environ()}"
                self.looked_at.add(ours)
                if any(secret in held for secret in SECRETS):
                    self.seen_in.add(line)
        if self.headers["X-Request-Id"] is None or str(rehearsal.LAST_SEQ)[:9] in self.headers["X-Request-Id"]:
            self.answer(200, {"choices": [{"message": {"content": f"hello {KEY}"}, "finish_reason": "stop"}]})
        else:
            said = " ".join(form for secret in SECRETS for form in forms(secret))
            self.answer(503, {"error": {"message": f"no access for {self.headers['Authorization']}, that is {said}"}})

    def answer(self, status: int, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(status, f"So says {KEY}")
        self.send_header("Transfer-Encoding", "chunked")
        self.send_header("X-Told", HEADER_KEY)
        self.end_headers()
        for start in range(0, len(body), 7):  # shorter than any secret: each is split, and more than once
            piece = body[start : start + 7]
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.write(b"0\r\n\r\n")

    def log_message(self, *_: object) -> None:
        pass


def forms(secret: str) -> list[str]:
    """What a server may make of a secret."""
    return [
        secret,
        json.dumps(secret).replace("/", "\\/"),
        "".join(f"\\u{ord(c):04x}" for c in secret),
        urllib.parse.quote(secret, safe=""),
        base64.b64encode(secret.encode()).decode(),
        base64.b64encode(f"user:{secret}".encode()).decode(),
    ]


@contextmanager
def telltale() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Telltale)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,)).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_a_key_is_in_no_file_on_no_screen_and_on_no_command_line(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with telltale() as address:
        done = apart(
            *(*SMOKE, "--backend", "openai", "--url", f"{address}/v1?token={QUERY_KEY}", "--model", "m", "--out", run),
            *("--header", "X-Gateway: $GATEWAY_KEY", "--backoff", "off"),
            env={"OPENAI_API_KEY": KEY, "GATEWAY_KEY": HEADER_KEY},
        )
    assert done.returncode == 3
    assert read(run, "summary.json")["requests"]["by_error"] == {"http_503": 16}
    assert {line for line in Telltale.seen_in if "bench.py" not in line} == set()  # what the user typed, anyone sees
    assert Telltale.looked_at.issuperset(OF_A_RUN)
    capture = run / "capture" / "worker-0.cap"
    answers = [exchange.data for exchange in exchanges(capture, scan(capture).offsets, 0)]
    assert len(answers) == 18
    bodies = [http1.parse(answer, [len(answer)], [0]).body.data for answer in answers]
    assert all(b"that is " + b"*" * len(KEY) in body for body in bodies)
    tables = [pq.read_table(path).to_pylist() for path in run.glob("*.parquet")]
    kept = [path.read_bytes() for path in run.rglob("*") if path.is_file()]
    everything = b"\0".join([*kept, *answers, *bodies, repr(tables).encode(), (done.stdout + done.stderr).encode()])
    left = [form for secret in SECRETS for form in forms(secret) if form.encode() in everything]
    assert left == []


# --- caches -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_warm_runs_send_the_same_prompts_and_say_when_they_were_not_warm_and_cold_runs_send_new_ones(
    url: str, tmp_path: Path
) -> None:
    seed, seen = time.time_ns() % 2**32, []  # of prompts that the server has never seen, at a second try either
    for number, cache in enumerate(["warm", "warm", "cold"]):
        summary = made(tmp_path / str(number), seed, url=url, cache=cache)
        codes = {reason.code for reason in summary.verdict.reasons}
        seen.append((summary.cache.meant, (summary.cache.hit_rate or 0) > 0.9, "cache_not_warm" in codes))
    assert seen == [("warm", False, True), ("warm", True, False), ("cold", False, False)]
    prompts = [pq.read_table(tmp_path / str(number) / "plan.parquet")["prompt_hash"].to_pylist() for number in range(3)]
    assert prompts[0] == prompts[1]
    assert not set(prompts[0]) & set(prompts[2])


# --- engines ----------------------------------------------------------------------------------------------------


@pytest.mark.engine
def test_llama_cpp_python_is_launched_and_measured(tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = bench(*SMOKE, "--server", "llama-cpp-python", "--out", run, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert read(run, "run.json")["server"]["name"] == "llama-cpp-python"
    assert read(run, "summary.json")["requests"]["succeeded"] == 16
    requests = pq.read_table(run / "requests.parquet")
    assert set(requests["output_tokens"].to_pylist()) == {16}
    assert set(requests["prompt_tokens"].to_pylist()) == {None}  # its streams do not tell
