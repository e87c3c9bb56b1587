"""What the system lets this process have: files, and the memory that it has had."""

import resource
from pathlib import Path


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
