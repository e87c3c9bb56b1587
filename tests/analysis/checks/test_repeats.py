from typing import Any

import numpy as np
import pytest

from analysis.checks.repeats import CHECKS
from analysis.compare.comparison import Run
from tests.simulations import few_or_many
from tests.summaries import manifest_of, summary_of

MANIFEST = manifest_of({})


def runs(ttft_ms: Any, tpot_ms: Any = None, tokens_per_s: Any = None) -> list[Run]:
    def statistic(values: Any, number: int) -> Any:
        return None if values is None else values[number]

    return [
        Run(
            f"{number + 1:02}",
            MANIFEST,
            summary_of(
                {
                    "metrics": {"ttft_ms": {"p50": value}, "tpot_ms": {"p50": statistic(tpot_ms, number)}},
                    "throughput": {"output_tokens_per_s": statistic(tokens_per_s, number)},
                }
            ),
        )
        for number, value in enumerate(ttft_ms)
    ]


def doubts(found: list[Run], asked: int | None = None) -> dict[str, str]:
    reasons = (reason for check in CHECKS for reason in check(found, len(found) if asked is None else asked))
    return {reason.code: reason.message for reason in reasons}


def scattered(number: int, spread: float, size: int = 5) -> list[Run]:
    values = 100 * np.exp(spread * np.random.default_rng(number).normal(size=(3, size)))
    return runs(*values.tolist())


def test_fewer_runs_than_asked_for_are_a_doubt() -> None:
    assert doubts(runs([10.0] * 5)) == {}
    assert doubts(runs([10.0] * 3), asked=5)["repeats_cut_short"].startswith("3 of 5 runs finished")
    assert list(doubts([], asked=5)) == ["repeats_cut_short"]


def test_runs_of_which_each_is_slower_than_the_one_before_drift() -> None:
    said = doubts(runs([10.0, 10.3, 10.6, 11.0, 11.2]))
    assert list(said) == ["repeats_drift"]
    assert said["repeats_drift"].startswith("ttft_ms:p50 rose by 11% from the first run to the last")
    assert "output_tokens_per_s fell by" in doubts(runs([10.0] * 5, None, [500, 490, 480, 465, 450]))["repeats_drift"]


@pytest.mark.parametrize(
    "ttft_ms",
    [
        [10.0, 10.3, 10.6, 11.0],  # four runs stand in order by chance too often
        [10.0, 10.1, 10.2, 10.3, 10.4],  # a trend that does not matter
        [10.0, 10.6, 10.3, 11.2, 11.0],  # not clear
        [10.0, 10.3, None, 11.0, 11.2],
    ],
)
def test_runs_that_may_be_in_order_by_chance_do_not_drift(ttft_ms: Any) -> None:
    assert doubts(runs(ttft_ms)) == {}


def test_a_run_far_from_others_that_agree_differs() -> None:
    said = doubts(runs([10.0, 10.2, 15.0, 9.9, 10.1]))
    assert list(said) == ["repeats_differ"]
    assert said["repeats_differ"].startswith("ttft_ms:p50 of 03 is 1.49 times that of the other runs")
    assert "of 02 is 0.5 times" in doubts(runs([10.0, 5.0, 10.0, 10.0]))["repeats_differ"]


@pytest.mark.parametrize("ttft_ms", [[10.0, 15.0, 10.1], [10.0, 10.2, 11.5, 9.9, 10.1], [10.0, 7.0, 15.0, 9.0, 13.0]])
def test_runs_that_all_scatter_and_one_that_is_not_far_off_do_not_differ(ttft_ms: Any) -> None:
    assert doubts(runs(ttft_ms)) == {}


@few_or_many("times", 100, 300)
def test_runs_that_scatter_at_random_are_rarely_doubted(times: int) -> None:
    said = [code for number in range(times) for code in doubts(scattered(number, 0.05))]
    assert said.count("repeats_drift") <= 0.06 * times and said.count("repeats_differ") <= 0.01 * times
