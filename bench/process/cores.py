"""How many cores this process may use, which in a container or under taskset are fewer than the machine has."""

import os
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc/self")
_MOUNT = Path("/sys/fs/cgroup")


def available_cores(proc: Path = _PROC, mount: Path = _MOUNT) -> int:
    """The fewest that affinity and the quotas of all control groups around the process allow; at least 1."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except (AttributeError, OSError):  # not Linux
        allowed = os.cpu_count() or 1
    return max(1, int(min([float(allowed), *_quotas(proc, mount)])))


def _quotas(proc: Path, mount: Path) -> Iterator[float]:
    """In cores, of versions 1 and 2; none where nothing is limited, or nothing can be read."""
    for line in _read(proc / "cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            for group in _and_above(mount, path):
                quota, _, period = _read(group / "cpu.max").partition(" ")
                yield from _cores(quota, period)
        elif "cpu" in controllers.split(","):
            for group in _and_above(mount / controllers, path):
                yield from _cores(_read(group / "cpu.cfs_quota_us"), _read(group / "cpu.cfs_period_us"))


def _and_above(root: Path, path: str) -> Iterator[Path]:
    """A group's folder and those around it; in a container the path may be the host's, where only the root is there."""
    inside = root / path.lstrip("/")
    yield inside
    yield from (folder for folder in inside.parents if folder.is_relative_to(root))


def _cores(quota: str, period: str) -> Iterator[float]:
    if quota.strip().isdigit() and period.strip().isdigit() and int(period) > 0:  # else `max` or -1: no limit
        yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
