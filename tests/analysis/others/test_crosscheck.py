"""What another tool counts otherwise is found in our own run; what is not stays unexplained, with its size."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from analysis.others.crosscheck import LEAST_TAKEN, Crosscheck, crosscheck
from analysis.others.imported import Imported, calls_table, counted, with_theirs
from analysis.others.readings import DEFINITIONS, KNOWN, RATES, OurCalls, Reading
from analysis.present import to_markdown
from analysis.present.of_crosscheck import document
from analysis.run.sections import ClientHealth, MeasuredWindow, MetricSummary, SelftestAtLoad, Throughput
from analysis.run.summary import RunSummary, RunVerdict
from bench.app.imports import crosscheck_with

BESIDE = Path("tests/fixtures/imported/beside")
METRICS = ("ttft_ms", "tpot_ms", "itl_ms", "chunk_gap_ms", "service_ms", "output_tokens")
CALLS, CHUNKS, PER_CHUNK, MS = 40, 8, 2, 1_000_000


def set_columns(calls: pa.Table, columns: Mapping[str, Any]) -> pa.Table:
    for name, column in columns.items():
        at = calls.schema.get_field_index(name)
        calls = calls.set_column(at, calls.schema.field(at), pa.array(column, calls.schema.field(at).type))
    return calls


def table() -> pa.Table:
    """Calls of which each definition changes something: chunks of two tokens, a role's chunk, failures, warm-up."""
    rng = np.random.default_rng(0)
    sent = np.arange(CALLS) * 100 * MS
    first = sent + (200 * MS + rng.integers(0, 9 * MS, CALLS))
    arrivals = first[:, None] + np.cumsum(np.r_[0, np.full(CHUNKS - 1, 20 * MS)])[None, :]
    failed = np.arange(CALLS) % 10 == 9
    calls = calls_table(
        sent_s=[0.0] * CALLS,
        end_s=[1.0] * CALLS,
        output_tokens=[float(CHUNKS * PER_CHUNK)] * CALLS,
        prompt_tokens=[50.0] * CALLS,
        errors=["refused" if each else "" for each in failed],
        phases=["warmup" if i < 8 else "measured" for i in range(CALLS)],
    )
    # The warm-up was slower, and what failed took long to.
    slow = np.where(np.arange(CALLS) < 8, 60 * MS, 0)
    return set_columns(
        calls,
        {
            "sent_ns": sent,
            "connect_ns": [3 * MS] * CALLS,
            "first_byte_ns": sent + MS,
            "first_token_ns": first + slow,
            "last_token_ns": arrivals[:, -1] + slow,
            "end_ns": arrivals[:, -1] + slow + np.where(failed, 700 * MS, 5 * MS),
            "arrivals_ns": [[] if failed[i] else (arrivals[i] + slow[i]).tolist() for i in range(CALLS)],
            "arrival_tokens": [[] if failed[i] else [PER_CHUNK] * CHUNKS for i in range(CALLS)],
        },
    )


CALLS_TABLE = table()
SUMMARY = RunSummary(
    run_id="ours", backend="openai", model="m", scenario="chat", plan_hash="0", seed=0, verdict=RunVerdict("valid"),
    window=MeasuredWindow(1.0, 2.5), requests=counted(28, 4), metrics=with_theirs(CALLS_TABLE, {}),
    throughput=Throughput(requests_per_s=9.0, output_tokens_per_s=144.0, total_tokens_per_s=594.0),
)  # fmt: skip
# No noise, so that everything is to be explained.
QUIET = replace(SUMMARY, metrics={name: replace(each, ci95={}) for name, each in SUMMARY.metrics.items()})

OURS = OurCalls(QUIET, CALLS_TABLE)


def theirs(names: Sequence[str], tool: str = "some tool", factor: float = 1.0) -> Imported:
    """What a tool would report of the same calls that has these definitions."""
    reading = Reading(names)

    def figure(metric: str, statistic: str) -> float:
        value = OURS.figure(metric, statistic, reading)
        assert value is not None
        return value * factor

    metrics = {
        name: MetricSummary(count=1, mean=figure(name, "mean"), p50=figure(name, "p50"), p99=figure(name, "p99"))
        for name in METRICS
    }
    requests, output, total = (figure(name, "mean") for name in RATES)
    rates = Throughput(requests_per_s=requests, output_tokens_per_s=output, total_tokens_per_s=total)
    return Imported(
        tool=tool, title=tool, requests=counted(28, 4), metrics=metrics, throughput=rates
    )  # fmt: skip


def names_in(found: Crosscheck) -> set[str]:
    return {each.name for figure in found.figures for each in figure.by}


def test_figures_by_our_own_definitions_are_the_same() -> None:
    found = crosscheck(QUIET, OURS, theirs(()))
    assert len(found.of("same")) == len(found.figures) == 3 * len(METRICS) + len(RATES)


BY_OUR_CALLS = sorted(DEFINITIONS.keys() - {"as_slow"})


@pytest.mark.parametrize("name", BY_OUR_CALLS)
def test_each_definition_is_found_and_leaves_nothing(name: str) -> None:
    found = crosscheck(QUIET, OURS, theirs((name,)))
    assert found.of("by definition") and not found.of("unexplained")
    assert name in names_in(found)
    for figure in found.of("by definition"):
        assert figure.left == pytest.approx(0.0, abs=0.006 * abs(figure.theirs))


@given(st.sets(st.sampled_from(BY_OUR_CALLS), max_size=3))
@settings(max_examples=25, deadline=None)
def test_several_together_are_found_too(names: set[str]) -> None:
    found = crosscheck(QUIET, OURS, theirs(sorted(names)))
    assert not found.of("unexplained")


@given(st.floats(1.2, 50.0))
@settings(max_examples=15, deadline=None)
def test_what_no_definition_makes_is_unexplained_with_its_size(factor: float) -> None:
    found = crosscheck(QUIET, OURS, theirs((), factor=1e4 * factor))
    for figure in found.figures:
        # Half of the gaps between tokens are 0, and so is any multiple of that.
        assert figure.outcome == ("unexplained" if figure.ours else "same")
        assert figure.left == pytest.approx(figure.theirs - figure.recomputed)


def test_answers_of_another_length_are_said_to_be_another_load_unless_chunks_were_counted() -> None:
    def said(found: Crosscheck) -> str:
        return to_markdown.render(document(found, "ours"))

    longer = theirs(())
    tokens = MetricSummary(count=1, mean=50.0)
    longer = replace(longer, metrics={**longer.metrics, "output_tokens": tokens})
    assert "answers averaged 50 tokens there and 16 here" in said(crosscheck(QUIET, OURS, longer))
    for names in ((), ("chunks_are_tokens",)):
        assert "not the same load" not in said(crosscheck(QUIET, OURS, theirs(names)))


def test_what_is_known_of_a_tool_explains_before_what_is_not() -> None:
    found = crosscheck(QUIET, OURS, theirs(("first_chunk", "from_connection"), "vllm-bench"))
    assert names_in(found) <= KNOWN["vllm-bench"]
    ttft = next(figure for figure in found.figures if figure.metric == "ttft_ms" and figure.statistic == "p50")
    assert {each.name for each in ttft.by} >= {"first_chunk"}


def test_within_the_noise_of_our_run_and_our_clients_error_nothing_is_called_different() -> None:
    noisy = replace(QUIET, client=ClientHealth(selftest=SelftestAtLoad("today", error_ms=1e9)))
    found = crosscheck(noisy, OURS, theirs(("with_warmup",)))
    times = [figure for figure in found.figures if figure.metric.endswith("_ms")]
    assert times and all(figure.outcome == "same" for figure in times)


def test_every_definition_that_is_said_of_a_tool_is_one() -> None:
    assert all(names <= DEFINITIONS.keys() for names in KNOWN.values())


def test_what_is_left_of_a_figure_that_ours_has_no_interval_of_may_be_noise_and_says_what_helps() -> None:
    found = crosscheck_with(BESIDE / "ours", BESIDE / "guidellm.json")
    open_ended = [each for each in found.of("unexplained") if each.why]
    assert {each.statistic for each in open_ended} == {"p90", "p95", "p99"}
    said = to_markdown.render(document(found, "ours"))
    assert "may be noise: our run has no interval for ttft p90, " in said and "with more --requests" in said
    assert "a narrow interval needs at least" in said


def slower(found: Imported, factor: float) -> Imported:
    """The same of a server that takes so much longer, as many in flight."""
    metrics = {
        **found.metrics,
        "service_ms": MetricSummary(count=1, mean=factor * (found.metrics["service_ms"].mean or 0)),
    }
    rates = {name: getattr(found.throughput, name) / factor for name in RATES}
    return replace(found, metrics=metrics, throughput=Throughput(**rates), concurrency=4)


@given(st.floats(1.05, 20.0), st.booleans(), st.sampled_from([(), ("with_warmup",), ("whole_time",)]))
@settings(max_examples=30, deadline=None)
def test_with_as_many_in_flight_rates_follow_from_the_mean_time_and_are_not_unexplained_twice(
    factor: float, is_slower: bool, names: tuple[str, ...]
) -> None:
    there = slower(theirs(names), factor if is_slower else 1 / factor)
    found = crosscheck(QUIET, OURS, there, concurrency=4)
    mean = next(each for each in found.figures if (each.metric, each.statistic) == ("service_ms", "mean"))
    # To within what is rounded other definitions may make of our mean what its factor does.
    assume({each.name for each in mean.by} <= set(names))
    assert [(each.metric, each.statistic) for each in found.of("unexplained")] in ([], [("service_ms", "mean")])
    for figure in found.figures:
        if figure.metric in RATES and not names:
            assert figure.outcome == "by definition" and {each.name for each in figure.by} == {"as_slow"}
            assert figure.left == pytest.approx(0, abs=1e-9 * figure.theirs)
    for concurrency in (None, 8):
        assert "as_slow" not in names_in(crosscheck(QUIET, OURS, there, concurrency))


@given(st.sets(st.sampled_from(BY_OUR_CALLS), max_size=3), st.floats(0.1, 10.0), st.sampled_from(["x", *KNOWN]))
@settings(max_examples=30, deadline=None)
def test_what_is_explained_and_what_is_left_add_up_to_the_difference(names: set[str], factor: float, tool: str) -> None:
    found = crosscheck(QUIET, OURS, replace(theirs(sorted(names), tool, factor), concurrency=4), 4)
    for figure in found.figures:
        explained = figure.recomputed - figure.ours
        assert explained + figure.left == pytest.approx(figure.difference, rel=1e-9, abs=1e-9)
        assert figure.by or not explained


@given(st.sampled_from(sorted(KNOWN)), st.floats(0.5, 2.0), st.sets(st.sampled_from(BY_OUR_CALLS), max_size=3))
@settings(max_examples=40, deadline=None)
def test_beside_what_is_unexplained_no_definition_is_named_that_takes_less_than_a_tenth(
    tool: str, factor: float, names: set[str]
) -> None:
    for figure in crosscheck(QUIET, OURS, theirs(sorted(names), tool, factor)).of("unexplained"):
        by = [each.name for each in figure.by]
        for name in by:
            rest = OURS.figure(figure.metric, figure.statistic, Reading(set(by) - {name}))
            assert rest is not None
            taken = abs(figure.theirs - rest) - abs(figure.left)
            assert taken >= (LEAST_TAKEN - 1e-9) * abs(figure.difference)


@given(st.sets(st.sampled_from(BY_OUR_CALLS), max_size=3), st.floats(0.5, 2.0), st.sampled_from(["x", *KNOWN]))
@settings(max_examples=20, deadline=None)
def test_a_warm_up_that_their_file_says_there_was_none_of_explains_nothing(
    names: set[str], factor: float, tool: str
) -> None:
    found = crosscheck(QUIET, OURS, replace(theirs(sorted(names), tool, factor), warmed_up=False))
    assert "with_warmup" not in names_in(found)


@pytest.mark.parametrize("warmed_up", [None, True])
def test_a_warm_up_that_there_may_have_been_is_found(warmed_up: bool | None) -> None:
    found = crosscheck(QUIET, OURS, replace(theirs(("with_warmup",)), warmed_up=warmed_up))
    assert "with_warmup" in names_in(found)


def test_of_a_sitting_of_ours_and_aiperf_the_rates_are_explained_and_tails_are_left() -> None:
    found = crosscheck_with(BESIDE / "ours", BESIDE / "profile_export_aiperf.json")
    assert {(each.metric, *sorted(name for name, _ in each.by)) for each in found.of("by definition")} == {
        (rate, "as_slow", "whole_time") for rate in RATES
    }
    left = found.of("unexplained")
    assert {each.metric for each in left} == {"ttft_ms", "ttft_text_ms", "tpot_ms", "service_ms", "chunk_gap_ms"}
    assert not {"mean", "p50"} & {each.statistic for each in left}
    assert all(not each.by and each.left == each.difference for each in left)


def test_of_a_sitting_of_ours_and_guidellm_what_is_left_is_named_as_due_to_nothing() -> None:
    found = crosscheck_with(BESIDE / "ours", BESIDE / "guidellm.json")
    assert not found.of("by definition")
    left = found.of("unexplained")
    assert {each.metric for each in left} == {"ttft_ms", "ttft_text_ms", "service_ms"}
    assert all(not each.by and each.left == each.difference for each in left)
    assert {each.metric for each in found.of("same")} >= {"tpot_ms", "output_tokens"}
