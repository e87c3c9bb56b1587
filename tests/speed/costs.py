"""How often the interval of a mean cost holds the true one: the table of docs/costs.md.

    PYTHONPATH=. .venv/bin/python tests/speed/costs.py [RUNS]

RUNS simulated runs (4,000) of each number of requests, whose costs are independent and more or less skewed.
"""

import math
import sys
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from analysis.stats.distributions import Floats
from analysis.stats.uncertainty import interval, mean_of

LENGTHS: Final = (10, 30, 100, 300, 1_000, 10_000)

Draw = Callable[[np.random.Generator, int], Floats]
PROCESSES: Final[Mapping[str, tuple[Draw, float]]] = {
    "normal": (lambda rng, n: rng.normal(10, 1, n), 10.0),
    "gamma, shape 2": (lambda rng, n: rng.gamma(2, 1, n), 2.0),
    "lognormal, sigma 0.5": (lambda rng, n: rng.lognormal(0, 0.5, n), math.exp(0.5**2 / 2)),
    "lognormal, sigma 1": (lambda rng, n: rng.lognormal(0, 1, n), math.exp(1 / 2)),
    "lognormal, sigma 1.5": (lambda rng, n: rng.lognormal(0, 1.5, n), math.exp(1.5**2 / 2)),
}


def held(process: str, n: int, runs: int, rng: np.random.Generator) -> float:
    """The share of the intervals of so many runs of n requests that hold the true mean."""
    draw, truth = PROCESSES[process]
    found = (interval(mean_of(draw(rng, n), np.ones(n))) for _ in range(runs))
    return sum(low <= truth <= high for low, high in found) / runs


def main() -> None:
    """Print the table."""
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 4_000
    print(f"| requests | {' | '.join(f'{n:,}' for n in LENGTHS)} |\n|---|{'---|' * len(LENGTHS)}")
    for process in PROCESSES:
        cells = [f"{held(process, n, runs, np.random.default_rng(7)):.1%}" for n in LENGTHS]
        print(f"| {process} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
