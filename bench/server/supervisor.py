"""Stands between the bench and a server it launches, so that the server is gone however the bench ended.

Runs as a process of its own: `supervisor.py COMMAND…` starts the command in a process group of its own, writes its pid
to standard output and waits. Standard input is the lifeline, a pipe whose other end only the bench holds: when the
bench dies, even of SIGKILL, the kernel closes it. Forked children of the bench may hold copies of that end, so a
changed parent counts as well. Either of them, or SIGTERM, ends the server and all it started; so does the command's own
end.

What a server starts may lead groups and sessions of its own. On Linux it is found all the same: by a mark in its
environment, or because it descends from the supervisor, which adopts orphans. Should the supervisor be killed, the
server dies with it (the kernel sees to that), and the bench ends what bears the mark.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial

MARK = "LLM_SERVING_BENCH_SERVER"
"""The variable in a launched server's environment by which all it started is found again."""

POLL_S = 0.2
GRACE_S = 10.0
GRACE_OF_ORPHANS_S = 2.5
"""How long a server may take to end: when it is asked to, and when it or whoever used it is dead."""

_LOOK_S = 0.05
_FOLLOW_S = 1.0
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36


def main(command: list[str]) -> int:
    """Run `command` until it or the bench ends; its exit code as a shell gives it, 127 when it could not be started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # Noted before anything can fork: a parent that changes afterwards is a bench that died.
    bench, supervisor = os.getppid(), os.getpid()
    # What loses its own parent becomes our child, and not init's: so it can be found again (prctl(2), Linux 3.4).
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr,
            start_new_session=True,
            preexec_fn=partial(_die_with, supervisor),  # this process has no threads
        )
    except (OSError, subprocess.SubprocessError) as error:
        print(f"cannot start {command[0]}: {getattr(error, 'strerror', error)}", file=sys.stderr)
        return 127
    try:
        os.write(sys.stdout.fileno(), b"%d\n" % server.pid)
        sys.stdout.close()
        while server.poll() is None and os.getppid() == bench:
            if select.select([sys.stdin], [], [], POLL_S)[0]:
                break
    finally:
        # A second SIGTERM must not interrupt the ending that the first has begun.
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        # What a dead server leaves behind is waited for no longer than what a dead bench does.
        is_asked = os.getppid() == bench and server.returncode is None
        end(server, os.environ.get(MARK), GRACE_S if is_asked else GRACE_OF_ORPHANS_S)
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


def end(leader: subprocess.Popen[bytes], mark: str | None, grace_s: float) -> None:
    """Ask every process of the group to end, and after a grace make them; what it started elsewhere has to follow."""
    deadline = time.monotonic() + grace_s
    left_s: float | None = None
    _signal(leader, signal.SIGTERM)
    while True:
        in_group = _signal(leader, 0)
        if not in_group:
            if not others(mark):
                break
            # Left by their leader, they have little more time than it takes to notice.
            left_s = left_s or time.monotonic()
            deadline = min(deadline, left_s + _FOLLOW_S)
        if time.monotonic() >= deadline:
            break
        time.sleep(_LOOK_S)
    _signal(leader, signal.SIGKILL)
    end_others(mark)
    leader.wait()


def end_others(mark: str | None) -> None:
    """Kill what bears the mark or descends from this process by adoption, until nothing does."""
    for _ in range(20):  # what is killed may just have forked
        if not (left := others(mark)):
            return
        _kill(left, signal.SIGKILL)
        time.sleep(_LOOK_S)


def others(mark: str | None) -> set[int]:
    """Find what a server has started, outside its group too; empty where there is no /proc."""
    if mark is None or not os.path.isdir("/proc/self"):  # noqa: PTH112  (pathlib takes a while to import)
        return set()
    wanted = f"{MARK}={mark}".encode()
    parents, found = {}, set()
    for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):  # noqa: PTH208
        with suppress(OSError, ValueError, IndexError):
            with open(f"/proc/{pid}/stat", "rb") as stat:  # noqa: PTH123
                # The name before it may hold spaces and parentheses; the last one closes it (proc(5)).
                state, parent = stat.read().rpartition(b")")[2].split()[:2]
            if state in (b"Z", b"X"):
                continue
            parents[pid] = int(parent)
            with open(f"/proc/{pid}/environ", "rb") as environ:  # noqa: PTH123
                if wanted in environ.read().split(b"\0"):
                    found.add(pid)
    # Only a supervisor adopts; it has the mark itself, by which its descendants are known.
    roots = found & {os.getpid()}
    while below := {pid for pid, parent in parents.items() if parent in roots and pid not in roots}:
        roots |= below
    return (found | roots) - {os.getpid()}


def _kill(pids: Iterable[int], number: int) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _signal(leader: subprocess.Popen[bytes], number: int) -> bool:
    """Whether the group still had a process to signal; a leader that has ended is collected first."""
    if leader.poll() is not None:
        # What it left is our child now, and would stay in its group: nobody else collects it once it has ended.
        with suppress(ChildProcessError):
            while os.waitpid(-leader.pid, os.WNOHANG)[0]:
                pass
    try:
        os.killpg(leader.pid, number)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        return False
    return True


def _die_with(supervisor: int) -> None:
    """Have the kernel kill this process when the supervisor dies, also where it has died already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # It is sent for deaths from now on only, and the supervisor may have died between the fork and here.
    if os.getppid() != supervisor:
        os._exit(1)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, ctypes.c_ulong(value), 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
