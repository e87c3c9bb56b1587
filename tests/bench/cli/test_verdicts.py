"""Real runs that meet a real fault: the verdict names it, and that of the same run without the fault does not."""

import http.client
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from backends.launch import llamacpp as llamacpp_launch
from bench.server import tinymodel
from bench.server.launch import launch
from bench.truth import server as truth
from bench.truth.server import TruthOptions
from bench.types import ServeOptions
from tests.commands import bench

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="the ground-truth server and pinning to a core need Linux"),
]

ROOT = Path(__file__).parents[3]
CLOSED = ("--concurrency", "4", "--requests", "60", "--warmup", "0")
OPEN = ("--rate", "50", "--requests", "150", "--warmup", "0")
HURRIED = ("--rate", "100", "--requests", "100", "--warmup", "0")
# What is said of the faults that are held against a run without them.
OF_FAULTS = {
    "tokens_not_chunks", "stalled_stream", "rate_limited", "failed_calls", "waited_for_seats", "backlog_grows",
    "late_sends", "client_lag", "lost_workers",
}  # fmt: skip
DEADLINE_S = 600  # ends what hangs; a slow machine takes its time

Alter = Callable[[bytes], bytes]
Codes = set[str]
Load = tuple[str, ...]


def asked(out: Path, backend: str, url: str, *load: str) -> tuple[str, ...]:
    model = "truth" if backend == "openai" else "tiny"
    words = f"run --backend {backend} --url {url} --model {model} --scenario smoke --out"
    return (*words.split(), str(out), *load)


def start(out: Path, url: str, *load: str) -> "subprocess.Popen[str]":
    """Start a run against the ground-truth server, to which something is done meanwhile."""
    command, pipe = [sys.executable, "bench.py", *asked(out, "openai", url, *load)], subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdout=pipe, stderr=pipe, text=True)


def outcome(out: Path, code: int, printed: str, complaint: str) -> tuple[int, Codes]:
    """The run's exit code and the codes of its verdict, which stands first on the screen."""
    assert not re.search("^(error|note):|Traceback", complaint, re.MULTILINE), complaint
    verdict = json.loads((out / "summary.json").read_bytes())["verdict"]
    codes = [reason["code"] for reason in verdict["reasons"]]
    said = re.search(rf"^verdict     .*\b{verdict['status'].capitalize()}: ", printed, re.MULTILINE)
    assert said is not None
    shown = printed[said.start() :].split("\n\n")[0]
    assert re.findall(r"^ {12}(\w+): ", shown, re.MULTILINE) == codes
    return code, set(codes)


def ended(process: "subprocess.Popen[str]", out: Path) -> tuple[int, Codes]:
    printed, complaint = process.communicate(timeout=DEADLINE_S)
    return outcome(out, process.returncode, printed, complaint)


def run(out: Path, backend: str, url: str, *load: str) -> tuple[int, Codes]:
    done = bench(*asked(out, backend, url, *load))
    return outcome(out, done.returncode, done.stdout, done.stderr)


def run_truth(out: Path, options: TruthOptions, *load: str) -> tuple[int, Codes]:
    with truth.launch(options) as server:
        return run(out, "openai", server.url, *load)


# --- servers ----------------------------------------------------------------------------------------------------

SOUND = TruthOptions(ttft_ms=20, gap_ms=5)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Codes:
    """What verdicts say where nothing is wrong: of others on this machine one may tell, and the next not."""
    said: list[Codes] = []
    while not said or (said[-1] & OF_FAULTS and len(said) < 3):
        code, codes = run_truth(tmp_path_factory.mktemp("clean") / "run", SOUND, *OPEN)
        assert code == 0
        said.append(codes)
    return set.intersection(*said)


def assert_unprovoked(clean: Codes, codes: Codes) -> None:
    """Without the fault nothing is said of it, unless this machine has that fault itself: others load it."""
    assert codes <= OF_FAULTS
    assert not clean & codes or clean & {"other_load", "stolen_cores"}


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a llama.cpp with the tiny model."""
    how = llamacpp_launch.serve(str(tinymodel.model_path("tiny", "gguf")), ServeOptions(None, 8, 1024, 1, ()))
    log = tmp_path_factory.mktemp("server") / "log"
    with launch(how, log, ready_timeout_s=300, on_progress=lambda _: None, port=None) as server:
        yield server.url


class Proxy(BaseHTTPRequestHandler):
    """Passes everything on; of streamed answers it alters requests and lines as told, or holds all lines back.

    `door` and `least_s`: such requests are let in one at a time, and each takes at least so long.
    """

    upstream: str
    holds: bool = False
    door: AbstractContextManager[Any] = nullcontext()
    least_s: float = 0.0
    alter_request: Alter
    alter_line: Alter

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Pass on."""
        self.pass_on(b"", lambda line: line)

    def do_POST(self) -> None:
        """Pass on, altered where an answer is to be streamed."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path.endswith("/chat/completions"):
            with self.door:
                time.sleep(self.least_s)
                self.pass_on(type(self).alter_request(body), type(self).alter_line)
        else:
            self.pass_on(body, lambda line: line)

    def pass_on(self, body: bytes, alter: Alter) -> None:
        """Ask upstream and stream its answer; the end of the connection is the end of the body."""
        connection = http.client.HTTPConnection(urlsplit(self.upstream).netloc, timeout=300)
        connection.request(self.command, self.path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.getheader("Content-Type", ""))
        self.end_headers()
        lines = (alter(line) for line in answer)
        for part in [b"".join(lines)] if self.holds else lines:
            self.wfile.write(part)
        connection.close()


@pytest.fixture
def through_proxy(web_server: Callable[[type[BaseHTTPRequestHandler]], str], engine: str, tmp_path: Path) -> Any:
    """`through_proxy(line=…, request=…, load=…, holds=…) -> (exit code, codes)`: llama.cpp behind a proxy is run."""

    def observe(line: Alter = bytes, request: Alter = bytes, load: Load = CLOSED, **more: Any) -> tuple[int, Codes]:
        told = {"alter_line": line, "alter_request": request, "upstream": engine, **more}
        return run(tmp_path / "run", "llamacpp", web_server(type("Told", (Proxy,), told)), *load)

    return observe


def counts(field: str, change: Callable[[int], int]) -> Alter:
    """An alteration of one number wherever it stands in a line."""
    return lambda line: re.sub(
        rb'"%b":(\d+)' % field.encode(), lambda found: b'"%b":%d' % (field.encode(), change(int(found[1]))), line
    )


# --- what the server does ---------------------------------------------------------------------------------------


@pytest.mark.clock
def test_a_proxy_that_changes_nothing_raises_no_doubt_about_the_server(through_proxy: Any) -> None:
    code, codes = through_proxy()
    assert code == 0
    assert not codes & {"answers_at_once", "cache_not_cold", "impossible_usage", "answers_too_long", "server_tokens"}


def test_answers_that_a_proxy_holds_back_and_sends_in_one_piece(through_proxy: Any) -> None:
    code, codes = through_proxy(holds=True)
    assert (code, "answers_at_once" in codes) == (0, True)


def test_usage_with_more_cached_tokens_than_prompt_tokens(through_proxy: Any) -> None:
    code, codes = through_proxy(counts("cached_tokens", lambda _: 1000))
    assert (code, "impossible_usage" in codes) == (3, True)


def test_usage_that_counts_every_token_twice(through_proxy: Any) -> None:
    twice, running = (counts(field, lambda n: 2 * n) for field in ("completion_tokens", "predicted_n"))
    code, codes = through_proxy(lambda line: twice(running(line)))
    assert code == 0
    assert codes >= {"server_tokens", "answers_too_long"}


def test_prompts_that_the_servers_cache_has_seen(through_proxy: Any) -> None:
    first: list[Any] = []

    def same_prompt(body: bytes) -> bytes:
        first.append(json.loads(body)["messages"])
        return json.dumps(json.loads(body) | {"messages": first[0]}).encode()

    _, codes = through_proxy(request=same_prompt)
    assert codes >= {"cache_not_cold", "same_answers"}


@pytest.mark.alone  # beside other load the queue may not be seen to grow
def test_a_rate_that_the_engine_cannot_take(through_proxy: Any, clean: Codes) -> None:
    # Twenty requests a second at most are let in, on a slow machine fewer: no machine can take forty.
    load = ("--rate", "40", "--requests", "180", "--warmup", "0", "--output-tokens", "4")
    code, codes = through_proxy(load=load, door=threading.Lock(), least_s=0.05)
    assert (code, "backlog_grows" in codes) == (0, True)
    assert_unprovoked(clean, {"backlog_grows", "waited_for_seats"})


@pytest.mark.clock
@pytest.mark.parametrize(
    ("faults", "tokens_per_event", "load", "expected"),
    [
        ("", 4, CLOSED, {"tokens_not_chunks"}),
        ("stall@5:1500/120", 1, OPEN, {"stalled_stream"}),
        ("stall@5:60000/120", 1, (*OPEN, "--stall-timeout", "1s"), {"stalled_stream"}),
        ("status:429/20", 1, CLOSED, {"rate_limited", "failed_calls"}),
        ("reset@5/20", 1, CLOSED, {"failed_calls"}),
        ("", 1, (*HURRIED, "--max-in-flight", "4"), {"waited_for_seats", "backlog_grows"}),
    ],
    ids=["coalesced tokens", "a stalled stream", "a stream given up", "rate limit", "resets", "no seats"],
)
def test_faults_of_the_ground_truth_server(
    tmp_path: Path, clean: Codes, faults: str, tokens_per_event: int, load: Load, expected: Codes
) -> None:
    options = TruthOptions(ttft_ms=20, gap_ms=5, tokens_per_event=tokens_per_event, faults=faults)
    code, codes = run_truth(tmp_path / "run", options, *load)
    assert code == 0
    assert codes >= expected
    assert_unprovoked(clean, expected)


# --- what is around it ------------------------------------------------------------------------------------------


def load_process(process: "subprocess.Popen[str]", out: Path) -> psutil.Process:
    """The load process of a run, once an answer has come."""
    deadline = time.monotonic() + 600
    while not any(path.stat().st_size > 2000 for path in out.glob("capture/*.cap")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    children = psutil.Process(process.pid).children(recursive=True)
    return next(child for child in children if "bench.app.load_process" in child.cmdline())


@pytest.mark.alone  # and it loads a core itself
def test_a_client_whose_core_others_take(tmp_path: Path, clean: Codes) -> None:
    core, other_core = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    load = ("--rate", "100", "--requests", "300", "--warmup", "0", "--output-tokens", "32", "--stamps", "kernel")
    out, hogs = tmp_path / "run", []
    with truth.launch(TruthOptions(ttft_ms=20, gap_ms=20), cpu=other_core) as server:
        process = start(out, server.url, *load)
        load_process(process, out).cpu_affinity([core])
        try:
            for _ in range(24):
                # Each in a session of its own: Linux shares a core out among sessions first.
                hog = subprocess.Popen(["sh", "-c", "while :; do :; done"], start_new_session=True)
                hogs.append(hog)
                os.sched_setaffinity(hog.pid, {core})
            time.sleep(2)
        finally:
            for hog in hogs:
                hog.kill()
                hog.wait()
        code, codes = ended(process, out)
    assert code == 0
    assert codes >= {"late_sends", "client_lag"}
    assert_unprovoked(clean, {"late_sends", "client_lag"})


@pytest.mark.clock
def test_a_load_process_that_is_killed(tmp_path: Path, clean: Codes) -> None:
    out = tmp_path / "run"
    with truth.launch(SOUND) as server:
        process = start(out, server.url, *OPEN, "--workers", "2")
        load_process(process, out).kill()
        code, codes = ended(process, out)
    assert (code, "lost_workers" in codes) == (3, True)
    assert "lost_workers" in OF_FAULTS - clean


@pytest.mark.parametrize(("defines", "codes"), [((), {"gpu_slowed", "gpu_power_capped"}), (("COOL",), set())])
def test_a_gpu_that_heat_and_its_power_limit_hold_back(
    tmp_path: Path, fake_nvml: Callable[..., None], defines: tuple[str, ...], codes: Codes
) -> None:
    fake_nvml(*defines)
    code, found = run_truth(tmp_path / "run", SOUND, *OPEN)
    assert (code, found & {"gpu_slowed", "gpu_power_capped"}) == (0, codes)
