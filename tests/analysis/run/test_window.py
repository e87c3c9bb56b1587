from typing import Any

import pytest

from analysis.run.window import Window, phases, window
from tests.summaries import manifest_of

SECOND = 1_000_000_000


def sent(*at_s: Any, lasts_s: float = 0.5, phase: str = "measured") -> Any:
    return [
        {"phase": phase, "sent_ns": int(t * SECOND), "end_ns": int((t + lasts_s) * SECOND), "last_token_ns": None}
        for t in at_s
    ]


def run(
    concurrency: int | None = None,
    rate_per_s: float | None = None,
    duration_s: float | None = None,
    warmup_s: float | None = None,
    warmup_requests: int | None = None,
    interrupted: bool = False,
) -> Any:
    load = {
        "concurrency": concurrency,
        "rate_per_s": rate_per_s,
        "duration_s": duration_s,
        "warmup_s": warmup_s,
        "warmup_requests": warmup_requests,
    }
    return manifest_of({"load": load, "interrupted": interrupted})


def test_a_duration_is_counted_from_the_end_of_the_warmup(requests_table: Any) -> None:
    calls = requests_table(sent(1, 2, 3, phase="warmup") + sent(5.5, 6, 7, 14))
    assert window(run(rate_per_s=1, duration_s=10, warmup_s=5), calls) == Window(5 * SECOND, 15 * SECOND)
    assert window(run(rate_per_s=1, duration_s=10), calls) == Window(0, 10 * SECOND)


def test_a_duration_after_warmup_requests_is_counted_from_the_first_measured_call(requests_table: Any) -> None:
    calls = requests_table(sent(1, 2, phase="warmup") + sent(5.5, 6))
    expected = Window(int(5.5 * SECOND), int(15.5 * SECOND))
    assert window(run(rate_per_s=1, duration_s=10, warmup_requests=2), calls) == expected


def test_an_interrupted_duration_ends_with_the_last_thing_seen(requests_table: Any) -> None:
    calls = requests_table(sent(1, 2, 3))
    assert window(run(rate_per_s=1, duration_s=10, interrupted=True), calls) == Window(0, int(3.5 * SECOND))


def test_a_count_lasts_from_the_first_measured_call_sent_to_the_last(requests_table: Any) -> None:
    calls = requests_table(sent(1, phase="warmup") + sent(2, 3, 4, 5))
    assert window(run(rate_per_s=1), calls) == Window(2 * SECOND, 5 * SECOND)


@pytest.mark.parametrize("concurrency", [4, 20])
def test_a_closed_loop_counts_from_when_it_is_full_to_its_last_call_sent(synthetic_run: Any, concurrency: int) -> None:
    manifest, table, _ = synthetic_run(requests=8 * concurrency, concurrency=concurrency)
    span = window(manifest_of(manifest), table)
    first_ended = sorted(
        end for _, end in sorted(zip(*(table[n].to_pylist() for n in ("sent_ns", "end_ns")), strict=True))[:concurrency]
    )
    assert span == Window(first_ended[-1 if concurrency < 10 else 17], max(table["sent_ns"].to_pylist()))


def test_a_closed_loop_that_ends_before_it_is_full_has_its_plan_and_why(synthetic_run: Any) -> None:
    manifest, table, _ = synthetic_run(requests=8, concurrency=8, jitter=0)
    span = window(manifest_of(manifest), table)
    assert span.why == "the load ended before its first 8 answers had: raise --requests or --duration"
    assert (span.start_ns, span.end_ns) == (min(table["sent_ns"].to_pylist()), max(table["sent_ns"].to_pylist()))


def test_an_interrupted_load_ends_with_the_first_call_sent_that_never_ended(requests_table: Any) -> None:
    calls = sent(1, 2, 3, 4)
    calls[2] |= {"end_ns": 5 * SECOND, "error": "unfinished"}
    assert window(run(rate_per_s=1, interrupted=True), requests_table(calls)) == Window(1 * SECOND, 3 * SECOND)
    assert window(run(rate_per_s=1), requests_table(calls)) == Window(1 * SECOND, 4 * SECOND)
    calls[0] |= {"error": "unfinished"}
    hung = window(run(rate_per_s=1, interrupted=True), requests_table(calls))
    assert hung.why == "interrupted while its first requests were under way: run again"


def test_without_a_measured_call_sent_the_window_is_empty(requests_table: Any) -> None:
    assert window(run(rate_per_s=1), requests_table([])).seconds == 0
    assert window(run(rate_per_s=1), requests_table(sent(1, 2, phase="warmup"))).seconds == 0


def test_phases_follow_each_other_and_leave_out_what_there_was_not(requests_table: Any) -> None:
    calls = requests_table(sent(1, phase="warmup") + sent(2, 3, 4, 5))
    warmed = phases(run(warmup_requests=1), calls, Window(2 * SECOND, 5 * SECOND))
    assert [(phase.name, phase.start_s, phase.end_s) for phase in warmed] == [
        ("warmup", 0.0, 2.0),
        ("measured", 2.0, 5.0),
        ("drain", 5.0, 5.5),
    ]
    cold = phases(run(), calls, Window(2 * SECOND, int(5.5 * SECOND)))
    assert [phase.name for phase in cold] == ["measured"]
