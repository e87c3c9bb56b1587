"""Which loads a selftest measures and what it concludes, on machines that are made up."""

from dataclasses import replace

import pytest

from bench.app.selftest.ladder import (
    EVENTS,
    REQUESTS,
    Ladder,
    Limit,
    bound,
    error_ms,
    limit,
    next_streams,
    quick,
    streams_at,
)
from bench.app.selftest.measure import LoadResult
from bench.truth.server import StampErrors
from tests.bench.app.selftest.machines import Machine, result

GOOD = Machine()


def climb(machine: Machine, ladder: Ladder = EVENTS) -> list[LoadResult]:
    results: list[LoadResult] = []
    while streams := next_streams(ladder, results):
        results.append(machine.measure(ladder, streams))
        assert len(results) < 12
    return results


def streams_of(results: list[LoadResult]) -> list[int]:
    return [result.case.streams for result in results]


def test_loads_double_until_the_error_passes_two_ms_and_one_more_lies_between() -> None:
    results = climb(Machine(exact_up_to=1_000))
    assert streams_of(results) == [200, 400, 800, 1600, 1131]
    assert limit(EVENTS, results) == Limit(EVENTS.per_s(results[2]), "error")


def test_the_load_between_counts_when_it_is_exact() -> None:
    results = climb(Machine(exact_up_to=1_200))
    assert limit(EVENTS, results) == Limit(EVENTS.per_s(results[-1]), "error")


def test_a_client_whose_core_is_full_has_its_limit_at_what_it_reached() -> None:
    results = climb(Machine(client_up_to=60_000))
    assert streams_of(results) == [200, 400, 800]
    assert limit(EVENTS, results) == Limit(60_000, "client")


def test_a_server_that_can_send_no_more_leaves_the_limit_open() -> None:
    results = climb(Machine(server_up_to=60_000))
    assert limit(EVENTS, results) == Limit(60_000, "server")


@pytest.mark.parametrize("machine", [Machine(exact_up_to=300, others=0.3), Machine(client_up_to=30_000, others=0.3)])
def test_others_on_the_clients_core_leave_the_limit_open(machine: Machine) -> None:
    results = climb(machine)
    assert limit(EVENTS, results).bounded_by == "others"


def test_others_who_did_no_harm_are_no_bound() -> None:
    assert bound(EVENTS, replace(result(EVENTS, 200), other_fraction=0.5)) is None


def test_loads_go_down_where_the_first_is_too_much_already() -> None:
    results = climb(Machine(exact_up_to=60))
    assert streams_of(results) == [200, 100, 50, 71]
    assert limit(EVENTS, results) == Limit(EVENTS.per_s(results[2]), "error")


def test_a_machine_that_is_never_exact_ends_at_the_fewest_streams_with_a_limit_of_none() -> None:
    results = climb(Machine(exact_up_to=0), replace(EVENTS, least_streams=4))
    assert streams_of(results) == [200, 100, 50, 25, 12, 6]
    assert limit(EVENTS, results) == Limit(0.0, "error")


def test_a_ladder_that_ends_by_itself_leaves_the_limit_open() -> None:
    results = climb(GOOD, replace(EVENTS, most_streams=1000))
    assert streams_of(results) == [200, 400, 800]
    assert limit(EVENTS, results) == Limit(EVENTS.per_s(results[-1]), None)


def test_a_quick_ladder_has_larger_steps_and_nothing_between_them() -> None:
    results = climb(Machine(exact_up_to=1_000), quick(EVENTS))
    assert streams_of(results) == [200, 800, 3200]
    assert results[0].case.requests < EVENTS.case(200).requests


def test_an_exact_load_above_one_that_was_not_does_not_count() -> None:
    results = [
        result(EVENTS, 200),
        replace(result(EVENTS, 400), gap=StampErrors(9, 1.0, 3.0, 4.0)),
        result(EVENTS, 800),
    ]
    assert limit(EVENTS, results) == Limit(EVENTS.per_s(results[0]), "error")


def test_one_hiccup_is_no_limit_but_an_event_that_never_arrived_is() -> None:
    hiccup = replace(result(EVENTS, 200), gap=StampErrors(10_000, 0.001, 0.01, 90.0))
    assert bound(EVENTS, hiccup) is None
    assert bound(EVENTS, replace(hiccup, lost=1)) == "error"


def test_the_error_is_the_worse_of_first_tokens_and_gaps_and_unknown_with_either() -> None:
    fine = StampErrors(100, 0.001, 0.5, 1.0)
    assert error_ms(replace(result(EVENTS, 200), first_token=fine)) == 0.5
    assert error_ms(replace(result(EVENTS, 200), gap=fine)) == 0.5
    unknown = replace(result(EVENTS, 200), first_token=StampErrors(0, None, None, None))
    assert error_ms(unknown) is None
    assert bound(EVENTS, unknown) == "error"


def test_each_ladder_asks_for_rates_of_its_own_kind() -> None:
    assert EVENTS.asked_per_s(84) == pytest.approx(8_000)  # 80 tokens in 0.84 s
    assert REQUESTS.asked_per_s(20) == pytest.approx(1_000)  # one in 20 ms
    assert REQUESTS.case(32).requests == 32 * 100


def test_a_rate_of_events_is_so_many_streams() -> None:
    assert streams_at(6_000.0) == {30: 200, 50: 120, 100: 60}
