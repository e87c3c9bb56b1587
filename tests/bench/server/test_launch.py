import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from bench.server import supervisor as supervisor
from bench.server.launch import launch
from bench.types import Launch, UserError

ROOT = Path(__file__).parents[3]


def python(code: str) -> Launch:
    return Launch((sys.executable, "-c", code, "{port}"), {"GREETING": "hello"}, "/", "toy")


# Answers with its environment's greeting, after a delay.
TOY = """
import http.server, os, sys, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(os.environ["GREETING"].encode())
    def log_message(self, *_): pass
print("loading", flush=True)
time.sleep({delay})
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
SERVER = python(TOY.replace("{delay}", "0"))


def alive(pid: int) -> bool:
    with suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    return False


def gone(pid: int, within_s: float = 60) -> bool:
    deadline = time.monotonic() + within_s
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    return not alive(pid)


def quiet(_: str) -> None:
    pass


def test_a_launched_server_answers_and_is_gone_afterwards(tmp_path: Path) -> None:
    with launch(SERVER, tmp_path / "log", ready_timeout_s=300, on_progress=quiet, port=None) as server:
        assert urllib.request.urlopen(server.url).read() == b"hello"
        assert alive(server.pid)
        assert server.exit_code() is None
    assert gone(server.pid, within_s=0)
    assert server.exit_code() is not None
    assert (tmp_path / "log").read_text() == "loading\n"
    server.stop()


def test_a_named_port_is_used(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with launch(SERVER, tmp_path / "log", ready_timeout_s=300, on_progress=quiet, port=port) as server:
        assert server.url == f"http://127.0.0.1:{port}"


def test_a_named_port_in_use_is_the_users_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=f"port {port} cannot be used"):
            launch(SERVER, tmp_path / "log", ready_timeout_s=300, on_progress=quiet, port=port)


def test_a_server_that_ends_at_start_says_why(tmp_path: Path) -> None:
    dying = python("import sys; print('a'); print('Error: no such model'); print('bye'); sys.exit(3)")
    with pytest.raises(UserError) as raised:
        launch(dying, tmp_path / "log", ready_timeout_s=300, on_progress=quiet, port=None)
    log = tmp_path / "log"
    assert str(raised.value) == f"toy ended while starting (exit code 3): Error: no such model; see {log}"


def test_a_command_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"exit code 127.*cannot start /no/such: No such file"):
        launch(
            Launch(("/no/such",), {}, "/", "toy"), tmp_path / "log", ready_timeout_s=300, on_progress=quiet, port=None
        )


@pytest.mark.slow
def test_a_server_that_is_never_ready_is_ended_and_its_progress_was_told(tmp_path: Path) -> None:
    said: list[str] = []
    slow = python(f"import os; print(os.getpid(), flush=True)\n{TOY.replace('{delay}', '60')}")
    with pytest.raises(UserError, match=r"not ready after 1\.2 s; raise --ready-timeout"):
        launch(slow, tmp_path / "log", ready_timeout_s=1.2, on_progress=said.append, port=None)
    assert said == ["starting toy, 1 s: loading"]
    assert gone(int((tmp_path / "log").read_text().split()[0]), within_s=0)


BENCH = """
import os, sys, time
from contextlib import suppress
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from bench.server.launch import launch
from bench.types import Launch
how = Launch((sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1"), {}, "/", "toy")
server = launch(how, Path(sys.argv[2]), ready_timeout_s=300, on_progress=print, port=None)
forked = 0
if sys.argv[3] == "forks" and not (forked := os.fork()):
    time.sleep(60)
print(server.pid, forked, flush=True)
time.sleep(60)
"""


@pytest.fixture(params=["alone", "forks"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that launched a server, and the server's pid; the forked child holds a copy of the lifeline."""
    argv = [sys.executable, "-c", BENCH, str(ROOT), str(tmp_path / "log"), request.param]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        server, forked = map(int, process.stdout.readline().split())
        yield process, server
        process.kill()
        if forked:
            os.kill(forked, signal.SIGKILL)


def test_killing_the_bench_leaves_no_server(bench: tuple[subprocess.Popen[str], int]) -> None:
    process, server = bench
    assert alive(server)
    process.kill()
    assert gone(server)


def test_ctrl_c_reaches_the_bench_and_not_the_server(tmp_path: Path) -> None:
    with launch(SERVER, tmp_path / "log", ready_timeout_s=300, on_progress=quiet, port=None) as server:
        assert os.getpgid(server.pid) == server.pid
        assert os.getsid(server.pid) != os.getsid(0)


def test_what_ignores_a_request_to_end_is_killed_with_its_children() -> None:
    stubborn = (
        "import os, signal, time; signal.signal(15, signal.SIG_IGN); os.write(1, b'%d\\n' % os.fork()); time.sleep(60)"
    )
    leader = subprocess.Popen([sys.executable, "-c", stubborn], stdout=subprocess.PIPE, start_new_session=True)
    assert leader.stdout is not None
    with leader.stdout:
        child = max(int(leader.stdout.readline()), int(leader.stdout.readline()))
    supervisor.end(leader, None, 0.2)
    assert leader.returncode == -signal.SIGKILL
    assert gone(child)


# Leaves a child that hears no request to end, and ends once nobody holds its standard input any more.
LEAVING = """
import subprocess, time
child = subprocess.Popen(["sh", "-c", "trap '' TERM; echo there; exec cat"], stdin=subprocess.PIPE)
time.sleep(600)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere init collects it, not the supervisor")
def test_what_ended_after_its_server_is_not_waited_for() -> None:
    endless = "import sys; from bench.server import supervisor as it; it.GRACE_S = float('inf'); sys.exit(it.main({}))"
    endless, pipe = endless.format([sys.executable, "-c", LEAVING]), subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", endless], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin and process.stderr
        assert process.stderr.readline() == b"there\n"
        process.stdin.close()
        try:
            assert process.wait(timeout=600) == 128 + signal.SIGTERM
        finally:
            process.kill()


# Starts a child in a session of its own, which starts another that has cleared its environment; all tell their pids.
SPRAWLING = """
import os, subprocess, sys
CHILD = "import subprocess, sys; print(subprocess.Popen(['/usr/bin/env', '-i', '/bin/sleep', '60'], " \
    "start_new_session=True).pid, flush=True); sys.stdin.close(); import time; time.sleep(60)"
print(subprocess.Popen([sys.executable, "-c", CHILD], start_new_session=True).pid, flush=True)
"""


def sprawling(log: Path) -> list[int]:
    """The pids that it told, once both are there."""
    deadline = time.monotonic() + 600
    while len(pids := [int(line) for line in log.read_text().split() if line.isdigit()]) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return pids


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="processes are found by /proc")
@pytest.mark.parametrize("ending", ["stop", "the supervisor is killed", "its leader is killed"])
def test_what_a_server_started_in_sessions_of_its_own_goes_with_it(tmp_path: Path, ending: str) -> None:
    how = python(f"{SPRAWLING}\n{TOY.replace('{delay}', '0')}")
    with launch(how, tmp_path / "log", ready_timeout_s=300, on_progress=quiet, port=None) as server:
        started = sprawling(tmp_path / "log")
        assert all(map(alive, started))
        if ending == "the supervisor is killed":
            os.kill(psutil.Process(server.pid).ppid(), signal.SIGKILL)
            assert gone(server.pid), "by itself"
            assert server.exit_code() is not None
            # By its mark: the supervisor that had adopted what cleared its environment is dead.
            os.kill(started.pop(), signal.SIGKILL)
        elif ending == "its leader is killed":
            os.kill(server.pid, signal.SIGKILL)
    assert [pid for pid in started if not gone(pid)] == []


def test_of_a_traceback_what_was_raised_first_is_told(tmp_path: Path) -> None:
    raised = (
        "import sys\n"
        "print('(Worker pid=7) ERROR 11-21 [x.py:95] ValueError: too little memory', file=sys.stderr)\n"
        "print('an error', file=sys.stderr)\n"
        "raise RuntimeError('engine failed, see above')\n"
    )
    how = Launch((sys.executable, "-c", raised), {}, "/", "engine")
    with pytest.raises(
        UserError, match=r"engine ended while starting \(exit code 1\): ValueError: too little memory; see "
    ):
        launch(how, tmp_path / "log", ready_timeout_s=300, on_progress=lambda _: None, port=None)


def test_a_servers_log_has_none_of_the_secrets_and_all_the_rest(tmp_path: Path) -> None:
    secret = "sk-very/secret-0123"
    code = (
        "import os, sys, time; w = lambda text: (sys.stdout.write(text), sys.stdout.flush(), time.sleep(0.05)); "
        f"w('first {secret[:7]}'); w('{secret[7:]} and more\\n'); "
        "w('no key ' + str(os.environ.get('MY_KEY')) + '\\n'); "
        f"w('error: \\\\u0073{secret[1:]}!'); sys.exit(3)"
    )
    how = Launch((sys.executable, "-c", code), {}, "/", "toy")
    log = tmp_path / "log"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MY_KEY", secret)
        with pytest.raises(UserError, match=r"error: \(key\)!"):
            launch(how, log, ready_timeout_s=300, on_progress=quiet, port=None, hidden=(secret,))
    assert log.read_text() == "first (key) and more\nno key None\nerror: (key)!"
