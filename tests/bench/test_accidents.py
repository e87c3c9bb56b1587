"""Whole runs to which something happens: kills, Ctrl-C, full disks, limits of the system."""

import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.runs.decoding import scan_captures
from bench.truth.server import TruthOptions, TruthServer, launch

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="the ground-truth server is compiled, and for Linux"
)

ROOT = Path(__file__).parents[2]
LOAD = ("--prompt-tokens", "40", "--output-tokens", "8", "--warmup", "0")
# A server that does not say much, and whose child has a session of its own.
SERVER = """#!/usr/bin/env python3
import http.server, json, subprocess, sys
subprocess.Popen(["sleep", "300"], start_new_session=True)
ABOUT = {"data": [{"id": "tiny"}], "total_slots": 4, "build_info": "b1", "model_path": "tiny",
         "default_generation_settings": {"n_ctx": 2048}}
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def log_message(self, *_): pass
    def do_GET(self): self.send(json.dumps(ABOUT).encode(), "application/json")
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        text = b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\\n\\ndata: [DONE]\\n\\n'
        words = " ".join(m["content"] for m in asked.get("messages", [])) or asked.get("content", "")
        count = {"prompt": words, "tokens": [0] * len(words.split())}
        self.send(text if asked.get("stream") else json.dumps(count).encode(), "text/event-stream")
    def send(self, body, kind):
        self.send_response(200); self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body))); self.end_headers(); self.wfile.write(body)
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def server() -> Iterator[TruthServer]:
    with launch(TruthOptions(ttft_ms=20, gap_ms=5)) as one:
        yield one


def start(*arguments: str | Path, **how: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, str(ROOT / "bench.py"), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True, **how)


def against(server: TruthServer, out: Path, *more: str) -> tuple[str | Path, ...]:
    return ("run", "--backend", "openai", "--model", "truth", "--url", server.url, "--out", out, *LOAD, *more)


def ours(marker: Path) -> list[psutil.Process]:
    """What runs of one bench: itself, and all that was started by it, wherever it belongs now."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("MARKER") == str(marker):
                found.append(process)
    return found


def wait_for(condition: Callable[[], bool], timeout_s: float = 600) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture
def marked(tmp_path: Path) -> Iterator[dict[str, str]]:
    """An environment by which all processes of a test are known; what is left of them at its end is killed."""
    yield os.environ | {"MARKER": str(tmp_path)}
    for process in ours(tmp_path):
        with suppress(psutil.Error):
            process.kill()


# --- kill -9 ------------------------------------------------------------------------------------------------------


def kill_one(run: "subprocess.Popen[str]", marker: Path, moment: random.Random, *, main: bool) -> str:
    """Kill one of the run's processes at a moment of its life; what it was. The others get a moment to notice."""
    time.sleep(moment.uniform(0.05, 4.0))
    present = [process for process in ours(marker) if process.pid != run.pid]
    victim = psutil.Process(run.pid) if main or not present else moment.choice(present)
    with suppress(psutil.Error):
        name = " ".join(victim.cmdline()[:4])
        victim.kill()
        return name
    return "none"


def launching(tmp_path: Path, out: Path) -> tuple[str | Path, ...]:
    script = tmp_path / "llama-server"
    script.write_text(SERVER)
    script.chmod(0o755)
    return (
        "run",
        "--backend",
        "llamacpp",
        "--server",
        script,
        "--out",
        out,
        *LOAD,
        "--duration",
        "300s",
        "--warmup",
        "0s",
    )


def assert_nothing_is_left(run: "subprocess.Popen[str]", marker: Path, *, main: bool, what: str) -> None:
    if not main:
        # The others go on, or end; and then nothing is left.
        with suppress(subprocess.TimeoutExpired):
            run.wait(1)
        if run.poll() is None:
            run.send_signal(signal.SIGINT)
        run.communicate(timeout=600)
    else:
        run.communicate(timeout=600)
    deadline = time.monotonic() + 600
    while (left := ours(marker)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [" ".join(process.cmdline()) for process in left] == [], what


def kill_at(seed: int, tmp_path: Path, env: dict[str, str], arguments: tuple[str | Path, ...]) -> None:
    moment = random.Random(seed)
    main = seed % 2 == 0
    run = start(*arguments, env=env)
    what = kill_one(run, tmp_path, moment, main=main)
    assert_nothing_is_left(run, tmp_path, main=main, what=f"seed {seed}: killed {what}")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 8))])
def test_whichever_process_is_killed_nothing_of_a_run_with_workers_lives_on(
    seed: int, server: TruthServer, tmp_path: Path, marked: dict[str, str]
) -> None:
    load = ("--workers", "2", "--concurrency", "4", "--duration", "300s", "--warmup", "0s")
    kill_at(seed, tmp_path, marked, against(server, tmp_path / "run", *load))


@pytest.mark.parametrize("seed", [21, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(22, 29))])
def test_whichever_process_is_killed_nothing_of_a_run_that_launches_lives_on(
    seed: int, tmp_path: Path, marked: dict[str, str]
) -> None:
    kill_at(seed, tmp_path, marked, launching(tmp_path, tmp_path / "run"))


# --- Ctrl-C -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "seed"),
    [
        (signal.SIGINT, 0),
        *(
            pytest.param(number, seed, marks=pytest.mark.slow)
            for number, seeds in ((signal.SIGINT, range(1, 8)), (signal.SIGHUP, range(8, 14)))
            for seed in seeds
        ),
    ],
)
def test_ctrl_c_at_any_moment_is_one_line_and_its_own_exit_code(
    number: int, seed: int, server: TruthServer, tmp_path: Path, marked: dict[str, str]
) -> None:
    asked = ("--concurrency", "4", "--requests", "60", "--quiet")
    run = start(*against(server, tmp_path / "run", *asked), env=marked)
    time.sleep(random.Random(seed).uniform(0.05, 4.0))
    with suppress(ProcessLookupError):
        os.killpg(run.pid, number)  # as a terminal does
    out, err = run.communicate(timeout=600)
    assert "Traceback" not in out + err
    # The signal itself, where it came before there was anything to end.
    assert run.returncode in (0, 130, -number), err
    assert len(err.splitlines()) <= 2
    wait_for(lambda: not ours(tmp_path))


# --- limits of the system -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_limit_on_files_is_checked_for_every_load(server: TruthServer, tmp_path: Path) -> None:
    def allow_few() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))

    run = start(*against(server, tmp_path / "run", "--rate", "300", "--requests", "600"), preexec_fn=allow_few)
    out, err = run.communicate(timeout=600)
    assert (run.returncode, out) == (2, "")
    assert err.startswith("error: --max-in-flight: 1024 connections need 1088 open files in each of --workers 1, and ")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_limit_on_memory_ends_a_run_in_a_line(server: TruthServer, tmp_path: Path) -> None:
    def allow_little() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (300 << 20, 300 << 20))

    run = start(*against(server, tmp_path / "run", "--requests", "20"), preexec_fn=allow_little)
    out, err = run.communicate(timeout=600)
    # Before the load has begun it is said; in a load process, or afterwards, what was captured is kept.
    # A library in Rust aborts where it gets no memory, and says so itself.
    aborted = run.returncode == -signal.SIGABRT and "memory allocation of" in err
    assert run.returncode in (2, 3) or aborted, out + err
    assert "Traceback" not in out + err
    assert "bug" not in err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a file system is not allowed here")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


@pytest.mark.slow
def test_a_disk_that_is_full_ends_the_run_and_keeps_what_was_captured(server: TruthServer, small_disk: Path) -> None:
    out = small_disk / "run"
    run = start(*against(server, out, "--concurrency", "8", "--requests", "4000"))
    said, err = run.communicate(timeout=600)
    assert run.returncode == 3, err
    assert "stopped early: No space left on device: cannot write to" in err
    assert "Traceback" not in said + err
    *_, kept, error = err.splitlines()
    assert kept == f"the captures are kept; make a report from them with: bench.py decode {out}"
    assert "No space left on device" in error
    assert sum(len(file.seqs) for file in scan_captures(out).files.values()) > 0
