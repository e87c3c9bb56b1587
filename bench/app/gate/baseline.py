"""baseline.json: the sessions that the gate compares with, each with its rounds, machine and versions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import orjson

from analysis.compare.gate import Base, Round, doubtful_baseline, listed
from bench.app.machine import boot_id, hardware, versions
from bench.app.run import git_commit
from bench.runs import folder as files
from bench.runs.manifest import Machine
from bench.runs.sections import dump, load
from bench.types import UserError

FILE: Final = "baseline.json"
SCHEMA: Final = 2
TOGETHER: Final = timedelta(hours=1)
"""Sessions of one boot within this time differ no more than rounds do."""


@dataclass(frozen=True, slots=True)
class Session:
    """Rounds of each part measured together, the machine, and the versions of servers and packages.

    `content` is the session as in the file.
    """

    rounds: Mapping[str, list[Round]]
    hardware: Machine
    servers: Mapping[str, str]
    packages: Mapping[str, str]
    content: Mapping[str, Any]
    measured_now: bool = False

    @property
    def is_now(self) -> bool:
        """Whether it was measured on this machine within the last hour."""
        boot = self.content.get("boot_id")
        age = datetime.now(UTC) - datetime.fromisoformat(self.content["made_at"])
        return self.measured_now or (boot is not None and boot == boot_id() and age < TOGETHER)


def read(folder: Path) -> list[Session]:
    """Read a folder's sessions, at least one. Raises UserError if there is none, or the file is of another version."""
    try:
        content = orjson.loads((folder / FILE).read_bytes())
        if (schema := content["schema"]) not in (1, SCHEMA):
            raise UserError(f"has schema {schema}, expected {SCHEMA}")
        # Schema 1 had a single session, at the top level.
        found = [_session(each) for each in (content["sessions"] if schema == SCHEMA else [content])]
    except OSError as problem:
        raise UserError(
            f"--baseline {folder}: cannot read its {FILE} ({problem.strerror}); {_remedy(folder)}"
        ) from None
    except UserError as problem:
        raise UserError(f"--baseline {folder}: {FILE} {problem}; {_remedy(folder)}") from None
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ValueError) as problem:
        raise UserError(f"--baseline {folder}: its {FILE} is not a baseline ({problem}); {_remedy(folder)}") from None
    if not found:
        raise UserError(f"--baseline {folder}: {FILE} has no session; {_remedy(folder)}")
    return found


def _session(content: Mapping[str, Any]) -> Session:
    rounds = {part: [Round(**each) for each in found] for part, found in content["rounds"].items()}
    datetime.fromisoformat(content["made_at"])
    return Session(
        rounds, load(Machine, content["hardware"], "hardware"), content["servers"], content["packages"], content
    )


def _remedy(folder: Path) -> str:
    return f"create it with: bench.py gate --baseline {folder} --update"


def write(
    folder: Path, rounds: Mapping[str, list[Round]], servers: Mapping[str, str], before: Sequence[Session] = ()
) -> None:
    """Add the rounds as a session to the folder's baseline.

    Raises UserError if they cannot serve as one, or if their counts differ from the other sessions'.
    """
    if problem := doubtful_baseline(rounds):
        raise UserError(f"--update: {problem}, so this cannot be a baseline; run it again on a quiet machine")
    for part, found in rounds.items():
        others = [session.rounds[part][0].exact for session in before if part in session.rounds]
        if any(exact != found[0].exact for exact in others):
            raise UserError(
                f"--add: the counts of {part} differ from the other sessions'; start a new baseline with --update"
            )
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "git_commit": git_commit(),
        "boot_id": boot_id(),
        "hardware": dump(hardware()),
        "packages": versions(),
        "servers": dict(servers),
        "rounds": listed(rounds),
    }
    files.write_json(folder / FILE, {"schema": SCHEMA, "sessions": [*(each.content for each in before), content]})


def base_of(sessions: Sequence[Session], hardware: Machine) -> Base:
    """What to compare with: the sessions of this CPU or, if there is one, of this very hour."""
    here = [session for session in sessions if is_same_cpu(session.hardware, hardware)]
    now = [session for session in here if session.is_now]
    counts = {part: rounds for session in sessions for part, rounds in session.rounds.items()}
    return Base(counts, [session.rounds for session in now[-1:] or here], together=bool(now))


def differences(sessions: Sequence[Session], hardware: Machine, servers: Mapping[str, str]) -> list[str]:
    """A line for each way in which this machine or its packages differ from the baseline's."""
    here = [session for session in sessions if is_same_cpu(session.hardware, hardware)]
    found = []
    if not here:
        known = ", ".join(dict.fromkeys(cpu_of(session.hardware) for session in sessions))
        found.append(
            f"speed is not judged: this is {cpu_of(hardware)}, the baseline is from {known}. Compare with another "
            "revision in the same job (--against), or add a session of this CPU (--add)"
        )
    last = (here or sessions)[-1]
    for part, server in servers.items():
        if (before := last.servers.get(part, server)) != server:
            found.append(f"{part} differs: the baseline's is {before}, this is {server}")
    for name, version in versions().items():
        if (before := last.packages.get(name, "not installed")) != version:
            found.append(f"{name} differs: the baseline's is {before}, this is {version}")
    return found


def cpu_of(hardware: Machine) -> str:
    """What speed depends on, in words: the CPU's name, its model numbers and the number of cores."""
    numbers = f" ({hardware.cpu_id})" if hardware.cpu_id else ""
    return f"{hardware.cpu}{numbers} with {hardware.cores} cores"


def is_same_cpu(one: Machine, other: Machine) -> bool:
    """Whether figures of the two can be compared; model numbers that one lacks are ignored."""
    ids = {each.cpu_id for each in (one, other) if each.cpu_id}
    return (one.cpu, one.cores) == (other.cpu, other.cores) and len(ids) < 2
