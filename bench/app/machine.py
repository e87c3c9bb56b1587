"""What a run was made on: the machine and the relevant versions, for run.json."""

import platform
import re
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

import psutil

from bench.runs.manifest import InstalledGpu, Machine
from bench.telemetry.sampler import gpu_inventory

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


def hardware() -> Machine:
    """CPU model, logical cores, memory_bytes, operating system with its kernel, and the GPUs.

    `cpu_id` is the model's numbers (x86 on Linux, else None): hypervisors may give several models one name.
    """
    return Machine(
        cpu=_cpu_model(),
        cpu_id=_cpu_id(),
        cores=psutil.cpu_count(),
        memory_bytes=psutil.virtual_memory().total,
        os=platform.platform(),
        gpus=tuple(InstalledGpu(gpu.name, gpu.driver, gpu.memory_bytes) for gpu in gpu_inventory()),
    )


def versions() -> dict[str, str]:
    """Python's version and those of the installed packages that affect measurements."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def boot_id() -> str | None:
    """An identifier that changes with each boot of a machine; None if the system has none."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return None


def _cpu_id() -> str | None:
    """Family, model and stepping."""
    found = [number for name in ("cpu family", "model", "stepping") if (number := _cpuinfo(name, r"\d+")) is not None]
    return " ".join(found) if len(found) == 3 else None


def _cpuinfo(name: str, value: str) -> str | None:
    """What Linux says of the first processor under a name, where it is of this form."""
    with suppress(OSError):
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        if found := re.search(rf"^{name}\s*:\s*({value})$", text, re.MULTILINE):
            return found[1]
    return None


def _cpu_model() -> str:
    """The processor's marketing name, or at least its architecture."""
    if model := _cpuinfo("model name", ".+"):
        return model
    with suppress(OSError, subprocess.SubprocessError):
        sysctl = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(sysctl, capture_output=True, check=True, text=True).stdout.strip()
    return platform.processor() or platform.machine()
