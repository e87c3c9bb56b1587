"""Pairs of runs that are looked at again and again: what an analysis says, when it ends, and how often it is wrong."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from analysis.compare.comparison import Comparison, Run
from analysis.compare.measures import thresholds
from analysis.compare.sequential import DECIDING, PAIRS, InterimAnalysis, analyse_interim, interim_analyses, is_decided
from analysis.present.document import texts
from analysis.present.of_comparison import COLUMNS, document, headline
from analysis.stats.distributions import Floats

Runs = Callable[..., tuple[Run, ...]]
Tool = Callable[..., Any]
Pairs = Callable[..., tuple[tuple[Run, ...], tuple[Run, ...]]]
Simulated = Callable[..., tuple[str, int]]
DEFAULTS = thresholds([])
ANY_CHANGE = dict.fromkeys(DEFAULTS, 0.0)
MAX_PAIRS = 48
FOUR = InterimAnalysis(4, 1.0)
NOISES = ["normal", "heavy tails", "drift", "depend"]


def verdicts(found: Comparison) -> dict[str, str]:
    return {change.measure.name: change.verdict for change in found.changes}


# --- when to analyse -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_pairs", range(4, 97, 2))
def test_all_looks_together_spend_the_whole_error_and_no_more(max_pairs: int) -> None:
    plan = interim_analyses(max_pairs)
    assert sum(interim.share for interim in plan) == pytest.approx(1)
    assert min(interim.share for interim in plan) > 0
    assert plan[-1].pairs == max_pairs


def test_every_look_has_whole_blocks_a_b_b_a() -> None:
    assert [interim.pairs for interim in interim_analyses(MAX_PAIRS)] == [4, 6, 8, 12, 16, 24, 32, 48]
    assert all(n % 2 == 0 for n in PAIRS)


# --- what an analysis says -------------------------------------------------------------------------------------------


@pytest.fixture
def pairs(runs: Runs, summary: Tool) -> Pairs:
    """`pairs(medians of ttft of one side, of the other) -> runs of both`, all else alike."""

    def build(*ttfts_ms: Sequence[float | None]) -> tuple[tuple[Run, ...], tuple[Run, ...]]:
        sides = [[summary(metrics={"ttft_ms": {"p50": x, "p99": None}}) for x in side] for side in ttfts_ms]
        return runs("a", sides[0]), runs("b", sides[1])

    return build


def test_a_steady_drift_cancels(pairs: Pairs) -> None:
    """Eight runs A B B A A B B A, each 3% slower than the one before."""
    drift = [100 * 1.03**i for i in range(8)]
    base, candidate = [drift[i] for i in (0, 3, 4, 7)], [drift[i] for i in (1, 2, 5, 6)]
    change = analyse_interim(FOUR, *pairs(base, candidate), DEFAULTS).changes[0]
    assert change.change == pytest.approx(0)
    assert change.ci95 is not None
    assert change.ci95[0] < 0 < change.ci95[1]


def test_what_both_runs_of_a_pair_share_is_no_noise(pairs: Pairs) -> None:
    base = [100.0, 150.0, 80.0, 120.0]
    found = analyse_interim(FOUR, *pairs(base, [1.1 * x for x in base]), DEFAULTS)
    assert (found.verdict, found.unit) == ("worse", "pair")
    assert found.changes[0].change == pytest.approx(0.1)


def test_a_look_with_a_smaller_share_of_the_error_has_a_wider_interval_and_a_larger_p(pairs: Pairs) -> None:
    sides = pairs([100, 100, 100, 100], [109, 110, 111, 110])
    whole, tenth = (analyse_interim(InterimAnalysis(4, share), *sides, DEFAULTS).changes[0] for share in (1.0, 0.1))
    # Means of logarithms 0.0953, error 0.0037; t of 3 degrees at 97.5% is 3.182, at 99.75% 7.453.
    assert whole.ci95 == pytest.approx((math.expm1(0.0953 - 3.182 * 0.00371), math.expm1(0.0953 + 3.182 * 0.00371)),
                                       abs=2e-4)  # fmt: skip
    assert tenth.ci95 == pytest.approx((math.expm1(0.0953 - 7.453 * 0.00371), math.expm1(0.0953 + 7.453 * 0.00371)),
                                       abs=2e-4)  # fmt: skip
    assert whole.p is not None
    assert tenth.p == pytest.approx(10 * whole.p)


def test_runs_beyond_the_look_are_left_out(pairs: Pairs) -> None:
    found = analyse_interim(FOUR, *pairs([100.0] * 6, [100.0] * 4 + [900.0] * 2), DEFAULTS)
    assert (found.verdict, len(found.base), len(found.candidate)) == ("same", 4, 4)


def test_zeros_are_the_same_and_a_change_from_zero_has_no_ratio(pairs: Pairs) -> None:
    nothing, something = [0.0] * 4, [1.0] * 4
    assert analyse_interim(FOUR, *pairs(nothing, nothing), DEFAULTS).changes[0].verdict == "same"
    changed = analyse_interim(FOUR, *pairs(nothing, something), DEFAULTS).changes[0]
    assert (changed.verdict, changed.why) == ("inconclusive", "a change from or to zero has no ratio")


def test_many_failures_are_worse_and_few_are_not_the_same(runs: Runs, summary: Tool) -> None:
    clean, one, many = ([summary(planned=100, failed=n)] * 4 for n in (0, 1, 20))
    assert verdicts(analyse_interim(FOUR, runs("a", clean), runs("b", one), DEFAULTS))["error_share"] == "inconclusive"
    assert verdicts(analyse_interim(FOUR, runs("a", clean), runs("b", many), DEFAULTS))["error_share"] == "worse"


# --- when it ends -----------------------------------------------------------------------------------------------


def test_it_ends_when_all_is_decided_or_anything_is_worse(pairs: Pairs) -> None:
    same, worse = [100.0] * 4, [120.0] * 4
    wide = [60.0, 160.0, 100.0, 100.0]
    assert is_decided(analyse_interim(FOUR, *pairs(same, same), DEFAULTS))
    assert is_decided(analyse_interim(FOUR, *pairs(same, worse), DEFAULTS))
    assert not is_decided(analyse_interim(FOUR, *pairs(same, wide), DEFAULTS))


def test_it_does_not_wait_for_what_more_pairs_cannot_decide(pairs: Pairs) -> None:
    found = analyse_interim(FOUR, *pairs([100.0] * 4, [100.0, 100.0, None, 100.0]), DEFAULTS)
    assert found.verdict == "inconclusive"
    assert is_decided(found)


def test_what_does_not_decide_is_told_and_neither_fails_nor_keeps_it_going(pairs: Pairs) -> None:
    sides = pairs([100.0] * 4, [120.0] * 4)
    found = analyse_interim(FOUR, *sides, DEFAULTS, ("a note",), deciding=("requests_per_s",))
    assert (found.verdict, is_decided(found), bool(found.failing("fail"))) == ("same", True, False)
    assert found.warnings == ("a note", "worse, though it does not decide: ttft_ms:p50 (+20.0%)")
    assert texts(COLUMNS, found.changes[0])[-1] == "(worse)"
    assert headline(found).endswith("Decided on: requests_per_s.")
    assert "failed" not in {case.outcome for case in document(found, inconclusive="fail").cases}
    assert document(found).data["changes"][0]["decides"] is False


def test_measures_that_do_not_decide_cost_those_that_do_nothing(pairs: Pairs) -> None:
    sides = pairs([100, 100, 100, 100], [109, 110, 111, 110])
    alone, among = (
        analyse_interim(FOUR, *sides, DEFAULTS, deciding=names).changes[0].p for names in (["ttft_ms:p50"], [])
    )
    assert alone is not None
    assert among == pytest.approx(4 * alone)


# --- how often it is wrong --------------------------------------------------------------------------------------


@pytest.fixture
def simulated(runs: Runs, summary: Tool) -> Simulated:
    """`simulated(rng, noise, change, limits) -> (verdict, pairs)`: the differences of pairs scatter by 5%."""
    medians = {name: {"p50": 1.0, "p99": None} for name in ("ttft_ms", "tpot_ms")}
    (one,) = runs("x", [summary(metrics=medians, planned=100)])
    metrics, throughput = one.summary.metrics, one.summary.throughput

    def told(ttft: float, tpot: float, interval: float) -> Run:
        p50s, per_s = {"ttft_ms": math.exp(ttft), "tpot_ms": math.exp(tpot)}, math.exp(-interval)
        changed = {name: replace(metrics[name], p50=p50) for name, p50 in p50s.items()}
        rates = replace(throughput, requests_per_s=per_s, output_tokens_per_s=100 * per_s)
        return one._replace(summary=replace(one.summary, metrics=changed, throughput=rates))

    def run(
        rng: np.random.Generator, noise: str, change: float, limits: dict[str, float] = DEFAULTS
    ) -> tuple[str, int]:
        x = 0.05 / math.sqrt(2) * scatter(rng, 2 * MAX_PAIRS, noise)
        is_candidate = np.tile([False, True, True, False], MAX_PAIRS // 2)
        x[is_candidate] += math.log1p(change)
        sides: tuple[list[Run], list[Run]] = ([], [])
        for interim in interim_analyses(MAX_PAIRS):
            for side, which in zip(sides, (~is_candidate, is_candidate), strict=True):
                side += [told(*logs) for logs in x[which][len(side) : interim.pairs]]
            found = analyse_interim(interim, *sides, limits)
            if is_decided(found):
                break
        return found.verdict, interim.pairs

    return run


def scatter(rng: np.random.Generator, runs: int, noise: str) -> Floats:
    """[run, measure] of deviation one, half of the variance shared by the three measures of a run."""
    shape = (runs, 4)
    x = rng.standard_t(3, shape) / math.sqrt(3) if noise == "heavy tails" else rng.standard_normal(shape)
    if noise == "depend":  # AR(1), 0.5, from one run to the next
        for i in range(1, runs):
            x[i] = 0.5 * x[i - 1] + math.sqrt(0.75) * x[i]
    mixed: Floats = math.sqrt(0.5) * (x[:, :1] + x[:, 1:])
    if noise == "drift":  # 20% from the first run to the last
        mixed += 0.2 / (0.05 / math.sqrt(2)) * np.linspace(0, 1, runs)[:, None]
    return mixed


def shares(found: Sequence[tuple[str, int]]) -> dict[str, float]:
    names = [verdict for verdict, _ in found]
    return {verdict: names.count(verdict) / len(names) for verdict in ("worse", "better", "same", "inconclusive")}


@pytest.mark.parametrize("noise", ["normal", "depend"])
def test_identical_servers_are_the_same(simulated: Simulated, noise: str) -> None:
    rng = np.random.default_rng(1)
    found = [simulated(rng, noise, 0.0) for _ in range(10)]
    assert shares(found)["same"] == 1
    assert np.mean([n for _, n in found]) < 30


def test_a_tenth_slower_is_found(simulated: Simulated) -> None:
    rng = np.random.default_rng(2)
    found = [simulated(rng, "normal", 0.1) for _ in range(10)]
    assert shares(found)["worse"] == 1
    assert np.mean([n for _, n in found]) < 12


@pytest.mark.slow
@pytest.mark.parametrize("noise", NOISES)
def test_the_error_rates_of_the_documentation_hold(simulated: Simulated, noise: str) -> None:
    rng = np.random.default_rng(3)

    def rates(change: float, limits: Mapping[str, float] = DEFAULTS) -> dict[str, float]:
        return shares([simulated(rng, noise, change, limits) for _ in range(100)])

    nothing, any_change = rates(0.0), rates(0.0, ANY_CHANGE)
    assert nothing["same"] >= 0.97
    assert max(found["worse"] + found["better"] for found in (nothing, any_change)) <= 0.05
    assert rates(0.1)["worse"] >= 0.95
    assert rates(0.05)["same"] <= 0.05


def test_the_rates_are_of_the_measures_that_decide_by_default() -> None:
    assert DECIDING == ("ttft_ms:p50", "tpot_ms:p50", "output_tokens_per_s", "error_share")
