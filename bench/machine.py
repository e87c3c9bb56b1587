"""What a run was made on: the machine and the versions of what mattered, for run.json."""

import platform
import re
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import psutil

from bench.telemetry import gpu_inventory

PACKAGES = (
    "llm-serving-bench",
    "gevent",
    "gguf",
    "locust",
    "numpy",
    "nvidia-ml-py",
    "orjson",
    "psutil",
    "pyarrow",
    "xllamacpp",
)


def hardware() -> dict[str, Any]:
    """CPU model, logical cores, memory_bytes, operating system with its kernel, and the GPUs."""
    return {
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "os": platform.platform(),
        "gpus": gpu_inventory(),
    }


def versions() -> dict[str, str]:
    """Python's version and those of the installed packages that bear on a measurement."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _cpu_model() -> str:
    """The processor's marketing name, or at least its architecture."""
    with suppress(OSError):
        if model := re.search(
            r"^model name\s*:\s*(.+)$",
            Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace"),
            re.MULTILINE,
        ):
            return model[1]
    with suppress(OSError, subprocess.SubprocessError):
        sysctl = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(sysctl, capture_output=True, check=True, text=True).stdout.strip()
    return platform.processor() or platform.machine()
