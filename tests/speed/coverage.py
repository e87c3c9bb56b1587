"""How often the intervals of a run hold the long-run value: the table of docs/statistics.md.

    PYTHONPATH=. .venv/bin/python tests/speed/coverage.py [RUNS]

Of RUNS simulated runs of each process and length (200) it prints how many had an interval, how many of those hold the
truth, and half the width of the median one of the mean. It takes ten minutes.
"""

import math
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from analysis.stats.correlation import PairedSeries
from analysis.stats.describe import cells_of, dependence, describe, rate_interval, share_interval
from analysis.stats.distributions import Interval, Sample, clopper_pearson
from tests.processes import PROCESSES, Runs

LENGTHS = (100, 300, 1000, 3000, 10_000)
STATISTICS = ("mean", "p50", "p90", "p99", "share", "rate")
SHARES = (0.0, 0.001, 0.02, 0.1, 0.5)


class Cell(NamedTuple):
    """Of so many runs how many had an interval, how many of those hold the truth, and how wide each is against it."""

    runs: int
    given: int = 0
    held: int = 0
    widths: tuple[float, ...] = ()

    def and_(self, interval: Interval, truth: float) -> "Cell":
        """With one more run."""
        low, high = interval
        if low is None and high is None:
            return self
        is_held = (low is None or low <= truth * (1 + 1e-9)) and (high is None or high >= truth * (1 - 1e-9))
        width = math.inf if low is None or high is None or not truth else (high - low) / truth
        return Cell(self.runs, self.given + 1, self.held + is_held, (*self.widths, width))

    @property
    def coverage(self) -> float:
        """The share of the intervals that hold the truth."""
        return self.held / self.given

    def __str__(self) -> str:
        """As the table has it: coverage, and where some runs had no interval in how many it was."""
        given = f" of {self.given / self.runs:.0%}" if self.given < self.runs else ""
        return f"{self.coverage:.0%}{given}" if self.given else "none given"


def coverage(make: Callable[[Any, int, int], Runs], n: int, runs: int, seed: int = 0) -> dict[str, Cell]:
    """What became of the intervals of each statistic, in runs of n requests."""
    found, cells = make(np.random.default_rng(seed), runs, n), dict[str, Cell]()
    for row in range(runs):
        for name, interval, truth in _intervals(found, row):
            cells[name] = cells.get(name, Cell(runs)).and_(interval, truth)
    return cells


def _intervals(found: Runs, row: int) -> Iterator[tuple[str, Interval, float]]:
    sample = _sample(found.values[row])
    waits = _sample(found.values[row] if found.waits is None else found.waits[row])
    of_waits = dependence(waits)
    of_sample = of_waits if found.waits is None else dependence(sample, PairedSeries(waits.values, of_waits))
    given = describe(sample, of_sample)["ci95"]
    for name, truth in found.truth.of.items():
        if name in STATISTICS:
            yield name, tuple(given[name]), truth
    yield "share", share_interval(sample.values <= found.truth.of["p90"], of_waits)[0], found.truth.to_p90
    if found.sent_s is not None and found.end_s is not None and found.truth.rate_per_s is not None:
        first_ns, last_ns = (found.sent_s[row, [0, -1]] * 1e9).astype(int).tolist()
        end_ns = found.end_s[row][found.end_s[row] * 1e9 <= last_ns] * 1e9
        interval, _ = rate_interval(
            np.histogram(end_ns, cells_of(len(end_ns)), (first_ns, last_ns))[0] * 1.0, (first_ns, last_ns), len(end_ns)
        )
        yield "rate", interval, found.truth.rate_per_s


def _sample(values: Any) -> Sample:
    return Sample(np.ascontiguousarray(values), np.arange(len(values) + 1))


def of_shares(n: int, runs: int) -> dict[float, Cell]:
    """The same of Clopper and Pearson's interval, for failures that strike each request alike."""
    rng = np.random.default_rng(0)
    cells = {share: Cell(runs) for share in SHARES}
    for share in SHARES:
        for count in rng.binomial(n, share, runs).tolist():
            cells[share] = cells[share].and_(clopper_pearson(count, n), share)
    return cells


def main(runs: int) -> None:
    """Print the tables in markdown."""
    print("| process | n |", " | ".join(STATISTICS), "| mean ± |\n|---|---:|" + "---:|" * (len(STATISTICS) + 1))
    for name, make in PROCESSES.items():
        for n in LENGTHS:
            cells = coverage(make, n, runs)
            row = (str(cells[statistic]) if statistic in cells else "" for statistic in STATISTICS)
            half = float(np.median(cells["mean"].widths)) / 2
            print(f"| {name} | {n:,} |", " | ".join(row), f"| {half:.0%} |", flush=True)
    print("\n| n |", " | ".join(f"{share:.1%} fail" for share in SHARES), "|\n|---:|" + "---:|" * len(SHARES))
    for n in LENGTHS:
        print(f"| {n:,} |", " | ".join(str(cell) for cell in of_shares(n, runs).values()), "|", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
