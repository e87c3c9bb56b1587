"""Searches for the capacity of servers in virtual time whose requests come in sessions, or are of several classes."""

import heapq
import math
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.capacity.probing import ProbedRun, bounds, probe, read
from analysis.capacity.search import Capacity, Limits, Probe, calls_needed, capacity, next_probe, requests_for
from analysis.present.of_capacity import line
from analysis.run import slo
from tests.virtual import KINDS, Floats, Server, services_s

SHARE = 0.9


class Machine(NamedTuple):
    """A server of so many slots, and the sessions that it serves: their mean turns and the mean pause between these."""

    slots: int
    service_s: float
    kind: str
    turns: int
    pause_s: float

    @property
    def ceiling_per_s(self) -> float:
        return self.slots / self.service_s


def serve(server: Machine, begins_s: Floats, end_s: float, rng: np.random.Generator) -> Floats:
    """(due, begin of the work, end, number in its session) of each turn that is due before the end."""
    slots, events, made = (
        Server(server.slots),
        list[tuple[float, int, int]](),
        list[tuple[float, float, float, float]](),
    )
    for number, at_s in enumerate(begins_s):
        heapq.heappush(events, (float(at_s), number, 0))
    lengths = rng.integers(1, 2 * server.turns, len(begins_s))
    while events:
        due_s, number, turn = heapq.heappop(events)
        if due_s >= end_s:
            continue
        works_s = float(services_s(server.kind, server.service_s, 1, rng)[0])
        begin_s = slots.begin_s(due_s, works_s)
        made.append((due_s, begin_s, begin_s + works_s, turn))
        if turn + 1 < lengths[number]:
            heapq.heappush(events, (begin_s + works_s + rng.exponential(server.pause_s), number, turn + 1))
    return np.array(sorted(made)).T


def find(server: Machine, seed: int) -> Capacity:
    """A whole search for a bound so wide that the ceiling decides; a closed loop had said half of it."""
    rng = np.random.default_rng(seed)
    limits = Limits(0.05, 2, server.ceiling_per_s / 2, server.service_s)
    probes = list[Probe]()
    while (wanted := next_probe(probes, limits)) is not None:
        rate, repeat = wanted
        seconds = requests_for(rate, max(100, calls_needed([SHARE])), server.turns * server.service_s) / rate
        ramp_s = 1.5 * (server.turns * server.service_s + (server.turns - 1) * server.pause_s)
        count = rng.poisson((ramp_s + seconds) * rate / server.turns)
        begins_s = np.sort(rng.uniform(0, ramp_s + seconds, count))
        due_s, begin_s, end_s, turn = serve(server, begins_s, ramp_s + seconds, rng)
        seen = due_s >= ramp_s
        keeps = begin_s - due_s < 200 * server.service_s
        of_run = ProbedRun(due_s[seen], end_s[seen], (end_s - due_s)[seen], (keeps[seen],), begins=turn[seen] == 0)
        probes.append(probe(of_run, (SHARE,), rate, repeat, "", stopped=False, turns=server.turns))
        assert len(probes) < 80
    return capacity(probes, limits)


def machine(seed: int) -> Machine:
    rng = np.random.default_rng(seed)
    service_s = float(np.exp(rng.uniform(math.log(0.05), math.log(5))))
    turns, pause_s = int(rng.integers(2, 10)), service_s * float(rng.uniform(0, 10))
    return Machine((1, 2, 4, 8)[rng.integers(4)], service_s, KINDS[rng.integers(len(KINDS))], turns, pause_s)


def holds(server: Machine, found: Capacity) -> bool:
    return found.low_per_s <= server.ceiling_per_s <= (found.high_per_s or math.inf)


def test_the_interval_of_a_search_of_sessions_holds_the_ceiling_in_requests() -> None:
    servers = [machine(seed) for seed in range(6)]
    assert sum(holds(server, find(server, seed)) for seed, server in enumerate(servers)) >= 5


@pytest.mark.slow
def test_proof_of_60_servers() -> None:
    """The figures of docs/costs.md: run with -s to print them."""
    servers = [machine(seed) for seed in range(60)]
    found = [find(server, seed) for seed, server in enumerate(servers)]
    shares = [each.rate_per_s / server.ceiling_per_s for server, each in zip(servers, found, strict=True)]
    print(sum(map(holds, servers, found)), np.round(np.quantile(shares, [0.05, 0.5, 0.95], method="nearest"), 2))
    assert sum(map(holds, servers, found)) >= 57


def test_sessions_of_one_turn_are_requests() -> None:
    due_s, keeps = np.arange(400) / 10, np.arange(400) % 20 > 0
    run = ProbedRun(due_s, due_s + 1 + 0.1 * due_s, np.ones(400), (keeps,))
    alone = probe(run, (SHARE,), 10.0, 0, "x", stopped=False)
    assert alone == probe(run._replace(begins=np.ones(400, bool)), (SHARE,), 10.0, 0, "x", stopped=False, turns=1.0)


# --- classes --------------------------------------------------------------------------------------------------------

OBJECTIVES = (
    slo.parse("service_ttft_ms:p90<80"),
    replace(slo.parse("service_ttft_ms:p50<60"), text="a: service_ttft_ms:p50<60", klass="a"),
    replace(slo.parse("service_ttft_ms:p50<40"), text="b: service_ttft_ms:p50<40", klass="b"),
)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_rate_is_met_where_every_class_meets_its_own_objective(data: st.DataObject, synthetic_run: Any) -> None:
    klass = data.draw(st.lists(st.sampled_from(["a", "b"]), min_size=60, max_size=60))
    limits = data.draw(st.tuples(*[st.sampled_from([70.0, 80.0, 90.0, 1e6])] * 3))
    _, table, _ = synthetic_run(requests=60, rate_per_s=20, seed=data.draw(st.integers(0, 5)))
    table = table.set_column(table.column_names.index("class"), "class", pa.array(klass))
    objectives = [replace(each, limit=limit) for each, limit in zip(OBJECTIVES, limits, strict=True)]
    for attainment in (None, 0.8):
        wanted = bounds(objectives, attainment)
        found = probe(read(table, wanted), [each.share for each in wanted], 20.0, 0, "x", stopped=False)
        expected, sizes = [], []
        for bound in wanted:
            own = [row for row in zip(table.to_pylist(), klass, strict=True) if bound.klass in (None, row[1])]
            good = sum(
                all(
                    row["first_token_ns"] - row["sent_ns"] < each.limit * 1e6
                    for each in bound.objectives
                    if each.klass in (None, name)
                )
                for row, name in own
            )
            expected.append(good >= bound.share * len(own) - 1e-9)
            sizes.append(len(own))
        assert found.among == tuple(sizes)
        assert found.outcome in ({True: "met", False: "missed"}[all(expected)], "saturated")


def test_a_class_of_few_requests_is_not_outvoted() -> None:
    """One request in twenty is of a class that always waits too long; all others are fast."""
    rare = np.arange(600) % 20 == 0
    run = ProbedRun(
        np.arange(600) / 10, np.arange(600) / 10 + 1, np.ones(600), (~rare, ~rare), (np.ones(600, bool), rare)
    )
    found = probe(run, (0.9, 0.9), 10.0, 0, "x", stopped=False, classes=(None, "rare"))
    assert (found.outcome, found.is_sure) == ("missed", True)
    assert line(found).startswith("10 requests/s: missed (95.0% met, 90.0% required, rare: 0.0% met, 90.0% required")
