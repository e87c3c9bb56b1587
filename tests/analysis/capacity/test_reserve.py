"""Servers that start well and get worse, in virtual time: what lasts is what a search finds."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest

from analysis.capacity.probing import ProbedRun, probe
from analysis.capacity.reserve import steady_from
from analysis.capacity.search import Capacity, Limits, Probe, calls_needed, calls_spent, capacity, next_probe
from analysis.capacity.search import requests_for as calls_for
from tests.virtual import due_s

Takes = Callable[[Any, np.random.Generator], Any]
SERVICE_S = 0.05


def find(takes: Takes, guess: float, seed: int, *, share: float = 0.9, arrivals: str = "poisson") -> Capacity:
    """A whole search of a server that answers at once what it `takes` of the calls, and refuses the others."""
    rng, limits, probes = np.random.default_rng(seed), Limits(0.05, 3, guess, SERVICE_S), list[Probe]()
    while wanted := next_probe(probes, limits):
        rate, repeat = wanted
        least = max(100, calls_needed([share])) + max(calls_spent(probes, limits), default=0)
        due = due_s(arrivals, rate, calls_for(rate, least, SERVICE_S), rng)
        kept = takes(due, rng)
        end_s = np.where(kept, due + SERVICE_S, np.nan)
        run = ProbedRun(due, end_s, end_s - due, (kept,))
        probes.append(probe(run, (share,), rate, repeat, "", stopped=False))
        assert len(probes) < 80
    return capacity(probes, limits)


class Limiter(NamedTuple):
    """A bucket of `burst` calls, full at first, into which `per_s` come in a second."""

    burst: int
    per_s: float

    def takes(self, due: Any, _: np.random.Generator) -> Any:
        left, most, taken = float(self.burst), float(self.burst), []
        for gained in (self.per_s * np.diff(due, prepend=0.0)).tolist():
            left += gained
            left = most if left > most else left
            taken.append(is_let_in := left >= 1)
            left -= is_let_in
        return np.array(taken)


def holds(found: Capacity, true: float) -> bool:
    return found.low_per_s <= true <= (found.high_per_s or math.inf)


def holds_the_limit(burst: int, per_s: float, share: float, seed: int) -> bool:
    """A small bucket refuses some of what comes by chance in a bunch: only evenly is its limit what it lets through."""
    arrivals = "poisson" if burst >= 20 and share <= 0.9 else "constant"
    true, guess = per_s / share, float(np.random.default_rng(seed).uniform(2, 8))
    return holds(find(Limiter(burst, per_s).takes, guess * true, seed, share=share, arrivals=arrivals), true)


def test_a_limiters_burst_is_not_taken_for_its_limit() -> None:
    bursts = (5, 10, 20, 50, 100, 200)
    held = [holds_the_limit(burst, (2.0, 10.0, 40.0)[n % 3], 0.9, n) for n, burst in enumerate(bursts)]
    assert sum(held) >= 5
    assert sum(holds_the_limit(20, 10.0, 0.9, seed) for seed in range(4)) >= 3


@pytest.mark.slow
def test_proof_of_240_limiters() -> None:
    """The figure of docs/validity.md: run with -s to print it."""
    held = []
    for seed in range(240):
        rng = np.random.default_rng(seed)
        burst, per_s, share = (rng.choice(of) for of in ((5, 10, 20, 50, 100, 200), (2, 5, 20, 80), (0.5, 0.9, 0.99)))
        held.append(holds_the_limit(int(burst), float(per_s), float(share), seed))
    print(f"held: {sum(held)} of 240")
    assert sum(held) >= 218


def fading(spent: Callable[[Any], Any], lasting_per_s: float) -> Takes:
    """A server that keeps all of its first calls' bounds and, as its reserve is `spent`, so many in a second."""

    def takes(due: Any, rng: np.random.Generator) -> Any:
        lost = max(0.0, 1 - lasting_per_s * due[-1] / len(due))
        return rng.random(len(due)) >= lost * spent(due)

    return takes


@pytest.mark.parametrize(
    "spent",
    [
        pytest.param(lambda due: np.arange(len(due)) >= 60, id="a warm cache"),
        pytest.param(lambda due: due >= 5.0, id="a card that gets hot"),
        pytest.param(lambda due: np.minimum(1.0, due / 4.0), id="slowly"),
    ],
)
def test_a_server_that_starts_well_is_judged_by_what_lasts(spent: Callable[[Any], Any]) -> None:
    assert sum(holds(find(fading(spent, 9.0), 30.0, seed), 10.0) for seed in range(3)) >= 2


def test_a_server_that_fails_by_chance_or_in_bunches_but_never_saturates_has_no_ceiling() -> None:
    def by_chance(due: Any, rng: np.random.Generator) -> Any:
        return rng.random(len(due)) > 0.05

    def in_bunches(due: Any, rng: np.random.Generator) -> Any:
        return ~(np.convolve(rng.random(len(due)) < 0.004, np.ones(8))[: len(due)] > 0)

    for seed, takes in enumerate((by_chance, in_bunches) * 3):
        found = find(takes, 20.0, seed)
        assert (found.rate_per_s, found.high_per_s) == (160.0, None)


def test_a_share_falls_where_it_does_and_by_chance_in_few_runs() -> None:
    rng = np.random.default_rng(1)
    assert sum(steady_from(rng.random(400) < share) > 0 for share in (0.5, 0.9, 0.99) for _ in range(200)) <= 3
    for cut in (50, 200, 350):
        fell = np.concatenate([np.ones(cut, bool), rng.random(400 - cut) < 0.5])
        assert cut - 10 <= steady_from(fell) <= cut + 10
        assert steady_from(fell[::-1]) == 0
    assert [steady_from(np.full(n, True)) for n in (0, 1, 400)] == [0, 0, 0]


@pytest.mark.parametrize("repeats", [1, 3])
def test_a_search_ends_though_no_run_is_as_long_as_it_asks(repeats: int) -> None:
    """As with --requests, and where the length that is needed changes with every run."""
    rng, limits, probes = np.random.default_rng(1), Limits(0.05, repeats, 10.0, SERVICE_S), list[Probe]()
    while wanted := next_probe(probes, limits):
        calls = int(rng.integers(100, 400))
        due = np.arange(calls) / wanted[0]
        kept = Limiter(60, 2.0).takes(due, rng)
        run = ProbedRun(due, due + SERVICE_S, np.full(calls, SERVICE_S), (kept,))
        probes.append(probe(run, (0.9,), *wanted, "", stopped=False))
        assert len(probes) < 80
    assert len({(each.rate_per_s, each.repeat) for each in probes}) == len(probes)
