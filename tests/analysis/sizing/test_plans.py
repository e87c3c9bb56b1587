"""Which GPUs hold a model and serve a load, for how much, and which numbers about it are refused."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.money.gpu_prices import GpuPrice
from analysis.sizing import gpus, memory, plans, roofline
from analysis.sizing.architecture import Architecture, count
from analysis.sizing.memory import GIB, Model
from analysis.sizing.plans import Bound, ClaimedThroughput, Demand, Fit, Measured, ReplicaNeed
from analysis.sizing.roofline import CAUTIOUS, HOPEFUL, PERFECT
from bench.types import UserError

ASSUMED = CAUTIOUS, HOPEFUL
LLAMA_8B = Architecture(32, 4096, 32, 8, 128, 14336, 128256, False)
LLAMA_2_70B = Architecture(80, 8192, 64, 8, 128, 28672, 32000, False)
MIXTRAL = Architecture(32, 4096, 32, 8, 128, 14336, 32000, False, experts=8, active_experts=2)


def model(shape: Architecture = LLAMA_8B, quantization: str = "bf16") -> Model:
    parameters = count(shape)
    return Model("model", shape, parameters, memory.weights(parameters, quantization))


def fit(name: str = "h100-sxm", tensor_parallel: int = 1, of: Model | None = None, tokens: int = 700) -> Fit:
    return plans.fits(of or model(), gpus.find(name), ReplicaNeed(tokens), [tensor_parallel])[0]


def demand(rate: float = 4.0, utilization: float = 0.7, **bounds_s: float) -> Demand:
    named: Mapping[Bound, float] = bounds_s  # type: ignore[assignment]
    return Demand(rate, 500, 200, named, utilization)


def price(gpu: str, low: str, high: str | None = None, *, kind: str = "on_demand", host: bool = True) -> GpuPrice:
    return GpuPrice("there", gpu, kind, Decimal(low), Decimal(high or low), host, date(2026, 11, 1), "a page")


# --- memory -----------------------------------------------------------------------------------------------------


def test_a_model_is_laid_out_on_every_number_of_gpus_that_its_heads_allow() -> None:
    laid_out = plans.fits(model(), gpus.find("l4"), ReplicaNeed(4096))
    assert [fit.tensor_parallel for fit in laid_out] == [1, 2, 4, 8]
    assert [fit.sequences for fit in laid_out] == sorted(fit.sequences for fit in laid_out)
    one = laid_out[0].memory
    assert one.kv_bytes == 24 * GIB * 92 // 100 - model().weights.total_bytes - 3 * GIB // 2
    assert laid_out[0].sequences == one.kv_bytes // (4096 * 131_072)


def test_what_does_not_fit_says_what_is_short() -> None:
    mixtral = model(MIXTRAL, "awq")
    need = ReplicaNeed(4096, concurrency=8)
    assert plans.shortage(plans.fits(mixtral, gpus.find("rtx-4090"), need)[0], need) == (
        "22.96 GiB of weights, 22.07 GiB usable"
    )
    assert plans.shortage(plans.fits(model(), gpus.find("l4"), replace(need, overhead_bytes=8 * GIB))[0], need) == (
        "14.96 GiB of weights and 8.00 GiB of overhead, 22.08 GiB usable"
    )
    lots = replace(need, concurrency=12)
    assert plans.shortage(plans.fits(model(), gpus.find("l4"), lots)[0], lots) == (
        "5.62 GiB of KV space hold 11 sequences of 4,096 tokens"
    )
    assert plans.shortage(plans.fits(model(), gpus.find("l4"), need)[0], need) is None


# --- speed ------------------------------------------------------------------------------------------------------


def test_a_replica_is_filled_until_one_more_request_breaks_an_objective() -> None:
    wanted = demand(tpot=0.02)
    found = plans.estimate(model(), fit(), ReplicaNeed(700), wanted, CAUTIOUS)
    assert found is not None and found.limit == "objective"
    on = plans.hardware(gpus.find("h100-sxm"), 1, "bf16")
    one_more = plans.pace(model(), int(found.pace.batch) + 1, wanted, on, CAUTIOUS, 2)
    assert found.pace.tpot_s < 0.02 <= one_more.tpot_s


@pytest.mark.parametrize(
    ("gpu", "quantization", "prompt_tokens", "output_tokens", "limit"),
    [
        ("l4", "bf16", 500, 500, "memory"),
        ("l40s", "bf16", 10, 200, "engine"),
        ("h100-sxm", "bf16", 2000, 50, "compute"),
        ("a100-80-sxm", "awq", 100, 2000, "bandwidth"),
    ],
)
def test_what_keeps_a_replica_from_more_is_named(
    gpu: str, quantization: str, prompt_tokens: int, output_tokens: int, limit: str
) -> None:
    wanted = Demand(1.0, prompt_tokens, output_tokens, {})
    of = model(quantization=quantization)
    found = plans.estimate(of, fit(gpu, of=of), ReplicaNeed(700), wanted, CAUTIOUS)
    assert found is not None
    assert found.limit == limit


def test_a_load_whose_objectives_one_request_alone_breaks_has_no_plan_and_a_reason() -> None:
    strict = demand(ttft=0.001, tpot=0.5)
    assert plans.plan(model(), fit(), ReplicaNeed(700), strict, ASSUMED, None) is None
    assert plans.unmet(model(), fit(), ReplicaNeed(700), strict, HOPEFUL) == "a single request has at best ttft 19 ms"


def test_a_load_that_only_the_hopeful_efficiency_serves_has_no_upper_end() -> None:
    on = plans.hardware(gpus.find("h100-sxm"), 1, "bf16")
    alone = [plans.pace(model(), 1, demand(), on, efficiency, 2).tpot_s for efficiency in ASSUMED]
    between = demand(tpot=sum(alone) / 2)
    made = plans.plan(model(), fit(), ReplicaNeed(700), between, ASSUMED, price("h100-sxm", "2.69"))
    assert made is not None and made.cautious is None and made.hopeful is not None
    assert (made.replicas[1], made.usd_per_month and made.usd_per_month[1]) == (None, None)


@given(st.floats(0.001, 1e5), st.floats(0.001, 1e4), st.floats(0.05, 1.0))
def test_replicas_carry_the_load_within_their_utilization_and_one_fewer_does_not(
    rate: float, capacity: float, utilization: float
) -> None:
    needed = plans.replicas(demand(rate, utilization), capacity)
    assert needed * capacity * utilization >= rate * (1 - 1e-9)
    assert needed == 1 or (needed - 1) * capacity * utilization < rate * (1 + 1e-9)


def test_only_objectives_that_a_roofline_can_speak_of_are_taken_the_tightest_of_each() -> None:
    assert plans.bounds_s({"tpot_ms": 50, "itl_ms": 40, "ttft_ms": 500}) == {"tpot": 0.04, "ttft": 0.5}
    with pytest.raises(UserError, match=r"--slo lateness_ms: a roofline knows only ttft_ms, .*; leave it out"):
        plans.bounds_s({"lateness_ms": 5})


# --- money ------------------------------------------------------------------------------------------------------


def test_a_month_costs_every_gpu_of_every_replica_for_730_hours() -> None:
    of = model(quantization="awq")
    made = plans.plan(of, fit("t4", 2, of), ReplicaNeed(700), demand(rate=40.0), ASSUMED, price("t4", "0.35", "0.50"))
    assert made is not None and made.usd_per_month is not None and made.cautious is not None
    fewest, most = made.replicas
    assert most is not None and fewest < most
    assert made.usd_per_month == (fewest * 2 * 730 * Decimal("0.35"), most * 2 * 730 * Decimal("0.50"))


def test_without_a_load_one_replica_is_priced() -> None:
    made = plans.plan(model(), fit(), ReplicaNeed(700), None, ASSUMED, price("h100-sxm", "2"))
    assert made is not None
    assert (made.replicas, made.usd_per_month, made.hopeful) == ((1, 1), (Decimal(1460), Decimal(1460)), None)


def test_plans_are_ranked_by_what_they_cost_at_most_and_those_without_a_price_come_last() -> None:
    def made(gpu: str, tensor_parallel: int, *amounts: str) -> plans.ReplicaPlan:
        row = price(gpu, *amounts) if amounts else None
        found = plans.plan(model(), fit(gpu, tensor_parallel), ReplicaNeed(700), None, ASSUMED, row)
        assert found is not None
        return found

    wide, narrow = made("h100-sxm", 1, "1", "9"), made("h200", 1, "3", "4")
    large, small = made("l4", 4), made("l4", 2)
    may_fail = narrow._replace(replicas=(1, None), usd_per_month=(Decimal(1), None))
    assert plans.ranked([large, may_fail, small, wide, narrow]) == [narrow, wide, may_fail, small, large]


def test_the_price_of_a_gpu_is_the_lowest_on_demand_with_its_host() -> None:
    t4 = gpus.find("t4")
    alone, whole, spot = price("t4", "0.35", host=False), price("t4", "0.526"), price("t4", "0.1", kind="spot")
    assert plans.cheapest(t4, [alone, whole, spot, price("l4", "0.01")]) is whole
    assert plans.cheapest(t4, [alone, spot]) is alone
    assert plans.cheapest(t4, [spot]) is None


# --- numbers of others ------------------------------------------------------------------------------------------


def test_a_70b_at_3245_tokens_per_s_on_four_t4_is_refused_whatever_its_batch() -> None:
    four_t4 = plans.hardware(gpus.find("t4"), 4, "awq")
    of = model(LLAMA_2_70B, "awq")
    with pytest.raises(UserError, match=r"--claimed: 3,245 output tokens/s are above the roofline of 1,885 at any"):
        plans.check(of, four_t4, ClaimedThroughput(3245, None, 0))
    plans.check(of, four_t4, ClaimedThroughput(1884, None, 0))
    with pytest.raises(UserError, match=r"above the roofline of 280 at 8 sequences: it takes 36.61 GB of weights"):
        plans.check(of, four_t4, ClaimedThroughput(1884, 8, 0))


def test_a_claim_about_experts_is_held_against_those_of_one_token_only() -> None:
    on = plans.hardware(gpus.find("h100-sxm"), 1, "awq")
    of = model(MIXTRAL, "awq")
    few, every = (roofline.decode_tokens_per_s(8, plans.work(of, n, 100), on) for n in (1, 8))
    assert every < 0.5 * few
    plans.check(of, on, ClaimedThroughput(0.99 * few, 8, 100))
    with pytest.raises(UserError, match="--claimed"):
        plans.check(of, on, ClaimedThroughput(1.01 * few, 8, 100))


@pytest.mark.parametrize("shape", [LLAMA_8B, MIXTRAL])
def test_a_calibrated_roofline_gives_the_measured_run_back(shape: Architecture) -> None:
    of = model(shape, "awq")
    on = plans.hardware(gpus.find("h100-sxm"), 1, "awq")
    run = Measured(output_tokens_per_s=700.0, batch=16, prompt_tokens=500, output_tokens=200)
    efficiency = plans.calibrate(of, on, run)
    assert 0 < efficiency.decode == efficiency.prefill < 1
    again = plans.pace(of, 16, demand(), on, efficiency, 2)
    assert again.requests_per_s * 200 == pytest.approx(700.0)


def test_a_measured_run_above_the_roofline_is_refused_with_the_reason() -> None:
    on = plans.hardware(gpus.find("l4"), 1, "bf16")
    with pytest.raises(
        UserError, match=r"--measured: 700 output tokens/s are above the roofline of .* at 16 sequences"
    ):
        plans.calibrate(model(), on, Measured(700.0, 16, 500, 200))


def test_a_measured_run_that_only_cached_prompts_explain_is_refused_too() -> None:
    on = plans.hardware(gpus.find("h100-sxm"), 1, "bf16")
    run = Measured(0.0, 16, 4000, 20)
    decoding = roofline.decode_tokens_per_s(16, plans.work(model(), 16, 4010), on)
    with pytest.raises(UserError, match=r"with every prompt computed; were they cached\?"):
        plans.calibrate(model(), on, run._replace(output_tokens_per_s=0.9 * decoding))


def test_perfect_efficiency_is_the_roofline_itself() -> None:
    on = plans.hardware(gpus.find("h100-sxm"), 1, "bf16")
    best = plans.pace(model(), 16, demand(), on, PERFECT, 2)
    assert plans.calibrate(model(), on, Measured(best.requests_per_s * 200, 16, 500, 200)).decode == pytest.approx(1)


# --- what cannot be ---------------------------------------------------------------------------------------------


def test_a_model_that_does_not_fit_serves_nothing_and_says_what_is_short_as_size_does() -> None:
    found = plans.most(model(MIXTRAL, "awq"), gpus.find("rtx-4090"), 1, demand())
    assert found == ("22.96 GiB of weights, 22.07 GiB usable", None)
    assert plans.most(model(MIXTRAL, "awq"), gpus.find("rtx-4090"), 2, demand()).shortage is None


@pytest.mark.parametrize(("gpu_count", "divided"), [(1, True), (3, False), (8, True), (16, True)])
def test_gpus_that_the_heads_cannot_be_divided_over_are_still_bounded(gpu_count: int, divided: bool) -> None:
    assert bool(memory.splits(LLAMA_8B, [gpu_count])) is divided
    found = plans.most(model(), gpus.find("l4"), gpu_count, demand())
    assert found.shortage is None and found.requests_per_s is not None


@given(
    st.sampled_from(sorted(gpus.gpus())),
    st.integers(1, 4000),
    st.integers(1, 2000),
    st.integers(0, 4000),
    st.sampled_from([1, 2, 3, 4]),
)
def test_no_plan_of_size_is_above_the_ceiling_and_a_cached_prefix_only_lifts_it(
    gpu: str, prompt_tokens: int, output_tokens: int, prefix_tokens: int, gpu_count: int
) -> None:
    plain = Demand(1.0, prompt_tokens, output_tokens, {})
    cached = replace(plain, prefix_tokens=min(prefix_tokens, prompt_tokens))
    found, with_cache = (plans.most(model(), gpus.find(gpu), gpu_count, load) for load in (plain, cached))
    if found.requests_per_s is not None:
        assert with_cache.requests_per_s is not None and with_cache.requests_per_s >= found.requests_per_s * (1 - 1e-9)
    for load, ceiling in ((plain, found), (cached, with_cache)):
        need = ReplicaNeed(load.tokens, prefix_tokens=load.prefix_tokens)
        for laid_out in plans.fits(model(), gpus.find(gpu), need, [gpu_count]):
            best = plans.estimate(model(), laid_out, need, load, PERFECT)
            assert (ceiling.requests_per_s is None) == (best is None)
            if best and ceiling.requests_per_s:
                assert best.pace.requests_per_s <= ceiling.requests_per_s * (1 + 1e-9)
