"""How often the gate fails where nothing changed, and how large a slowdown it finds: the table of docs/ci.md.

    PYTHONPATH=. .venv/bin/python tests/speed/gate.py FOLDER

FOLDER holds a baseline.json with one session of 20 rounds or more (`bench.py gate --baseline FOLDER --rounds 30
--update`), measured together: what differs between sessions is not in it. Of these every gate is made that could have
been: five successive rounds are the baseline, five are now, and the next five are what is measured where it looks
worse. Successive, because a machine drifts.
"""

import itertools
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from analysis.compare.gate import FIGURES, Base, Round, Rounds, failing, judge

ROUNDS = 5
FACTORS = (1.2, 1.3, 1.4, 1.5, 2.0)

Measured = Sequence[dict[str, Round]]


def main(folder: Path) -> None:
    """Print the rate of false alarms, and the table."""
    content = json.loads((folder / "baseline.json").read_bytes())["sessions"][-1]["rounds"]
    parts = {part: [Round(**each) for each in rounds] for part, rounds in content.items()}
    measured = [dict(zip(parts, each, strict=True)) for each in zip(*parts.values(), strict=True)]
    alarms = gates(measured)
    failed = sorted({name for names in alarms for name in names})
    print(f"{len(measured)} rounds, {len(alarms)} gates without a change: {sum(map(bool, alarms))} failed {failed}\n")
    print("| figure | spread | " + " | ".join(f"{100 * (factor - 1):.0f}%" for factor in FACTORS) + " |")
    for name in FIGURES:
        part, _, figure = name.partition(":")
        if part in parts:
            print(row(measured, name, [each[part].figures[figure] for each in measured]))


def row(measured: Measured, name: str, values: Sequence[float | None]) -> str:
    """How often a figure that got larger by each factor is among those that fail."""
    known = [value for value in values if value is not None]
    if len(known) < len(values) / 2:
        return f"| `{name}` | known in {len(known)} of {len(values)} rounds |"
    shares = []
    for factor in FACTORS:
        found = gates(measured, name, factor)
        shares.append(f"{sum(name in names for names in found) / len(found):.0%}")
    return f"| `{name}` | {np.std(np.log(known)):.1%} | " + " | ".join(shares) + " |"


def gates(measured: Measured, slower: str = "", factor: float = 1.0) -> list[list[str]]:
    """What fails in each gate, when one figure of now is larger by a factor."""
    found = []
    for base, now in itertools.product(range(len(measured) - ROUNDS + 1), range(len(measured) - 2 * ROUNDS + 1)):
        if base + ROUNDS <= now or now + 2 * ROUNDS <= base:
            rounds = _rounds(measured[base : base + ROUNDS])
            before = Base(rounds, [rounds], together=True)
            first = _rounds(measured[now : now + ROUNDS], slower, factor)
            both = _rounds(measured[now : now + 2 * ROUNDS], slower, factor)
            fails = failing(judge(before, first)) and failing(judge(before, both))
            found.append([finding.name for finding in fails])
    return found


def _rounds(chosen: Measured, slower: str = "", factor: float = 1.0) -> Rounds:
    return {part: [_slower(part, each[part], slower, factor) for each in chosen] for part in chosen[0]}


def _slower(part: str, one: Round, slower: str, factor: float) -> Round:
    figures = {
        name: value * factor if value is not None and f"{part}:{name}" == slower else value
        for name, value in one.figures.items()
    }
    return one._replace(figures=figures)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
