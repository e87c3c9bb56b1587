import pytest

from analysis.compare.measures import MEASURES, thresholds, value
from bench.types import UserError
from tests.summaries import summary_of


def test_a_threshold_replaces_the_one_it_names_and_no_other() -> None:
    found = thresholds(["ttft_ms:p99=5%", "error_share=0.002"])
    assert found["ttft_ms:p99"] == pytest.approx(0.05)
    assert found["error_share"] == pytest.approx(0.002)
    changed = {"ttft_ms:p99", "error_share"}
    assert all(found[name] == measure.threshold for name, measure in MEASURES.items() if name not in changed)


@pytest.mark.parametrize(
    ("text", "says"),
    [("ttft_ms:p99", "expected MEASURE=PERCENT"), ("ttft_ms:p99=-5%", "expected MEASURE=PERCENT"),
     ("ttft_ms:p90=5%", "did you mean 'ttft_ms:p99'"), ("itl_ms:p50=100%", "less than 100%")],
)  # fmt: skip
def test_a_wrong_threshold_is_refused_in_a_line_that_helps(text: str, says: str) -> None:
    with pytest.raises(UserError) as refused:
        thresholds([text])
    assert "--threshold" in str(refused.value)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


PAID = {"basis": "api", "usd_per_request": 0.01}


def test_every_measure_is_read_from_a_runs_summary_and_unknown_stays_unknown() -> None:
    summary = {
        "metrics": {name: {"p50": 1.0, "p99": None} for name in ("ttft_ms", "itl_ms", "tpot_ms", "service_ms")},
        "throughput": {"requests_per_s": 4.0, "output_tokens_per_s": 90.0, "goodput_rps": None},
        "requests": {"planned": 200, "failed": 1, "dropped": 2, "unfinished": 1},
        "cost": None,
    }
    found = {name: value(measure, summary_of(summary)) for name, measure in MEASURES.items()}
    assert {name: number for name, number in found.items() if number is not None} == {
        "ttft_ms:p50": 1.0, "itl_ms:p50": 1.0, "tpot_ms:p50": 1.0, "service_ms:p50": 1.0,
        "requests_per_s": 4.0, "output_tokens_per_s": 90.0, "error_share": 0.02,
    }  # fmt: skip
    assert value(MEASURES["usd_per_request"], summary_of(summary | {"cost": PAID})) == 0.01


def test_only_what_is_served_per_second_is_better_when_higher() -> None:
    higher = {name for name, measure in MEASURES.items() if measure.better == "higher"}
    assert higher == {"requests_per_s", "output_tokens_per_s", "goodput_rps"}
