"""The gate on made-up rounds: what it calls worse, different, undecided, and how often it is wrong."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from analysis.compare.gate import (
    Base,
    GateResult,
    Round,
    Rounds,
    doubtful_baseline,
    engine_figures,
    failing,
    judge,
    undecided,
)
from analysis.run.summary import RunSummary
from tests.summaries import summary_of

ENGINE = {"cpu": 2.0, "tpot": 2.4, "ttft": 17.0}
CLIENT = {"request_cpu": 40.0, "read_cpu": 2.8, "decode_cpu": 1.8}
ERRORS = {"first_token_error_ms": 0.02, "gap_error_ms": 0.02}
COUNTS: dict[str, int | str] = {"plan_hash": "a" * 64, "failures": 0, "output_tokens": 6400}
# As measured beside other load; without it a third of this.
SPREAD = 0.12


def rounds(
    figures: Mapping[str, float],
    rng: np.random.Generator,
    count: int = 5,
    spread: float = SPREAD,
    counts: Mapping[str, int | str] | None = None,
) -> list[Round]:
    """Rounds whose figures scatter about these; errors of the client do not scatter."""
    return [
        Round(
            COUNTS | dict(counts or {}),
            {
                name: value if name in ERRORS else value * np.exp(spread * rng.normal())
                for name, value in figures.items()
            },
        )
        for _ in range(count)
    ]


def together(base: Rounds) -> Base:
    return Base(base, [base], together=True)


def gate(base: Mapping[str, float], now: Mapping[str, float], *, seed: int = 0) -> dict[str, GateResult]:
    rng = np.random.default_rng(seed)
    first, second = ({"llamacpp": rounds(figures, rng, spread=0.02)} for figures in (base, now))
    return {finding.name.partition(":")[2]: finding for finding in judge(together(first), second)}


# --- figures -----------------------------------------------------------------------------------------------------


def summary(
    status: str = "valid", *codes: str, tpot_ms: float = 0.6, contended_share: float | None = 0.0
) -> RunSummary:
    return summary_of(
        {
            "verdict": {"status": status, "reasons": [{"code": code, "message": code} for code in codes]},
            "host": {"contended_share": contended_share},
            "metrics": {"tpot_ms": {"p50": tpot_ms}, "ttft_ms": {"p50": 4.5}},
        }
    )


def test_an_engines_figures_are_in_passes_of_the_reference() -> None:
    found = engine_figures(summary(), 3.2, 6400, 0.00025)
    assert found == pytest.approx({"cpu": 2.0, "tpot": 2.4, "ttft": 18.0})


def test_beside_other_load_cpu_time_is_known_and_wall_clock_time_is_not() -> None:
    found = engine_figures(summary("suspect", "few_samples", "other_load"), 3.2, 6400, 0.00025)
    assert found == pytest.approx({"cpu": 2.0, "tpot": None, "ttft": None})
    assert engine_figures(summary("suspect", "few_samples"), 3.2, 6400, 0.00025)["tpot"] is not None


def test_where_nobody_knows_of_other_load_wall_clock_time_is_not_known() -> None:
    assert engine_figures(summary(contended_share=None), 3.2, 6400, 0.00025)["ttft"] is None


def test_of_a_run_that_is_invalid_nothing_is_known() -> None:
    assert set(engine_figures(summary("invalid", "nothing_succeeded"), 3.2, 0, 0.00025).values()) == {None}


def test_of_a_server_that_was_gone_before_its_cpu_time_was_read_nothing_is_known() -> None:
    assert set(engine_figures(summary(), 0.0, 6400, 0.00025).values()) == {None}


def test_answers_that_came_in_one_piece_have_no_time_per_token() -> None:
    found = engine_figures(summary("suspect", "answers_at_once", tpot_ms=0.0), 3.2, 6400, 0.00025)
    assert found["tpot"] is None
    assert found["ttft"] == pytest.approx(18.0)


# --- judging -----------------------------------------------------------------------------------------------------


def test_a_figure_that_got_half_as_large_again_is_worse_and_named() -> None:
    found = gate(ENGINE, ENGINE | {"cpu": 3.0})
    assert [finding.name for finding in failing(found.values())] == ["llamacpp:cpu"]
    assert found["cpu"].change == pytest.approx(0.5, abs=0.05)
    assert (found["tpot"].verdict, found["ttft"].verdict) == ("same", "same")


def test_a_figure_that_got_smaller_is_better_and_does_not_fail() -> None:
    found = gate(ENGINE, ENGINE | {"ttft": 8.0})
    assert found["ttft"].verdict == "better"
    assert failing(found.values()) == []


def test_a_change_below_what_matters_does_not_fail_however_sure_it_is() -> None:
    found = gate(ENGINE, ENGINE | {"cpu": 2.2})["cpu"]
    assert found.p is not None
    assert found.p < 0.01
    assert found.verdict != "worse"


def test_what_scatters_too_much_to_be_compared_is_only_kept() -> None:
    rng = np.random.default_rng(0)
    first, second = ({"vllm": rounds(figures, rng)} for figures in (ENGINE, ENGINE | {"ttft": 99.0}))
    names = {finding.name for finding in judge(together(first), second)}
    assert {"vllm:cpu", "vllm:tpot"} < names
    assert "vllm:ttft" not in names


def test_on_a_cpu_that_the_baseline_does_not_know_speed_is_not_judged_and_counts_are() -> None:
    rng = np.random.default_rng(0)
    base = {"llamacpp": rounds(ENGINE, rng), "client": rounds(CLIENT | ERRORS, rng)}
    slow = {
        "llamacpp": rounds({name: 3 * x for name, x in ENGINE.items()}, rng),
        "client": rounds(CLIENT | ERRORS, rng),
    }
    findings = judge(Base(base, [], together=False), slow)
    assert failing(findings) == []
    assert undecided(findings) == []
    assert {each.verdict for each in findings if each.unit.startswith(("passes", "reads"))} == {"not judged"}
    other = {"llamacpp": rounds(ENGINE, rng, counts={"failures": 1})}
    assert [each.name for each in failing(judge(Base(base, [], together=False), other))] == ["llamacpp:failures"]


def sessions(
    rng: np.random.Generator,
    count: int,
    spread: float,
    figures: Mapping[str, float] = ENGINE,
    *,
    many: int = 5,
    within: float = 0.03,
) -> list[Rounds]:
    """Sessions that differ as a whole, and `many` rounds that differ within."""
    found: list[Rounds] = []
    for _ in range(count):
        moved = {name: value * np.exp(spread * rng.normal()) for name, value in figures.items()}
        found.append({"llamacpp": rounds(moved, rng, many, spread=within)})
    return found


def fails_between(
    rng: np.random.Generator, count: int, spread: float, factor: float = 1.0, *, many: int = 5, within: float = 0.03
) -> bool:
    base = sessions(rng, count, spread, within=within)
    slower = {name: factor * value for name, value in ENGINE.items()}
    (now,) = sessions(rng, 1, spread, slower, many=many, within=within)
    return bool(failing(judge(Base(base[0], base, together=False), now)))


@pytest.mark.parametrize(
    ("count", "spread"),
    [
        (1, 0.05),
        (3, 0.10),
        *(pytest.param(*each, marks=pytest.mark.slow) for each in ((1, 0.10), (5, 0.10), (5, 0.15))),
    ],
)
def test_sessions_that_differ_by_a_tenth_hardly_ever_fail(count: int, spread: float) -> None:
    """Told from their rounds alone, one gate in five with a spread of 10% between sessions failed."""
    rng = np.random.default_rng(count)
    assert sum(fails_between(rng, count, spread) for _ in range(300)) <= 0.05 * 300


def test_with_five_sessions_a_slowdown_by_half_is_found_and_with_one_that_by_twice() -> None:
    rng = np.random.default_rng(9)
    assert sum(fails_between(rng, 5, 0.05, 1.5) for _ in range(100)) >= 95
    assert sum(fails_between(rng, 1, 0.05, 2.0) for _ in range(100)) >= 95


def test_beside_sessions_of_other_days_three_rounds_find_what_five_do() -> None:
    """Rounds as far apart as on a busy machine, sessions as far as days are: what `.ci/run` relies on."""

    def found(factor: float, many: int) -> int:
        rng = np.random.default_rng(10)
        return sum(fails_between(rng, 5, 0.10, factor, many=many, within=0.085) for _ in range(100))

    assert max(found(1.0, 3), found(1.0, 5)) <= 5
    assert min(found(1.5, 3), found(1.5, 5)) >= 90


@pytest.mark.parametrize(("name", "value"), [("plan_hash", "b" * 64), ("failures", 1), ("output_tokens", 6399)])
def test_a_count_that_differs_in_any_round_is_named(name: str, value: int | str) -> None:
    rng = np.random.default_rng(0)
    now = rounds(ENGINE, rng, count=4) + rounds(ENGINE, rng, count=1, counts={name: value})
    (found,) = failing(judge(together({"llamacpp": rounds(ENGINE, rng)}), {"llamacpp": now}))
    assert (found.name, found.base, found.now, found.verdict) == (f"llamacpp:{name}", COUNTS[name], value, "different")


def test_an_error_of_the_client_has_a_limit_and_not_a_ratio() -> None:
    rng = np.random.default_rng(0)
    base = {"client": rounds(CLIENT | ERRORS, rng)}

    def found(error_ms: float) -> list[str]:
        now = {"client": rounds(CLIENT | ERRORS | {"gap_error_ms": error_ms}, rng, spread=0.01)}
        return [finding.name for finding in failing(judge(together(base), now))]

    assert found(1.9) == []  # a hundred times the baseline's
    assert found(2.1) == ["client:gap_error_ms"]


def test_too_few_undisturbed_rounds_leave_a_figure_inconclusive_with_the_reason() -> None:
    rng = np.random.default_rng(0)
    now = rounds(ENGINE, rng, count=2) + [
        each._replace(figures={**each.figures, "tpot": None}) for each in rounds(ENGINE, rng, count=3)
    ]
    findings = judge(together({"llamacpp": rounds(ENGINE, rng)}), {"llamacpp": now})
    (tpot,) = [finding for finding in findings if finding.name == "llamacpp:tpot"]
    assert tpot.verdict == "inconclusive"
    assert tpot.why is not None
    assert "5 of the baseline and 2 now, 3 are needed" in tpot.why
    assert undecided(findings) == []


def test_a_part_of_which_nothing_could_be_compared_is_undecided() -> None:
    rng = np.random.default_rng(0)
    nothing = [Round(COUNTS, dict.fromkeys(ENGINE))] * 5
    findings = judge(together({"llamacpp": rounds(ENGINE, rng)}), {"llamacpp": nothing})
    assert undecided(findings) == ["llamacpp"]
    assert failing(findings) == []


def test_parts_that_only_one_side_has_are_not_compared() -> None:
    rng = np.random.default_rng(0)
    base = {"llamacpp": rounds(ENGINE, rng), "vllm": rounds(ENGINE, rng)}
    now = {"llamacpp": rounds(ENGINE, rng), "client": rounds(CLIENT, rng)}
    assert {finding.part for finding in judge(together(base), now)} == {"llamacpp"}


def fails(factor: float, seed: int) -> bool:
    """Whether the gate fails, as the command does: twice, the second time with all rounds."""
    rng = np.random.default_rng(seed)
    base = {"llamacpp": rounds(ENGINE, rng), "client": rounds(CLIENT, rng)}
    slower = {name: factor * value for name, value in ENGINE.items()}
    now = {"llamacpp": rounds(slower, rng), "client": rounds(CLIENT, rng)}
    if not failing(judge(together(base), now)):
        return False
    pooled = {"llamacpp": now["llamacpp"] + rounds(slower, rng), "client": now["client"] + rounds(CLIENT, rng)}
    return bool(failing(judge(together(base), pooled)))


def test_beside_other_load_equal_sides_hardly_ever_fail_and_a_slowdown_by_half_nearly_always() -> None:
    """The spread is that of a busy machine. Two sides of five rounds each; figures drawn without common drift."""
    assert sum(fails(1.0, seed) for seed in range(100)) <= 1
    assert sum(fails(1.5, seed) for seed in range(40)) >= 38


# --- baselines ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"figures": dict.fromkeys(ENGINE)}, "llamacpp:cpu is known in fewer than 3 rounds"),
        ({"exact": COUNTS | {"output_tokens": 1}}, "llamacpp:output_tokens is not the same in all rounds"),
    ],
)
def test_rounds_that_disagree_or_are_disturbed_are_no_baseline(change: dict[str, Any], says: str) -> None:
    good = rounds(ENGINE, np.random.default_rng(0), count=2)
    assert doubtful_baseline({"llamacpp": [*good, good[0]._replace(**change)]}) == says


def test_rounds_with_failures_are_no_baseline_and_good_ones_are() -> None:
    rng = np.random.default_rng(0)
    assert doubtful_baseline({"llamacpp": rounds(ENGINE, rng, counts={"failures": 2})}) == "llamacpp: 2 requests failed"
    assert doubtful_baseline({"llamacpp": rounds(ENGINE, rng), "client": rounds(CLIENT | ERRORS, rng)}) is None
