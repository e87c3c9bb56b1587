"""Starts a server for the duration of a run: on a free loopback port, under a supervisor, its output in a log."""

import http.client
import json
import re
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

from bench.process.private import users_umask
from bench.process.secrets import LEAST_SECRET_LENGTH, environment
from bench.server.supervisor import GRACE_S, MARK, end_others
from bench.types import Launch, UserError

SUPERVISOR = Path(__file__).with_name("supervisor.py")
HOST = "127.0.0.1"
POLL_S = 0.05
TAIL_LINES = 12
FAULT_LENGTH = 400
# ValueError: …, as Python ends a traceback, after whatever prefix a logger adds
RAISED = re.compile(r"(?:^|\s)((?:[\w.]+\.)?[A-Z]\w*(?:Error|Exception): .+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Supervised:
    """A supervisor, the mark of everything that its server started, and the process that writes the log, if any."""

    process: "subprocess.Popen[bytes]"
    mark: str
    log_writer: "subprocess.Popen[bytes] | None"

    def stop(self) -> None:
        """End the server and everything it started; returns when they are gone and all output is in the log."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        _wait(self.process, 2 * GRACE_S)
        if self.process.returncode < 0:
            end_others(self.mark)  # it was killed before it could
        self.finish_log()

    def finish_log(self) -> None:
        """Wait until all output of the server is in its log."""
        if self.log_writer is not None:
            _wait(self.log_writer, GRACE_S)  # children that the server left behind may still hold its output open


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers at `url`; `pid` is its process, the leader of its group. Leaving the context stops it."""

    url: str
    pid: int
    log_path: Path
    supervised: Supervised = field(repr=False)

    def exit_code(self) -> int | None:
        """None while the server runs."""
        return self.supervised.process.poll()

    def stop(self) -> None:
        """End the server and everything it started; returns when they are gone."""
        self.supervised.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def launch(
    how: Launch,
    log_path: Path,
    *,
    ready_timeout_s: float,
    on_progress: Callable[[str], None],
    port: int | None,
    hidden: Sequence[str] = (),
) -> Server:
    """Start the server and return once it answers 200 at its ready path.

    `on_progress` is called every second until then. Neither its environment nor its log contains the `hidden` secrets.
    Raises UserError when the port is taken, the server ends before it is ready (with the end of its log), or it is not
    ready in time.
    """
    port = free_port(port)
    argv = [argument.replace("{port}", str(port)) for argument in how.argv]
    mark = secrets.token_hex(8)
    log, writer = _log(log_path, hidden)
    with log:
        supervisor = subprocess.Popen(
            # Isolated: it needs only the standard library, and the contents of PYTHONPATH are meant for the server.
            [sys.executable, "-I", SUPERVISOR, *argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={**environment(hidden), **how.env, MARK: mark},
            umask=users_umask(),  # models that a server downloads are not private to us
            start_new_session=True,  # Ctrl-C is for the bench, which still needs the server to finish
        )
    supervised = Supervised(supervisor, mark, writer)
    try:
        pid = _server_pid(supervisor)
        _wait_until_ready(how, port, supervised, log_path, ready_timeout_s, on_progress)
    except BaseException:
        supervised.stop()
        raise
    return Server(f"http://{HOST}:{port}", pid, log_path, supervised)


def _log(path: Path, hidden: Sequence[str]) -> "tuple[IO[bytes], subprocess.Popen[bytes] | None]":
    """Where the server's output goes: its log itself, or a process that removes secrets on the way there."""
    if not any(len(secret) >= LEAST_SECRET_LENGTH for secret in hidden):
        return path.open("wb"), None
    path.touch()
    writer = subprocess.Popen(
        [sys.executable, "-m", "bench.server.log", str(path.absolute())],
        cwd=Path(__file__).parents[2],
        stdin=subprocess.PIPE,
        env=environment(hidden),
        start_new_session=True,  # it ends with the server, and must not end earlier
    )
    assert writer.stdin is not None
    writer.stdin.write(json.dumps(list(hidden)).encode() + b"\n")
    writer.stdin.flush()
    return writer.stdin, writer


def _wait(process: "subprocess.Popen[bytes]", grace_s: float) -> None:
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port(wanted: int | None = None) -> int:
    """A loopback port that is free: the wanted one, or any. Raises UserError when it is taken."""
    with socket.socket() as probe:
        # As servers do: connections of a previous server, still in TIME_WAIT, do not make a port taken.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted or 0))
        except OSError as error:
            raise UserError(f"port {wanted} cannot be used ({error.strerror}); give another, or leave it out") from None
        port: int = probe.getsockname()[1]
        return port


def _server_pid(supervisor: subprocess.Popen[bytes]) -> int:
    """The pid that the supervisor reports; 0 if the command could not be started, which the later wait explains."""
    assert supervisor.stdout is not None
    with supervisor.stdout as reports:
        return int(reports.readline() or 0)


def _wait_until_ready(
    how: Launch,
    port: int,
    supervised: Supervised,
    log_path: Path,
    timeout_s: float,
    on_progress: Callable[[str], None],
) -> None:
    start = reported = time.monotonic()
    while not _answers(port, how.ready_path):
        now = time.monotonic()
        if (exit_code := supervised.process.poll()) is not None:
            supervised.finish_log()
            raise UserError(_died(how.name, exit_code, log_path))
        if now - start > timeout_s:
            raise UserError(
                f"{how.name} was not ready after {timeout_s:g} s; raise --ready-timeout if it needs longer, or see "
                f"{log_path}"
            )
        if now - reported >= 1:
            reported = now
            on_progress(": ".join([f"starting {how.name}, {now - start:.0f} s", *_tail(log_path)[-1:]]))
        time.sleep(POLL_S)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _died(name: str, exit_code: int, log_path: Path) -> str:
    log, tail = log_path.read_text(errors="replace"), _tail(log_path)
    # What a server says itself comes first, then the first exception: the rest of a traceback follows from it.
    own = [line for line in log.splitlines() if line.startswith(f"{name}: error")]
    raised = RAISED.findall(log)
    faults = own[-1:] or raised[:1] or [line for line in tail if "error" in line.lower()] or tail
    fault = faults[-1][:FAULT_LENGTH] if faults else "it printed nothing"
    return f"{name} ended while starting (exit code {exit_code}): {fault}; see {log_path}"


def _tail(log_path: Path) -> list[str]:
    lines = log_path.read_text(errors="replace").splitlines()
    return [line.strip() for line in lines if line.strip()][-TAIL_LINES:]
