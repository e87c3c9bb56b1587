"""How often a comparison of five equal sides sees a difference: prints the table of docs/statistics.md#many-sides.

    PYTHONPATH=. .venv/bin/python tests/speed/field.py

2,000 simulated studies a row, 100 of the last; some 40 minutes on one core.
"""

from collections.abc import Mapping

import numpy as np

from analysis.compare.comparison import Run
from analysis.compare.field import compare_all
from analysis.compare.measures import thresholds
from tests.analysis.sides import build_one, manifest, simulate, summaries
from tests.summaries import summary_of

STUDIES = 2000
SIDES = 5
DEFAULTS = thresholds([])
NONE = dict.fromkeys(DEFAULTS, 0.0)


def false_alarms(studies: int, runs: int, *limits: Mapping[str, float], sides: int = SIDES, seed: int = 1) -> list[int]:
    """In how many studies of equal sides, each with so many runs, anything is said to differ, by what matters."""
    rng, wrong = np.random.default_rng(seed), [0] * len(limits)
    for _ in range(studies):
        tables = None
        if runs == 1:
            made = [build_one(str(side), rng) for side in range(sides)]
            study, tables = [[run] for run, _ in made], [table for _, table in made]
        else:
            study = [_side(rng, str(side), runs) for side in range(sides)]
        for i, limit in enumerate(limits):
            wrong[i] += compare_all(study, limit, tables).found["differs"] > 0
    return wrong


def _side(rng: np.random.Generator, name: str, runs: int) -> list[Run]:
    told = summaries(simulate(rng, runs, 1000))
    return [Run(f"{name}-{i}", manifest(), summary_of(each)) for i, each in enumerate(told)]


def main() -> None:
    """Print a row for each kind of study as it ends."""
    print("| runs on each side | studies | anything differs | if any change matters |\n|---|---:|---:|---:|")
    for runs in (3, 5):
        shares = (f"{wrong / STUDIES:.2%}" for wrong in false_alarms(STUDIES, runs, DEFAULTS, NONE))
        print(f"| {runs} | {STUDIES:,} | {' | '.join(shares)} |", flush=True)
    (wrong,) = false_alarms(STUDIES // 20, 1, DEFAULTS)
    print(f"| 1, of equal speed | {STUDIES // 20} | {wrong / (STUDIES // 20):.2%} | |", flush=True)


if __name__ == "__main__":
    main()
