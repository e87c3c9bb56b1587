"""What `bench.py selftest` found on this machine: kept in the user's home, and given to every run.

A home directory may be shared by several machines: each has a file of its own, named by a hash. A file that cannot be
read, or is another version's, counts as none.
"""

import hashlib
import platform
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

from bench.process import places
from bench.runs.folder import whole
from bench.runs.manifest import Machine, MachineSelftest, SelftestLimit, SelftestStep

SCHEMA = 1


def path(hardware: Machine) -> Path:
    """Where this machine's file lies."""
    identity = f"llm-serving-bench\n{_machine()}\n{hardware.cpu}\n{hardware.cores}"
    return places.state() / f"selftest-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.json"


def keep(hardware: Machine, selftest: Mapping[str, Any]) -> Path:
    """Keep a selftest in place of the last one with as many workers and its stamps; OSError where it cannot be."""
    file = path(hardware)
    file.parent.mkdir(parents=True, exist_ok=True)
    selftests = _read(file) | {_key(selftest["workers"], selftest["stamps"]): selftest}
    with whole(file) as partial:
        partial.write_bytes(orjson.dumps({"schema": SCHEMA, "selftests": selftests}, option=orjson.OPT_INDENT_2))
    return file


def for_run(hardware: Machine, workers: int, stamps: str) -> MachineSelftest | None:
    """What run.json holds of this machine's selftest with as many workers and these stamps, None without one."""
    with suppress(KeyError, TypeError, ValueError):
        kept = _read(path(hardware))[_key(workers, stamps)]
        return MachineSelftest(
            measured_at=str(kept["measured_at"]),
            workers=workers,
            events=_ladder(kept["events"]),
            requests=_ladder(kept["requests"]),
        )
    return None


def _key(workers: int, stamps: str) -> str:
    return f"{workers} {stamps}" if stamps == "packets" else str(workers)


def _ladder(kept: Mapping[str, Any]) -> SelftestLimit:
    """A ladder's limit, and its steps but for those that others disturbed: their errors are not the client's."""
    steps = (
        SelftestStep(float(step["per_s"]), float(step["error_ms"]))
        for step in kept["steps"]
        if step["error_ms"] is not None and step["bounded_by"] != "others"
    )
    bounded_by = kept["bounded_by"]
    return SelftestLimit(float(kept["limit_per_s"]), None if bounded_by is None else str(bounded_by), tuple(steps))


def _read(file: Path) -> dict[str, Any]:
    """The selftests of a file by their number of workers."""
    try:
        content = orjson.loads(file.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("schema") != SCHEMA:
        return {}
    selftests = content.get("selftests")
    return selftests if isinstance(selftests, dict) else {}


def _machine() -> str:
    """What tells this machine from another, by systemd's identity or its name."""
    for file in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with suppress(OSError):
            if identity := Path(file).read_text().strip():
                return identity
    return platform.node()
