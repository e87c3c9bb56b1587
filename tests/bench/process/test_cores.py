"""How many cores there are to use, by affinity and by control groups of both versions."""

import os
import sys
from pathlib import Path

import pytest

from bench.process.cores import available_cores

ALL = 64


@pytest.fixture(autouse=True)
def _cores(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform != "linux":
        pytest.skip("affinity and control groups are Linux's")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(ALL)))


def cores(tmp_path: Path, cgroup: str, **files: str) -> int:
    """With this as /proc/self/cgroup, and these files under /sys/fs/cgroup; `__` is a slash and `_DOT_` a dot."""
    (tmp_path / "cgroup").write_text(cgroup)
    for name, content in files.items():
        path = tmp_path / "mount" / name.replace("__", "/").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return available_cores(tmp_path, tmp_path / "mount")


@pytest.mark.parametrize(
    ("content", "expected"),
    [("max 100000\n", ALL), ("200000 100000\n", 2), ("150000 100000\n", 1), ("50000 100000\n", 1), ("what\n", ALL)],
)
def test_a_quota_of_version_2_counts_in_whole_cores(content: str, expected: int, tmp_path: Path) -> None:
    assert cores(tmp_path, "0::/a/b\n", a__b__cpu_DOT_max=content) == expected


def test_the_quota_of_a_group_around_counts_too(tmp_path: Path) -> None:
    assert cores(tmp_path, "0::/a/b\n", a__cpu_DOT_max="300000 100000\n", a__b__cpu_DOT_max="max 100000\n") == 3


def test_inside_a_container_the_root_of_the_mount_is_the_group(tmp_path: Path) -> None:
    assert cores(tmp_path, "0::/docker/1234\n", cpu_DOT_max="400000 100000\n") == 4


@pytest.mark.parametrize(("quota", "expected"), [("-1\n", ALL), ("250000\n", 2)])
def test_a_quota_of_version_1_counts(quota: str, expected: int, tmp_path: Path) -> None:
    files = {"cpu,cpuacct__a__cpu_DOT_cfs_quota_us": quota, "cpu,cpuacct__a__cpu_DOT_cfs_period_us": "100000\n"}
    assert cores(tmp_path, "5:cpu,cpuacct:/a\n3:memory:/b\n", **files) == expected


def test_affinity_counts_and_what_cannot_be_read_limits_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert available_cores(tmp_path / "no-proc", tmp_path) == ALL
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3})
    assert available_cores(tmp_path / "no-proc", tmp_path) == 1
