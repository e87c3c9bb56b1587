"""What ends a process of ours as soon as the one that started it is gone, however it went.

A thread of the system's, started before anything else is imported: whatever the process is waiting for, it ends.
"""

import _thread
import os
import select

_LOOK_MS = 500


def hold(fd: int | None = 0) -> None:
    """End this process when the other end of the pipe at `fd` is closed, or its parent has changed.

    The pipe says so at once. Its other end may have been copied into a forked child, so the parent is looked at too.
    """
    poll = select.poll()
    if fd is not None:
        poll.register(fd, 0)  # nothing is read: a hang-up is always reported
    # Not `threading`, which would have to be imported first: until this line nothing watches.
    _thread.start_new_thread(_watch, (os.getppid(), poll))


def _watch(parent: int, poll: "select.poll") -> None:
    while os.getppid() == parent and not poll.poll(_LOOK_MS):
        pass
    # Not sys.exit, which would end the thread alone, and wait for what the process is busy with.
    os._exit(0)
