"""How often a run is told that its backlog or its first tokens drift: the table of docs/validity.md.

    PYTHONPATH=. .venv/bin/python tests/speed/trends.py [RUNS]

Of RUNS simulated runs of each load and length (500) it prints the share that is told either. It takes a few minutes.
"""

import sys
from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
import pyarrow as pa

from bench.runs.manifest import RunManifest
from tests.analysis.run.test_steady import CLOSED, OPEN, autocorrelated, doubted, in_one_queue

LENGTHS = (100, 200, 1000)
LOADS: Mapping[str, tuple[RunManifest, Callable[[np.random.Generator, int], pa.Table]]] = {
    "closed loop, first tokens lognormal (σ 0.6), independent": (CLOSED, partial(autocorrelated, correlation=0.0)),
    "the same, each like the one before (correlation 0.8)": (CLOSED, partial(autocorrelated, correlation=0.8)),
    **{
        f"Poisson arrivals at 8 slots, {use:.0%} of capacity": (OPEN, partial(in_one_queue, use=use))
        for use in (0.7, 0.8, 0.9, 1.1, 1.2, 1.5)
    },
}


def main(runs: int) -> None:
    """Print the table in markdown."""
    print("| load |", " | ".join(f"{n:,} calls" for n in LENGTHS), "|\n|---|" + "---|" * len(LENGTHS))
    for name, (run, make) in LOADS.items():
        shares = []
        for n in LENGTHS:
            rng = np.random.default_rng(n)
            shares.append(sum(bool(doubted(run, make(rng, n))) for _ in range(runs)) / runs)
        print(
            f"| {name} |", " | ".join(f"{share:.3g}%" for share in (100 * share for share in shares)), "|", flush=True
        )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 500)
