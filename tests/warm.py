"""`subprocess` for the module that starts our load processes or samplers: it forks them off one that has imported all.

Importing is nearly all the CPU time of a short load, and the same each time. What is forked is a child of this process
like one that was started: with its own streams, environment, session and lifeline. Tests of whole commands start them
in earnest.
"""

import ctypes
import importlib
import inspect
import os
import pickle
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from subprocess import DEVNULL, PIPE, TimeoutExpired  # noqa: F401  (what else is used of subprocess)
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[1]
MODULES = ("bench.app.load_process", "bench.telemetry.sampler")
END_BY_THEMSELVES = ("bench.telemetry.sampler",)
"""What sees the end of its standard input, and has something to do then."""
_PR_SET_CHILD_SUBREAPER = 36
_LIBRARIES = "LD_LIBRARY_PATH"
_ENV = dict(os.environ)


class Wanted(NamedTuple):
    """What a process that is to be forked finds around it."""

    env: Mapping[str, str]
    cwd: str
    new_session: bool
    umask: int


class Popen(subprocess.Popen[Any]):
    """A process of `python -m MODULE` that need not import it any more; any other is started as it is."""

    def _execute_child(self, *positional: Any) -> None:
        how = inspect.signature(subprocess.Popen._execute_child).bind(self, *positional).arguments  # type: ignore[attr-defined]
        match list(how["args"]):
            case [sys.executable, "-m", module] if module in MODULES and _finds_the_same_libraries(how["env"]):
                self._fork(module, how)
            case _:
                super()._execute_child(*positional)  # type: ignore[misc]

    def _fork(self, module: str, how: Mapping[str, Any]) -> None:
        ends = (("p2cread", "p2cwrite"), ("c2pwrite", "c2pread"), ("errwrite", "errread"))
        streams = [number if how[own] == -1 else how[own] for number, (own, _) in enumerate(ends)]
        env = os.environ if how["env"] is None else how["env"]
        os.umask(umask := os.umask(0o077))
        wanted = Wanted(dict(env), str(how["cwd"] or Path.cwd()), how["start_new_session"], umask)
        control = _parent_of(module)
        _adopt_orphans(adopt=True)
        try:
            socket.send_fds(control, [pickle.dumps(tuple(wanted))], streams)
            self.pid = int(control.recv(32))
        finally:
            _adopt_orphans(adopt=False)
        self._child_created = True
        for own, ours in ends:
            if how[own] != -1 and how[ours] != -1:
                os.close(how[own])
        if (nowhere := getattr(self, "_devnull", None)) is not None:
            os.close(nowhere)
        self._closed_child_pipe_fds = True


def _finds_the_same_libraries(env: Mapping[str, str] | None) -> bool:
    """Whether the loader, which looks at its environment when a process starts, would find what the parent's found."""
    return (os.environ if env is None else env).get(_LIBRARIES) == _ENV.get(_LIBRARIES)


def is_parent(pid: int) -> bool:
    """Whether the process is one that others are forked off, which has no load of its own."""
    return any(parent.pid == pid for parent in _parents.values())


def end() -> None:
    """Let the processes end that others are forked off."""
    while _parents:
        _parents.popitem()[1].control.close()


class Parent(NamedTuple):
    """A process that others are forked off, and the other end of its standard input, as long as which it lives."""

    pid: int
    control: socket.socket


_parents: dict[str, Parent] = {}


def _parent_of(module: str) -> socket.socket:
    """Give the control of the process that has imported the module; it is started when it is first needed."""
    if module in _parents:
        return _parents[module].control
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with its:
        command = [sys.executable, "-m", __name__, module]
        parent: subprocess.Popen[bytes] = subprocess.Popen(
            command, stdin=its.fileno(), cwd=Path(__file__).parents[1], env=_ENV
        )
    _parents[module] = Parent(parent.pid, ours)
    parent.returncode = 0  # nobody waits for it: it may end after us
    return ours


def _adopt_orphans(*, adopt: bool) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, ctypes.c_ulong(adopt), 0, 0, 0)


# --- the process that others are forked off -----------------------------------------------------------------------


def _serve(module: str) -> None:
    import _socket  # gevent has replaced the sockets of the other one, if it is loaded

    entry = importlib.import_module(module)
    from bench.process import lifeline

    lifeline.hold()
    # Of gevent's ways to fork this one gives the child a loop of its own, and does not watch it.
    fork = getattr(sys.modules.get("gevent.os"), "fork_gevent", os.fork)
    control = _socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET, 0, os.dup(0))
    while True:
        message, streams, _, _ = socket.recv_fds(control, 1 << 20, 3)  # type: ignore[arg-type]
        if not message:
            return
        wanted = Wanted(*pickle.loads(message))
        # In two steps: the second is an orphan, whom the process that asked adopts.
        if (between := fork()) == 0:
            between_pid = os.getpid()
            if fork() == 0:
                while os.getppid() == between_pid:
                    os.sched_yield()
                control.send(b"%d" % os.getpid())
                control.close()
                _become(wanted, streams, entry.main)
            os._exit(0)
        os.waitpid(between, 0)
        for stream in streams:
            os.close(stream)


def _become(wanted: Wanted, streams: list[int], main: Any) -> None:
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        if wanted.new_session:
            os.setsid()
        os.umask(wanted.umask)
        os.chdir(wanted.cwd)
        os.environ.clear()
        os.environ.update(wanted.env)
        if main.__module__ not in END_BY_THEMSELVES:
            from bench.process import lifeline

            lifeline.hold()
        main()
        code = 0
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve(sys.argv[1])
