"""The search for capacity: its parts, and whole searches of servers in virtual time whose ceiling is known."""

import math
import random
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.capacity.probing import LoadWatch, ProbedRun, probe
from analysis.capacity.search import (
    Capacity,
    Limits,
    Probe,
    calls_needed,
    capacity,
    next_probe,
    requests_for,
    service_seen_s,
    wilson,
)
from tests.simulations import few_or_many
from tests.virtual import KINDS, closed_loop, due_s, open_loop, services_s

LIMITS = Limits(precision=0.05, repeats=1, closed_loop_rps=10.0, service_s=1.0)


def run(rate: float, share: float = 1.0, *, repeat: int = 0, calls: int = 500, growth: float = 0.0) -> Probe:
    """A run in which `share` of the calls kept a bound that 99% must keep, and waits grew so, give or take 0.001."""
    return Probe(rate, repeat, calls, (round(share * calls),), (0.99,), rate, "", growth, 0.001)


def ends(probes: list[Probe]) -> tuple[Any, ...]:
    found = capacity(probes)
    return found.rate_per_s, found.low_per_s, found.high_per_s


def search(limits: Limits, observe: Callable[[float, int, list[Probe]], Probe]) -> list[Probe]:
    probes: list[Probe] = []
    while (wanted := next_probe(probes, limits)) is not None:
        probes.append(observe(*wanted, probes))
        assert len(probes) < 80
    return probes


# --- the parts of a search ------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.floats(0.05, 500), st.floats(0.2, 20), st.sampled_from([0.02, 0.05, 0.2]))
def test_the_search_ends_at_the_true_capacity_to_the_precision(true: float, guess: float, precision: float) -> None:
    """Whatever the closed loop had said, from a fifth to twenty times the truth, where every run tells the truth."""
    limits = LIMITS._replace(precision=precision, closed_loop_rps=true * guess, service_s=0.001)
    found = capacity(search(limits, lambda rate, n, _: run(rate, 1.0 if rate <= true else 0.5, repeat=n)), limits)
    assert found.low_per_s <= found.rate_per_s <= true < (found.high_per_s or math.inf)
    assert found.high_per_s is not None
    assert found.high_per_s / found.rate_per_s - 1 <= precision + 0.001  # rates have four digits


def test_a_server_that_never_meets_the_objective_has_no_capacity() -> None:
    found = capacity(search(LIMITS, lambda rate, n, _: run(rate, 0.5, repeat=n)))
    assert (found.rate_per_s, found.low_per_s) == (0.0, 0.0)
    assert found.reason == "no rate down to 0.0781/s meets the objectives"


@pytest.mark.parametrize(
    ("limits", "top", "said"),
    [
        (LIMITS, 80.0, "--up-to looks further"),
        (LIMITS._replace(up_to_rps=25.0), 25.0, "--up-to looks further"),
        (LIMITS._replace(max_in_flight=16), 11.2, "raise --max-in-flight"),
    ],
)
def test_where_no_rate_is_missed_the_search_ends_at_its_limit_and_says_so(
    limits: Limits, top: float, said: str
) -> None:
    found = capacity(search(limits, lambda rate, n, _: run(rate, repeat=n)), limits)
    assert (found.rate_per_s, found.high_per_s) == (top, None)
    assert found.reason == f"no ceiling up to {top:g}/s; {said}"
    assert found.low_per_s == pytest.approx(top, rel=0.01)


@given(st.floats(0.01, 1000))
def test_a_ramp_without_an_end_takes_five_runs_to_its_limit(closed_loop_rps: float) -> None:
    limits = LIMITS._replace(closed_loop_rps=closed_loop_rps, service_s=1e-6)
    assert len(search(limits, lambda rate, n, _: run(rate, repeat=n))) == 5


def test_a_rate_at_which_work_piles_up_is_saturated_even_if_the_answers_were_fast() -> None:
    assert run(10, growth=0.1).outcome == "saturated"
    assert run(10, growth=0.015).outcome == "met"
    assert run(10, 0.98).outcome == "missed"
    assert run(10)._replace(stopped=True).outcome == "saturated"
    assert run(10, growth=0.1)._replace(growth_error=0.2).outcome == "met"
    assert not run(10, growth=0.1)._replace(growth_error=0.1).is_sure


def test_the_interval_reaches_from_what_was_surely_kept_up_with_to_what_was_surely_missed() -> None:
    probes = [run(4), run(5, 0.992), run(6, 0.988), run(7, 0.9)]
    assert [p.is_sure for p in probes] == [True, False, False, True]
    assert ends(probes) == (5, pytest.approx(4, rel=0.01), 7)
    wide = [run(4)._replace(growth=0.05, growth_error=0.1), run(7, 0.9)]
    assert capacity(wide).low_per_s == pytest.approx(4 / 1.36, rel=0.01)
    fewer_came = [run(4)._replace(sent_per_s=3.8), run(7, 0.9)._replace(sent_per_s=7.3)]
    assert ends(fewer_came)[1:3] == (pytest.approx(3.8, rel=0.01), 7.3)


def test_repeats_decide_by_majority_and_disagreement_widens_the_interval() -> None:
    probes = [run(4), run(5), run(5, 0.9, repeat=1), run(5, repeat=2), run(6, 0.5)]
    assert ends(probes) == (5, pytest.approx(4, rel=0.01), 6)


def test_both_ends_of_the_gap_are_repeated() -> None:
    limits = LIMITS._replace(precision=0.5, repeats=3)
    probes = search(limits, lambda rate, n, _: run(rate, 1.0 if rate <= 10 else 0.5, repeat=n))
    repeats = {
        rate: sorted(p.repeat for p in probes if p.rate_per_s == rate) for rate in {p.rate_per_s for p in probes}
    }
    found = capacity(probes)
    assert repeats[found.rate_per_s] == repeats[found.high_per_s or 0.0] == [0, 1, 2]


def test_a_doubtful_miss_is_none_where_more_was_surely_kept_up_with() -> None:
    assert capacity([run(4), run(5, growth=0.03)._replace(growth_error=0.02), run(8)]).rate_per_s == 8
    assert capacity([run(4), run(5, 0.5), run(8)]).rate_per_s == 4


def test_a_probe_is_long_against_an_answer_and_has_what_its_objectives_need() -> None:
    assert requests_for(10, least=457, service_s=0.1) == 457
    assert requests_for(100, least=457, service_s=0.1) == 1000
    assert requests_for(10, least=457, service_s=5.0) == 1000
    assert service_seen_s([run(1)._replace(service_s=2.0), run(2)], 3.0) == 2.0


def test_wilsons_interval_is_the_published_one() -> None:
    """Newcombe 1998, Statistics in Medicine 17: 81 of 263 gives 0.2553 to 0.3662, 0 of 20 gives 0 to 0.1611."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(0, 0) == (0.0, 1.0)


def test_wilsons_interval_covers() -> None:
    draw = random.Random(1)
    hits = 0
    for _ in range(2000):
        low, high = wilson(sum(draw.random() < 0.95 for _ in range(300)), 300)
        hits += low <= 0.95 <= high
    assert 0.93 < hits / 2000 < 0.97


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 0.999])
def test_with_the_calls_needed_a_run_without_a_miss_is_sure(share: float) -> None:
    calls = calls_needed([0.5, share])
    assert Probe(1, 0, calls, (calls,), (share,), 1, "").is_sure


# --- whole searches in virtual time ---------------------------------------------------------------------------------


class Machine(NamedTuple):
    """A server of so many slots (None: one for everybody), and how its calls come and what they take."""

    slots: int | None
    service_s: float
    kind: str
    arrivals: str

    @property
    def ceiling_per_s(self) -> float:
        return math.inf if self.slots is None else self.slots / self.service_s


def machine(seed: int) -> Machine:
    rng = np.random.default_rng(seed)
    slots = (None, 1, 2, 4, 8, 16)[rng.integers(6)]
    service_s = float(np.exp(rng.uniform(math.log(0.05), math.log(60))))
    return Machine(slots, service_s, KINDS[rng.integers(len(KINDS))], ("poisson", "poisson", "constant")[seed % 3])


def find(server: Machine, seed: int, concurrency: int = 32, share: float = 0.9) -> tuple[Capacity, list[Probe]]:
    """A whole search, its early stops included, for a bound so wide that the ceiling decides."""
    rng = np.random.default_rng(seed)
    works_s = services_s(server.kind, server.service_s, 5 * concurrency, rng)
    sent_s, _, end_s = closed_loop(concurrency, works_s, server.slots)
    seconds = float(end_s.max() - sent_s[concurrency])
    limits = Limits(0.05, 3, 4 * concurrency / seconds, float((end_s - sent_s)[concurrency:].mean()))

    def observe(rate: float, repeat: int, probes: list[Probe]) -> Probe:
        service_s = service_seen_s(probes, limits.service_s)
        calls = requests_for(rate, max(100, calls_needed([share])), service_s)
        due = due_s(server.arrivals, rate, calls, rng)
        works_s = services_s(server.kind, server.service_s, calls, rng)
        begin_s, end_s = open_loop(due, works_s, server.slots)
        stopped_s = stop_s(due, end_s, service_s)
        end_s = np.where(end_s <= stopped_s, end_s, np.nan)
        sent = due <= stopped_s
        keeps = ~np.isnan(end_s) & (begin_s - due < 200 * server.service_s)
        seen = ProbedRun(due[sent], end_s[sent], (end_s - due)[sent], (keeps[sent],))
        return probe(seen, (share,), rate, repeat, "", stopped=bool(stopped_s < math.inf))

    probes = search(limits, observe)
    return capacity(probes, limits), probes


def stop_s(due: np.ndarray, end_s: np.ndarray, service_s: float) -> float:
    """When a load is ended early, never where it is not."""
    watch, at_s = LoadWatch(service_s), np.linspace(0, due[-1], 60)[1:]
    counts = (np.searchsorted(times_s, at_s).tolist() for times_s in (due, np.sort(end_s)))
    for instant_s, came, went in zip(at_s.tolist(), *counts, strict=True):
        if watch.falls_behind(instant_s, came, went):
            return float(instant_s)
    return math.inf


def holds(server: Machine, found: Capacity) -> bool:
    if server.slots is None:
        return found.high_per_s is None and found.reason.startswith("no ceiling up to")
    return found.low_per_s <= server.ceiling_per_s <= (found.high_per_s or math.inf)


@few_or_many("searches", 6, 12)
def test_the_interval_of_a_whole_search_holds_the_ceiling(searches: int) -> None:
    servers = [machine(seed) for seed in range(searches)]
    found = [find(server, seed)[0] for seed, server in enumerate(servers)]
    assert sum(map(holds, servers, found)) >= searches - 1
    assert all(each.rate_per_s for each in found)


@pytest.mark.parametrize("service_s", [2.0, 5.0, 60.0])
def test_a_server_that_never_saturates_has_no_ceiling_however_long_its_answers(service_s: float) -> None:
    server = Machine(None, service_s, "deterministic", "poisson")
    found, probes = find(server, 1)
    assert holds(server, found)
    assert found.rate_per_s > 7 * 32 / service_s and found.low_per_s > 0.9 * found.rate_per_s
    assert not any(each.stopped for each in probes)


def test_a_saturated_probe_ends_as_soon_as_it_is_sure() -> None:
    rng = np.random.default_rng(1)
    due = due_s("poisson", 16, 3000, rng)
    _, end_s = open_loop(due, services_s("exponential", 1.0, 3000, rng), 8)
    assert 8 <= stop_s(due, end_s, 1.0) < 0.5 * due[-1]
    _, end_s = open_loop(due, services_s("exponential", 0.4, 3000, rng), 8)
    assert stop_s(due, end_s, 0.4) == math.inf
    assert stop_s(due, due + services_s("lognormal 1.5", 20.0, 3000, rng), 10.0) == math.inf


@pytest.mark.slow
def test_proof_of_200_servers() -> None:
    """The table of docs/validity.md: run with -s to print it."""
    servers = [machine(1000 + seed) for seed in range(200)]
    found = [find(server, seed) for seed, server in enumerate(servers)]
    held = [holds(server, each) for server, (each, _) in zip(servers, found, strict=True)]
    print()
    for name, group in (
        ("kind", lambda s: s.kind),
        ("slots", lambda s: str(s.slots)),
        ("arrivals", lambda s: s.arrivals),
    ):
        total, good = Counter(map(group, servers)), Counter(group(s) for s, ok in zip(servers, held, strict=True) if ok)
        print(name, "; ".join(f"{key}: {good[key]} of {total[key]}" for key in sorted(total)))
    limited = [(s.ceiling_per_s, c) for s, (c, _) in zip(servers, found, strict=True) if s.slots]
    for name, values in (
        ("rate / ceiling", [c.rate_per_s / true for true, c in limited]),
        ("low / ceiling", [c.low_per_s / true for true, c in limited]),
        ("high / ceiling", [(c.high_per_s or math.inf) / true for true, c in limited]),
        ("probes", [len(probes) for _, probes in found]),
        ("ended early", [sum(each.stopped for each in probes) for _, probes in found]),
    ):
        print(name, np.round(np.quantile(values, [0.05, 0.5, 0.95], method="nearest"), 2))
    print(f"held: {sum(held)} of 200")
    assert sum(held) >= 190
