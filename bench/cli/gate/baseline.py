"""baseline.json: the rounds that the gate compares with, and the machine and versions they were made with."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.types import UserError

FILE: Final = "baseline.json"
SCHEMA: Final = 1


@dataclass(frozen=True, slots=True)
class Baseline:
    """The rounds of each part, the machine, and the versions of servers and packages that they were made with."""

    rounds: "Mapping[str, list[Any]]"
    hardware: Mapping[str, Any]
    servers: Mapping[str, str]
    packages: Mapping[str, str]


def read(folder: Path) -> Baseline:
    """Read a folder's baseline. Raises UserError where there is none, or one of another version."""
    import orjson

    from analysis.gate import Round

    try:
        content = orjson.loads((folder / FILE).read_bytes())
        if content["schema"] != SCHEMA:
            raise UserError(
                f"--baseline {folder}: {FILE} has schema {content['schema']}, expected {SCHEMA}; {_remedy(folder)}"
            )
        rounds = {part: [Round(**each) for each in found] for part, found in content["rounds"].items()}
        return Baseline(rounds, content["hardware"], content["servers"], content["packages"])
    except OSError as problem:
        raise UserError(f"--baseline {folder}: no {FILE} in it ({problem.strerror}); {_remedy(folder)}") from None
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError) as problem:
        raise UserError(f"--baseline {folder}: {FILE} is no baseline ({problem}); {_remedy(folder)}") from None


def _remedy(folder: Path) -> str:
    return f"make it with: bench.py gate --baseline {folder} --update"


def write(folder: Path, rounds: "Mapping[str, list[Any]]", servers: Mapping[str, str]) -> None:
    """Write the rounds as the folder's baseline. Raises UserError where they cannot be one."""
    from analysis.gate import doubtful_baseline
    from analysis.gate_written import listed
    from bench import folder as files
    from bench.machine import hardware, versions
    from bench.run import git_commit

    if problem := doubtful_baseline(rounds):
        raise UserError(f"--update: {problem}, so this is no baseline; run it again on a quiet machine")
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "schema": SCHEMA,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": git_commit(),
        "hardware": hardware(),
        "packages": versions(),
        "servers": dict(servers),
        "rounds": listed(rounds),
    }
    files.write_json(folder / FILE, content)


def differences(baseline: Baseline, hardware: Mapping[str, Any], servers: Mapping[str, str]) -> list[str]:
    """Where this machine and what is installed on it are others than the baseline's, a line for each."""
    from bench.machine import versions

    found = []
    was, now = cpu_of(baseline.hardware), cpu_of(hardware)
    if was != now:
        found.append(f"another CPU, so larger changes are allowed: the baseline is of {was}, this is {now}")
    for part, server in servers.items():
        if (before := baseline.servers[part]) != server:
            found.append(f"another server of {part}: the baseline is of {before}, this is {server}")
    for name, version in versions().items():
        if (before := baseline.packages.get(name, "not installed")) != version:
            found.append(f"another version of {name}: the baseline is of {before}, this is {version}")
    return found


def cpu_of(hardware: Mapping[str, Any]) -> str:
    """What the thresholds depend on: the CPU's name and how many cores there are."""
    return f"{hardware['cpu']} with {hardware['cores']} cores"
