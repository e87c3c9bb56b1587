"""Stands between the bench and a server it launches, so that the server is gone however the bench ended.

Runs as a process of its own: `guard.py COMMAND…` starts the command in a process group of its own, writes its pid to
standard output and waits. Standard input is the lifeline, a pipe whose other end only the bench holds: when the bench
dies, even of SIGKILL, the kernel closes it. Forked children of the bench may hold copies of that end, so a changed
parent counts as well. Either of them, or SIGTERM, ends the whole group; so does the command's own end.
"""

import os
import select
import signal
import subprocess
import sys
import time

POLL_S = 0.2
GRACE_S = 10.0


def main(command: list[str]) -> int:
    """Run `command` until it or the bench ends; its exit code as a shell gives it, 127 when it could not be started."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    bench = os.getppid()
    try:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stderr, start_new_session=True)
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    try:
        os.write(sys.stdout.fileno(), b"%d\n" % server.pid)
        sys.stdout.close()
        while server.poll() is None and os.getppid() == bench:
            if select.select([sys.stdin], [], [], POLL_S)[0]:
                break
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        end_group(server)
    return server.returncode if server.returncode >= 0 else 128 - server.returncode


def end_group(leader: subprocess.Popen[bytes]) -> None:
    """Ask every process of the group to end, and after a grace make them."""
    deadline = time.monotonic() + GRACE_S
    sent = _signal(leader, signal.SIGTERM)
    while sent and time.monotonic() < deadline:
        time.sleep(0.02)
        sent = _signal(leader, 0)
    if sent:
        _signal(leader, signal.SIGKILL)
    leader.wait()


def _signal(leader: subprocess.Popen[bytes], number: int) -> bool:
    """Whether the group still had a process to signal; a leader that has ended is collected first."""
    leader.poll()
    try:
        os.killpg(leader.pid, number)
    except (ProcessLookupError, PermissionError):  # macOS answers EPERM for a group of zombies
        return False
    return True


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
