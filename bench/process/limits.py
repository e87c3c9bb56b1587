"""What the system lets this process have: files, and the memory that it has had."""

import resource
from pathlib import Path

from bench.types import Load, UserError

SPARE_FILES = 64
"""What a load process has open besides its connections."""


def check_open_files(load: Load, workers: int) -> None:
    """Raise UserError where the system allows fewer open files than each worker has connections."""
    needed = -(-load.max_in_flight // workers) + SPARE_FILES
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY or needed <= allowed:
        return
    flag = "--max-in-flight" if load.concurrency is None else "--concurrency"
    most = (allowed - SPARE_FILES) * workers
    raise UserError(
        f"{flag}: {load.max_in_flight} connections need {needed} open files in each of --workers {workers}, and "
        f"the system allows {allowed}; raise it (ulimit -Hn), or give {f'{flag} {most} or ' * (most > 0)}more --workers"
    )


def peak_rss_bytes() -> int:
    """The most memory this process has had; Linux's getrusage would count the parent's, from before the exec."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def allow_many_files() -> None:
    """Let this process open as many as the system allows: a connection is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def memory_is_limited() -> bool:
    """Whether this process may map no more than so much memory (`ulimit -v`)."""
    return resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY
