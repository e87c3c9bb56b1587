import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis.money.cost import Charge, _per, run_cost
from analysis.money.gpu_prices import Hourly, pricing_of, stated
from analysis.run.window import Window, window
from bench.runs.sections import dump
from tests.fixtures.pinned_prices import DAY, pinned
from tests.summaries import manifest_of, summarize

SECOND = 1_000_000_000
HAIKU = {"provider": "anthropic", "model": "claude-haiku-4-5"}
CONTRACT = {"api_usd", "usd_per_request", "usd_per_million_output_tokens", "prices"}
UNIT_COSTS = {
    "usd_per_request", "usd_per_good_request", "usd_per_million_output_tokens", "usd_per_million_total_tokens",
}  # fmt: skip

SyntheticRun = Callable[..., tuple[dict[str, Any], pa.Table, pa.Table]]


@pytest.fixture(autouse=True)
def pinned_prices() -> Iterator[None]:
    with pinned():
        yield


@pytest.fixture
def cost_of(synthetic_run: SyntheticRun) -> Callable[..., dict[str, Any]]:
    """`cost_of(pricing, columns, **options)`: the cost of a synthetic run whose columns are replaced by those given."""

    def cost(
        pricing: dict[str, Any] | None,
        columns: dict[str, Any] | None = None,
        hourly: Hourly | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        run, table, _ = synthetic_run(**options)
        if hourly is not None:
            pricing = dump(pricing_of(hourly, None, None))
        run |= {"pricing": pricing, "created_at": DAY.isoformat()}
        for name, values in (columns or {}).items():
            at = table.schema.get_field_index(name)
            table = table.set_column(at, table.schema.field(at), pa.array(values, table.schema.field(at).type))
        priced = manifest_of(run)
        found: dict[str, Any] = dump(run_cost(priced, table, window(priced, table)))
        json.dumps(found, allow_nan=False)
        assert set(found) >= CONTRACT | UNIT_COSTS and set(found["ci95"]) == UNIT_COSTS
        return found

    return cost


# --- which basis --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pricing", [None, {}, {"provider": None, "model": None, "usd_per_hour": None, "gpu": None}])
def test_a_run_that_nobody_bills_has_no_cost(pricing: dict[str, Any] | None, synthetic_run: SyntheticRun) -> None:
    run, table, _ = synthetic_run(requests=3)
    span = window(manifest_of(run), table)
    assert run_cost(manifest_of(run | {"pricing": pricing}), table, span) is None
    assert run_cost(manifest_of(run), table, span) is None


# --- an API -------------------------------------------------------------------------------------------------------


def test_every_request_is_priced_by_its_own_usage_at_the_date_of_the_run(cost_of: Callable[..., Any]) -> None:
    cost = cost_of(HAIKU, requests=200, prompt_tokens=500, tokens=200)
    assert (cost["basis"], cost["priced_as"]) == (
        "api",
        "anthropic/claude-haiku-4-5 at $1.00 in, $5.00 out per million tokens",
    )
    assert cost["api_usd"] == 0.3
    assert cost["usd_per_request"] == 0.0015
    assert cost["usd_per_million_output_tokens"] == 7.5
    assert cost["usd_per_million_total_tokens"] == float(Decimal(300_000) / 140_000)
    assert cost["ci95"]["usd_per_request"] == [0.0015, 0.0015]
    assert cost["usd_per_good_request"] is None
    assert set(cost["prices"]) == {"source", "version", "as_of"}
    assert cost["notes"] == []


def test_a_tier_is_found_for_each_request_and_not_for_their_sum(cost_of: Callable[..., Any]) -> None:
    pricing = HAIKU | {"model": "claude-haiku-5-5"}
    cost = cost_of(pricing, {"prompt_tokens": [100_000, 100_001]}, requests=2, tokens=100)
    assert cost["api_usd"] == float(Decimal(".01005") + Decimal(".0502505"))


def test_cached_and_written_tokens_have_their_own_prices(cost_of: Callable[..., Any]) -> None:
    columns = {
        "prompt_tokens": [32_100],
        "cached_tokens": [30_000],
        "cache_write_tokens": [2000],
        "cache_write_1h_tokens": [500],
        "output_tokens": [200],
    }
    assert cost_of(HAIKU | {"model": "claude-sonnet-4-5"}, columns, requests=1)["api_usd"] == 0.020925


def test_the_warm_up_is_paid_and_not_in_the_price_of_a_request(cost_of: Callable[..., Any]) -> None:
    cost = cost_of(HAIKU, requests=100, warmup=50, prompt_tokens=500, tokens=200)
    assert cost["api_usd"] == 150 * 0.0015
    assert cost["usd_per_request"] == 0.0015


def test_refused_and_never_sent_requests_are_not_billed(cost_of: Callable[..., Any]) -> None:
    cost = cost_of(HAIKU, requests=100, failed=range(10), dropped=range(10, 15), prompt_tokens=500, tokens=200)
    assert cost["api_usd"] == float(85 * Decimal(".0015"))
    assert cost["notes"] == []


@pytest.mark.parametrize("error", ["overloaded", "rate_limited", "error_event", "connect_refused"])
def test_an_error_of_the_api_inside_a_200_is_not_billed(error: str, cost_of: Callable[..., Any]) -> None:
    columns = {"error": [error, None], "status": [200, 200]}
    assert cost_of(HAIKU, columns, requests=2, prompt_tokens=500, tokens=200)["api_usd"] == 0.0015


@pytest.mark.parametrize("error", ["timeout", "stall", "cut_stream", "reset"])
def test_a_request_that_may_have_been_billed_makes_the_bill_unknown_and_not_a_part(
    error: str, cost_of: Callable[..., Any]
) -> None:
    columns = {"error": [error, None, None], "status": [200] * 3}
    cost = cost_of(HAIKU, columns, requests=3, prompt_tokens=500, tokens=200, slo=["ttft_ms<1000"])
    assert (cost["api_usd"], cost["usd_per_good_request"]) == (None, None)
    assert cost["usd_per_request"] == 0.0015
    assert cost["notes"] == [
        f"the amount paid is not known: {error} requests may have been billed but reported no usage (1 of 3 requests)"
    ]


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"token_source": ["chunk count", "server usage"]}, "the server reported no usage (1 of 2 requests)"),
        ({"prompt_tokens": [None, 500]}, "a usage without prompt and output tokens cannot be priced (1 of 2 requests)"),
        (
            {"service_tier": ["priority", "standard"]},
            "anthropic/claude-haiku-4-5: no price of tier 'priority' is known",
        ),
    ],
)
def test_a_success_without_a_price_makes_every_figure_unknown(
    columns: dict[str, Any], reason: str, cost_of: Callable[..., Any]
) -> None:
    cost = cost_of(HAIKU, columns, requests=2)
    assert {name: cost[name] for name in (*UNIT_COSTS, "api_usd")} == dict.fromkeys((*UNIT_COSTS, "api_usd"))
    assert reason in cost["notes"][0]


def test_a_request_of_another_service_tier_has_that_tier_s_price(cost_of: Callable[..., Any]) -> None:
    pricing = {"provider": "openai", "model": "gpt-9"}
    cost = cost_of(pricing, {"service_tier": ["flex", "default"]}, requests=2, prompt_tokens=1000, tokens=100)
    assert cost["api_usd"] == 0.0045


def test_a_model_without_a_price_says_so_and_costs_unknown_and_not_nothing(cost_of: Callable[..., Any]) -> None:
    cost = cost_of(HAIKU | {"model": "claude-hauku-4-5"}, requests=2)
    assert (cost["api_usd"], cost["usd_per_request"]) == (None, None)
    assert cost["notes"][0].startswith(
        "model 'claude-hauku-4-5': no price is known at anthropic; did you mean claude-h"
    )


def test_good_requests_carry_what_was_paid_for_the_others(cost_of: Callable[..., Any]) -> None:
    ttft = {"first_token_ns": [10_000_000] * 150 + [900_000_000_000] * 50, "sent_ns": [0] * 200}
    cost = cost_of(HAIKU, ttft, requests=200, prompt_tokens=500, tokens=200, slo=["ttft_ms<500"])
    assert cost["usd_per_request"] == 0.0015
    assert cost["usd_per_good_request"] == 0.002
    low, high = cost["ci95"]["usd_per_good_request"]
    # 150 of 200: the share is known to within 6 points, the price per good request to within 8%.
    assert low == pytest.approx(0.002 * 0.92, rel=0.02)
    assert high == pytest.approx(0.002 * 1.08, rel=0.02)


def test_no_good_request_has_no_price(cost_of: Callable[..., Any]) -> None:
    assert cost_of(HAIKU, requests=20, slo=["ttft_ms<1"])["usd_per_good_request"] is None


def test_caching_that_was_asked_for_and_did_nothing_is_warned_of(cost_of: Callable[..., Any]) -> None:
    asked = HAIKU | {"cache_ttl": "5m"}
    short = cost_of(asked, requests=10, prompt_tokens=500)
    assert short["notes"][0].startswith("claude-haiku-4-5 caches no prompt below 4,096 tokens: 500 are billed as plain")
    plain = cost_of(HAIKU, requests=10, prompt_tokens=500)
    assert (short["api_usd"], plain["notes"]) == (plain["api_usd"], [])
    long = cost_of(asked, requests=10, prompt_tokens=5000)
    assert long["notes"] == ["caching was requested, but no prompt was cached"]
    assert cost_of(asked, {"cached_tokens": [0, 4500]}, requests=2, prompt_tokens=5000)["notes"] == []


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(3)
    held = 0
    for _ in range(400):
        tokens = rng.integers(50, 500, 60)
        charges: list[Charge] = [Decimal(int(n)) * 5 / 1_000_000 + Decimal(".0005") for n in tokens]
        low, high = _per(charges, tokens.astype(float), 1_000_000).ci95
        assert low is not None and high is not None
        held += low <= 5 + 500 / 274.5 <= high
    assert 0.91 < held / 400 < 0.985
    usd = [Decimal(1), Decimal(3)]
    figure = _per(usd, np.ones(2))
    assert figure.usd == 2.0
    assert figure.ci95[1] == pytest.approx(2 + 15.8945, rel=1e-4)  # Student's t for 96%, one degree of freedom
    alone = _per(usd[:1], np.ones(1))
    assert (alone.usd, alone.ci95) == (1.0, (None, None))


def test_ten_thousand_different_requests_are_priced_to_the_last_digit(cost_of: Callable[..., Any]) -> None:
    rng = np.random.default_rng(1)
    columns = {"prompt_tokens": rng.integers(1, 100_000, 10_000), "output_tokens": rng.integers(1, 4000, 10_000)}
    cost = cost_of(HAIKU, columns, requests=10_000, tokens=1)
    exact = columns["prompt_tokens"].sum() + 5 * columns["output_tokens"].sum()
    assert cost["api_usd"] == int(exact) / 1_000_000


# --- a deployment of one's own ------------------------------------------------------------------------------------


def test_a_request_costs_an_hour_over_what_is_served_in_one(
    synthetic_run: SyntheticRun, cost_of: Callable[..., Any]
) -> None:
    options = {"requests": 400, "rate_per_s": 20, "duration_s": 20.0, "slo": ["ttft_ms<80"], "seed": 4}
    cost = cost_of(None, hourly=stated(Decimal("0.36")), **options)
    served = summarize(*synthetic_run(**options))["throughput"]
    assert cost["usd_per_request"] == pytest.approx(0.0001 / served["requests_per_s"])
    assert cost["usd_per_good_request"] == pytest.approx(0.0001 / served["goodput_rps"])
    assert cost["usd_per_million_output_tokens"] == pytest.approx(100 / served["output_tokens_per_s"])
    assert cost["usd_per_million_total_tokens"] == pytest.approx(100 / served["total_tokens_per_s"])
    assert (cost["basis"], cost["api_usd"], cost["usd_per_hour"]) == ("self-hosted", None, [0.36, 0.36])
    assert cost["prices"] == {"source": "given by the user", "version": None, "as_of": None}
    assert cost["notes"] == [
        f"at the load of this run, {served['requests_per_s']:.3g} requests/s; idle hours cost the same"
    ]


def test_the_manifest_s_price_of_an_hour_is_used_and_wins_over_an_api_s(cost_of: Callable[..., Any]) -> None:
    hourly = Hourly(Decimal("0.45"), Decimal("0.875"), "1 x rtx-4090@vast", date(2026, 6, 30), ("old",))
    cost = cost_of(HAIKU | dump(pricing_of(hourly, "rtx-4090@vast", None)), requests=100)
    assert (cost["basis"], cost["usd_per_hour"]) == ("self-hosted", [0.45, 0.875])
    assert cost["prices"] == {"source": "1 x rtx-4090@vast", "version": None, "as_of": "2026-06-30"}
    assert cost["notes"][0] == "old"
    assert cost["notes"][2] == "an hour costs $0.450 to $0.875; figures use the middle and scale with it"
    middle = cost_of(None, hourly=replace(hourly, usd_low=hourly.usd, usd_high=hourly.usd), requests=100)
    assert cost["usd_per_request"] == middle["usd_per_request"]


def test_the_interval_of_a_rate_is_wide_for_bursts_and_narrow_for_a_steady_stream(cost_of: Callable[..., Any]) -> None:
    def width(arrivals: str) -> float:
        options = {
            "requests": 2000,
            "rate_per_s": 100,
            "duration_s": 20.0,
            "tokens": 2,
            "arrivals": arrivals,
            "jitter": 0,
        }
        cost = cost_of(None, hourly=stated(Decimal("1")), **options)
        low, high = cost["ci95"]["usd_per_request"]
        assert low < cost["usd_per_request"] < high
        return float(high - low) / float(cost["usd_per_request"])

    assert width("constant") < 0.03
    # 2,000 Poisson arrivals are known to within 1.96 / sqrt(2,000), either side.
    assert width("poisson") == pytest.approx(2 * 1.96 / 2000**0.5, rel=0.5)


def test_a_short_window_has_a_price_and_no_interval(cost_of: Callable[..., Any]) -> None:
    cost = cost_of(None, hourly=stated(Decimal("1")), requests=25)
    assert cost["usd_per_request"] is not None
    assert cost["ci95"]["usd_per_request"] == [None, None]


def test_a_run_that_served_nothing_has_no_price_and_no_division_by_zero(
    synthetic_run: SyntheticRun, cost_of: Callable[..., Any]
) -> None:
    for options in ({"requests": 0}, {"requests": 20, "failed": range(20)}):
        cost = cost_of(None, hourly=stated(Decimal("1")), **options)
        assert {cost[name] for name in UNIT_COSTS} == {None}
    run, table, _ = synthetic_run(requests=50)
    run |= {"pricing": dump(pricing_of(stated(Decimal("1")), None, None))}
    empty = run_cost(manifest_of(run), table, Window(5 * SECOND, 5 * SECOND))
    assert empty is not None and empty.usd_per_request is None


def test_prompts_of_unknown_length_make_only_the_total_unknown(cost_of: Callable[..., Any]) -> None:
    cost = cost_of(None, {"prompt_tokens": [None] * 100}, hourly=stated(Decimal("1")), requests=100)
    assert cost["usd_per_million_total_tokens"] is None
    assert cost["usd_per_million_output_tokens"] is not None
