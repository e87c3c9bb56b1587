"""The energy of a run, and of what was served with it."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analysis.run.energy import coverage, of_card, of_run
from analysis.run.sections import GpuUse, Throughput
from analysis.run.window import Window
from tests.summaries import manifest_of

SECOND = 1_000_000_000
SPAN = Window(10 * SECOND, 110 * SECOND)
SERVED = Throughput(requests_per_s=2.0, output_tokens_per_s=100.0, total_tokens_per_s=400.0)
CARD = GpuUse(index=0, energy_j=30_000.0, energy_source="counter", energy_coverage=0.99)
NONE = (np.empty(0), np.empty(0))


def sampled(t_s: Any, values: Any) -> Any:
    return np.asarray(t_s, dtype=np.float64) * SECOND, np.asarray(values, dtype=np.float64)


def test_what_a_token_and_a_request_took_is_the_energy_over_what_was_served_in_the_window() -> None:
    found = of_run(manifest_of({}), [CARD, replace(CARD, index=1, energy_source="power")], SERVED, SPAN)
    assert found is not None
    assert (found.gpus, found.joules, found.source, found.coverage) == (2, 60_000.0, "both", 0.99)
    assert (found.joules_per_output_token, found.joules_per_token, found.joules_per_request) == (6.0, 1.5, 300.0)
    assert found.output_tokens_per_joule == pytest.approx(1 / 6)
    assert found.wh_per_1000_requests == pytest.approx(300_000 / 3600)
    assert (found.gco2e, found.gco2e_per_1000_requests, found.grid_gco2e_per_kwh) == (None, None, None)


def test_emissions_are_told_with_a_factor_of_the_users_only() -> None:
    found = of_run(manifest_of({"grid_gco2e_per_kwh": "360"}), [CARD], SERVED, SPAN)
    assert found is not None
    assert [found.gco2e, found.gco2e_per_1000_requests] == [pytest.approx(3.0), pytest.approx(15.0)]


def test_energy_of_a_run_is_not_known_where_one_of_its_cards_was_not_watched_enough() -> None:
    half = GpuUse(index=1, energy_coverage=0.5)
    found = of_run(manifest_of({}), [CARD, half], SERVED, SPAN)
    assert found is not None and found.joules is None and found.joules_per_request is None
    assert found.why == "only 50% of the window was watched of one GPU; 90% are needed"


def test_cards_of_the_clients_machine_are_none_of_a_server_elsewhere() -> None:
    elsewhere: dict[str, Any] = {"telemetry": {"server_is_here": False}}
    found = of_run(manifest_of(elsewhere), [CARD], SERVED, SPAN)
    assert found is not None and found.joules is None and "--metrics-url" in str(found.why)
    assert found.gpus == 0
    elsewhere["telemetry"]["gpus"] = [{"index": 0, "url": "http://gpu:9400/metrics"}]
    found = of_run(manifest_of(elsewhere), [CARD], SERVED, SPAN)
    assert found is not None and found.joules == 30_000.0


def test_rates_that_are_not_known_leave_the_energy_of_the_window() -> None:
    found = of_run(manifest_of({}), [CARD], Throughput(), SPAN)
    assert found is not None
    assert (found.joules, found.joules_per_output_token, found.wh_per_1000_requests) == (30_000.0, None, None)


def test_no_card_is_no_energy() -> None:
    assert of_run(manifest_of({}), [], SERVED, SPAN) is None


def test_a_gap_is_not_covered_and_an_interval_at_the_ends_is() -> None:
    t_s = np.arange(11, 110)
    assert coverage(sampled(t_s, t_s)[0], SPAN) == 1.0
    with_gap = t_s[(t_s < 40) | (t_s > 60)]
    assert coverage(sampled(with_gap, with_gap)[0], SPAN) == pytest.approx(0.78)
    assert coverage(sampled([20], [1])[0], SPAN) == 0.0


def test_a_counter_that_stands_still_is_not_believed_beside_a_power() -> None:
    t_s = np.arange(0, 121)
    found = of_card(sampled(t_s, np.full(121, 250.0)), sampled(t_s, np.full(121, 9.0)), SPAN)
    assert list(found) == [pytest.approx(25_000.0), "power", 1.0]


def test_a_counter_alone_that_began_anew_goes_on_as_it_went() -> None:
    t_s = np.arange(0, 121)
    counted = np.where(t_s < 50, 250.0 * t_s + 7e5, 250.0 * (t_s - 50))
    assert list(of_card(NONE, sampled(t_s, counted), SPAN)) == [pytest.approx(25_000.0), "counter", 1.0]
