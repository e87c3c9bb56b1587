"""The comparison of several runs a side: what it declares, how often it is wrong, and what it refuses."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.compare.comparable import check
from analysis.compare.comparison import Comparison, Run, compare
from analysis.compare.measures import thresholds
from analysis.run.same_requests import FITTED
from analysis.stats.distributions import Floats
from bench.runs.sections import dump
from bench.types import UserError
from tests.simulations import few_or_many

Runs = Callable[..., tuple[Run, ...]]
Tool = Callable[..., Any]
SPREAD = (0.99, 1.0, 1.01, 0.995, 1.005)
DEFAULTS = thresholds([])
FLIPPED = {"worse": "better", "better": "worse", "same": "same", "inconclusive": "inconclusive"}


def verdicts(found: Comparison) -> dict[str, str]:
    return {change.measure.name: change.verdict for change in found.changes}


@pytest.fixture
def around(summary: Tool) -> Callable[..., list[dict[str, Any]]]:
    """Summaries of runs whose first tokens come at about so many ms."""

    def build(ttft_ms: float, count: int = 5, **others: Any) -> list[dict[str, Any]]:
        return [summary(metrics={"ttft_ms": {"p50": ttft_ms * x, "p99": 3 * ttft_ms * x}}, **others)
                for x in SPREAD[:count]]  # fmt: skip

    return build


def test_a_slower_candidate_is_worse_with_its_interval(runs: Runs, around: Tool) -> None:
    found = compare(runs("a", around(100)), runs("b", around(110)), DEFAULTS)
    assert (found.verdict, found.unit) == ("worse", "run")
    change = found.changes[0]
    assert (change.measure.name, change.verdict) == ("ttft_ms:p50", "worse")
    assert (change.base, change.candidate) == pytest.approx((100, 110), rel=1e-4)
    assert change.change == pytest.approx(0.10)
    # Five logarithms with a standard deviation of 0.79%, t of 8 degrees: 10% -1.27 +1.28.
    assert change.ci95 == pytest.approx((math.exp(math.log(1.1) - 0.01153) - 1, math.exp(math.log(1.1) + 0.01153) - 1),
                                        abs=1e-4)  # fmt: skip
    assert verdicts(found)["requests_per_s"] == "same"


def test_more_per_second_is_better_and_less_is_worse(runs: Runs, around: Tool) -> None:
    base, candidate = runs("a", around(100)), runs("b", around(100, requests_per_s=5.0))
    assert verdicts(compare(base, candidate, DEFAULTS))["requests_per_s"] == "better"
    assert verdicts(compare(candidate, base, DEFAULTS))["requests_per_s"] == "worse"


def test_what_a_change_must_be_to_matter_is_the_users(runs: Runs, around: Tool) -> None:
    sides = runs("a", around(100)), runs("b", around(104))
    assert verdicts(compare(*sides, DEFAULTS))["ttft_ms:p50"] == "inconclusive"  # 4% ± 1.2%, 5% matter
    assert verdicts(compare(*sides, thresholds(["ttft_ms:p50=3%"])))["ttft_ms:p50"] == "worse"
    assert verdicts(compare(*sides, thresholds(["ttft_ms:p50=8%"])))["ttft_ms:p50"] == "same"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(50, 200), min_size=3, max_size=6), st.lists(st.floats(50, 200), min_size=3, max_size=6),
       st.integers(0, 30))  # fmt: skip
def test_swapped_sides_have_the_opposite_verdicts(
    runs: Runs, summary: Tool, first: list[float], second: list[float], failed: int
) -> None:
    base = runs("a", [summary(metrics={"ttft_ms": {"p50": x, "p99": 2 * x}}) for x in first])
    candidate = runs("b", [summary(metrics={"ttft_ms": {"p50": x, "p99": 2 * x}}, failed=failed) for x in second])
    there, back = (verdicts(compare(*sides, DEFAULTS)) for sides in ((base, candidate), (candidate, base)))
    assert back == {name: FLIPPED[verdict] for name, verdict in there.items()}


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(0.1, 1e4), min_size=3, max_size=7), st.lists(st.floats(0.1, 1e4), min_size=3, max_size=7),
       st.integers(0, 30))  # fmt: skip
def test_a_change_is_exactly_that_from_the_value_on_its_left_to_the_one_on_its_right(
    runs: Runs, summary: Tool, first: list[float], second: list[float], failed: int
) -> None:
    """Medians beside a change of means would contradict its sign where one run of several is far off."""
    base = runs("a", [summary(metrics={"ttft_ms": {"p50": x, "p99": 2 * x}}) for x in first])
    candidate = runs("b", [summary(metrics={"ttft_ms": {"p50": x, "p99": 2 * x}}, failed=failed) for x in second])
    for change in compare(base, candidate, DEFAULTS).changes:
        assert change.base is not None and change.candidate is not None and change.change is not None
        by = change.candidate - change.base if change.measure.is_share else change.candidate / change.base - 1
        assert change.change == pytest.approx(by, rel=1e-9, abs=1e-9)


def test_a_percentile_that_no_run_carries_is_left_out_and_one_that_some_do_is_inconclusive(
    runs: Runs, summary: Tool
) -> None:
    def build(*p99s: float | None) -> list[dict[str, Any]]:
        return [summary(metrics={"ttft_ms": {"p50": 100.0, "p99": p99}}) for p99 in p99s]

    nowhere = compare(runs("a", build(None, None, None)), runs("b", build(None, None, None)), DEFAULTS)
    assert "ttft_ms:p99" not in verdicts(nowhere)
    somewhere = compare(runs("a", build(300, 300, 300)), runs("b", build(300, None, 300)), DEFAULTS)
    change = next(change for change in somewhere.changes if change.measure.name == "ttft_ms:p99")
    assert (change.verdict, change.p, change.why) == ("inconclusive", None, "unknown in some of the runs")


def test_zeros_are_the_same_and_a_change_from_zero_has_no_ratio(runs: Runs, summary: Tool) -> None:
    nothing, something = ([summary(metrics={"itl_ms": {"p50": x, "p99": 9.0}})] * 3 for x in (0.0, 1.0))
    assert verdicts(compare(runs("a", nothing), runs("b", nothing), DEFAULTS))["itl_ms:p50"] == "same"
    changed = compare(runs("a", nothing), runs("b", something), DEFAULTS)
    assert verdicts(changed)["itl_ms:p50"] == "inconclusive"
    assert changed.changes[0].why == "a change from or to zero has no ratio"


def test_one_failure_in_each_run_is_no_regression_and_many_are(runs: Runs, summary: Tool) -> None:
    """Equal counts have no spread; what chance does to counts is taken for it."""
    clean, one, many = ([summary(planned=100, failed=n)] * 3 for n in (0, 1, 20))
    assert verdicts(compare(runs("a", clean), runs("b", one), DEFAULTS))["error_share"] == "inconclusive"
    found = compare(runs("a", clean), runs("b", many), DEFAULTS)
    assert verdicts(found)["error_share"] == "worse"
    assert found.changes[-1].change == pytest.approx(0.20)  # points, not a ratio


def test_a_dearer_candidate_is_worse(runs: Runs, summary: Tool) -> None:
    cheap, dear = ([summary(usd_per_request=usd * x) for x in SPREAD] for usd in (0.001, 0.0012))
    assert verdicts(compare(runs("a", cheap), runs("b", dear), DEFAULTS))["usd_per_request"] == "worse"


# --- how often it is wrong --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "comparisons"), [(3, 40), *(pytest.param(count, 200, marks=pytest.mark.slow) for count in (3, 5))]
)
def test_where_nothing_changed_at_most_one_comparison_in_twenty_says_so(
    simulated: Tool, runs: Runs, count: int, comparisons: int
) -> None:
    """With the thresholds that users get, and with none, where the statistics alone have to hold."""
    rng = np.random.default_rng(1)
    limits = (DEFAULTS, dict.fromkeys(DEFAULTS, 0.0))
    wrong = [0, 0]
    for _ in range(comparisons):
        base, candidate = runs("a", simulated(rng, count)), runs("b", simulated(rng, count))
        for i, limit in enumerate(limits):
            found = compare(base, candidate, limit)
            wrong[i] += bool(found.of("worse") or found.of("better"))
    assert max(wrong) <= comparisons / 20


@few_or_many("comparisons", 20, 100)
def test_a_tenth_more_to_the_first_token_is_found_with_five_runs_each(
    simulated: Tool, runs: Runs, comparisons: int
) -> None:
    rng = np.random.default_rng(2)
    found = [
        verdicts(compare(runs("a", simulated(rng, 5)), runs("b", simulated(rng, 5, slower=1.1)), DEFAULTS))
        for _ in range(comparisons)
    ]
    assert sum(each["ttft_ms:p50"] == "worse" for each in found) >= 0.9 * comparisons


def test_the_simulated_requests_depend_on_each_other_and_have_heavy_tails(simulate: Tool) -> None:
    """Otherwise the error rates above would say little."""
    ttft_ms: Floats = simulate(np.random.default_rng(3), 20, 1000)["ttft_ms"]
    x = ttft_ms - ttft_ms.mean(axis=1, keepdims=True)
    assert (x[:, 1:] * x[:, :-1]).mean() / (x * x).mean() > 0.15
    assert np.quantile(ttft_ms, 0.999) > 4 * np.median(ttft_ms)


# --- what it refuses and warns of -------------------------------------------------------------------------------


def checked(base: tuple[Run, ...], candidate: tuple[Run, ...], **given: bool) -> tuple[str, ...]:
    return check(base, candidate, **({"different_plans": False, "untrusted": False} | given))


def test_equal_runs_are_compared_without_a_word(runs: Runs, around: Tool) -> None:
    assert checked(runs("a", around(100)), runs("b", around(100))) == ()


def test_other_plans_are_refused_unless_asked_for(runs: Runs, around: Tool) -> None:
    sides = runs("a", around(100)), runs("b", around(100), plan_hash="1" * 64)
    with pytest.raises(UserError, match=r"different plans.*--different-plans"):
        checked(*sides)
    assert checked(*sides, different_plans=True) == (
        "the two sides have different plans: other requests were measured",
    )


def test_prompts_that_were_fitted_to_each_servers_tokenizer_are_compared_and_that_is_said(
    runs: Runs, around: Tool
) -> None:
    tokenizers = [{"words": words, "tokens_per_word": 1.0, "overhead_tokens": 1} for words in ("a b", "c d")]
    sides = [
        runs(name, around(100), plan_hash=name * 64, tokenizer={"exact": True, "source": "s", **tokenizer})
        for name, tokenizer in zip("ab", tokenizers, strict=True)
    ]
    assert checked(*sides) == (FITTED,)
    with pytest.raises(UserError, match="different plans"):
        checked(sides[0], runs("b", around(100), plan_hash="b" * 64, seed=2, tokenizer=dump(sides[1][0].run.tokenizer)))


def test_another_way_to_acknowledge_is_refused_unless_asked_for(runs: Runs, around: Tool) -> None:
    sides = runs("a", around(100)), runs("b", around(100), quick_ack=True)
    with pytest.raises(UserError, match=r"differ in --quick-ack.*--different-plans"):
        checked(*sides)
    assert checked(*sides, different_plans=True) == (
        "the runs differ in --quick-ack: a client of another kind was measured",
    )
    assert checked(runs("a", around(100)), runs("b", around(100), quick_ack=False)) == ()


def test_repeats_with_the_same_seeds_on_both_sides_have_the_same_plans(runs: Runs, around: Tool) -> None:
    sides = [
        sum((runs(f"{name}{seed}", around(100, 1), plan_hash=str(seed)) for seed in range(3)), ()) for name in "ab"
    ]
    assert checked(*sides) == ()


def test_an_invalid_run_is_refused_unless_asked_for(runs: Runs, summary: Tool) -> None:
    sides = runs("a", [summary()]), runs("b", [summary(status="invalid", message="none succeeded")])
    with pytest.raises(UserError, match=r"b0: not to be trusted: none succeeded.*--untrusted"):
        checked(*sides)
    assert checked(*sides, untrusted=True) == ("b0 is invalid: none succeeded",)


def test_what_several_runs_are_suspect_of_is_said_once(runs: Runs, summary: Tool) -> None:
    busy = summary(status="suspect", message="the machine was busy")
    said = checked(runs("a", [summary(), busy, busy]), runs("b", [busy] * 3))
    assert said == ("a1 and 4 more of 6 runs are suspect: the machine was busy",)


def test_what_differs_beside_the_candidate_is_warned_of(runs: Runs, around: Tool) -> None:
    other = {
        "server": {"name": "vLLM", "version": "0.11"},
        "hardware": {"cpu": "a CPU", "cores": 2, "os": "Linux",
                     "gpus": [{"name": "L40S", "driver": None, "memory_bytes": 1}]},
    }  # fmt: skip
    said = checked(runs("a", around(100)), runs("b", around(100), **other))
    assert said == (
        "different server version: llama.cpp b1, then vLLM 0.11",
        "different GPUs: none, then L40S (driver unknown)",
    )


def test_cards_that_exporters_told_of_are_those_of_the_server(runs: Runs, around: Tool) -> None:
    def on(*names: str) -> dict[str, Any]:
        cards = [{"index": i, "name": name, "url": "http://gpu:9400/metrics"} for i, name in enumerate(names)]
        return {"telemetry": {"server_is_here": False, "gpus": cards}}

    said = checked(runs("a", around(100), **on("L4", "L4")), runs("b", around(100), **on("L4", "H100")))
    assert said == ("different GPUs: L4, L4, then H100, L4",)
    assert checked(runs("c", around(100), **on("L4")), runs("d", around(100), **on("L4"))) == ()


@pytest.mark.parametrize("counts", [(1, 3), (2, 2), (5, 2)])
def test_too_few_runs_to_know_their_spread_are_refused(runs: Runs, around: Tool, counts: tuple[int, int]) -> None:
    with pytest.raises(UserError, match="expected one on each side, or 3 and more on both"):
        checked(*(runs(name, around(100, count)) for name, count in zip("ab", counts, strict=True)))


def test_runs_of_a_side_that_are_no_repeats_are_refused(runs: Runs, around: Tool) -> None:
    mixed = (*runs("a", around(100, 2)), *runs("other", around(100, 1), backend="vllm"))
    with pytest.raises(UserError, match="BASE other0: has another backend than a0"):
        checked(mixed, runs("b", around(100, 3)))


def test_a_run_on_both_sides_of_many_is_refused(runs: Runs, around: Tool) -> None:
    with pytest.raises(UserError, match="a0 is on both sides"):
        checked(runs("a", around(100, 3)), runs("a", around(100, 3)))


def test_other_words_of_the_requests_are_refused_unless_asked_for(runs: Runs, around: Tool) -> None:
    said = {"temperature": "0.7", "extra_body": '{"top_k": 40}'}
    sides = runs("a", around(100)), runs("b", around(100), options=said)
    with pytest.raises(UserError, match=r"differ in --temperature \(0, 0.7\) and --extra-body .*--different-plans"):
        checked(*sides)
    assert "not worded alike" in checked(*sides, different_plans=True)[0]
    # What the server did not take was not asked of it; what older runs do not say was 0.
    left_out = {"temperature": "0", "without": "temperature seed"}
    as_left = {"temperature": "server", "seed_requests": "off"}
    assert checked(runs("a", around(100), options=left_out), runs("b", around(100), options=as_left)) == ()
    assert checked(runs("a", around(100)), runs("b", around(100), options={"temperature": "0"})) == ()
