"""From the bytes on the wire to the report: nothing that a server sends makes any part of it fail.

The fast suite looks for some seconds, the slow one for FUZZ_TIMES as long; `make fuzz` until it is stopped.
"""

import json
import math
import os
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from analysis.present import report, to_markdown
from analysis.present.of_run import document
from bench.runs.arrivals import stopwatch
from bench.runs.records import Planned, record
from bench.runs.table import to_table
from bench.types import Exchange, Record
from tests import wires
from tests.conftest import build_run
from tests.summaries import manifest_of, summarize, summary_of

WATCH = stopwatch(0, [])
PRICES: tuple[dict[str, Any] | None, ...] = (
    None,
    {"provider": "anthropic", "model": "claude-sonnet-4-5"},
    {"provider": "openai", "model": "gpt-4o"},
    {"usd_per_hour": "1.50"},
)


SMALLER = Phase.shrink
"""Making a failure small takes minutes: left to whoever asked for the long search."""


def fuzzed(examples: int, times: int) -> Callable[[Any], Any]:
    return settings(
        max_examples=examples * times,
        phases=[phase for phase in Phase if times > 1 or phase != SMALLER],
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


def planned(seq: int, max_tokens: int = 40) -> Planned:
    return Planned(seq, (seq + 1) * 10 * wires.MS, seq, 0, "measured", 64, max_tokens)


def recorded(exchange: Exchange, backend: str) -> Record:
    """The record of an exchange, which holds what every record holds."""
    row = record(exchange, planned(exchange.seq), WATCH, 0, wires.DECODES[backend])
    assert "could not be decoded" not in (row.error_message or ""), row.error_message
    assert len(row.arrivals_ns) == len(row.arrival_tokens)
    assert list(row.arrivals_ns) == sorted(row.arrivals_ns)
    for name in ("prompt_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens"):
        assert (getattr(row, name) or 0) >= 0
    for name in ("finish", "error_message", "unread_example", "service_tier", "encoding"):
        text = getattr(row, name)
        assert text is None or (text.isprintable() and len(text) <= 200), (name, text)
    return row


def records_hold(backend: str, times: int = 1) -> None:
    @fuzzed(10, times)
    @given(wires.exchanges(backend, 0))
    def check(exchange: Exchange) -> None:
        row = recorded(exchange, backend)
        table = to_table([row])
        assert table.num_rows == 1
        assert table["error"][0].as_py() == row.error

    check()


def tables(backend: str) -> st.SearchStrategy[pa.Table]:
    """requests.parquet of a run of one to five answers."""

    @st.composite
    def table(draw: st.DrawFn) -> pa.Table:
        found = [recorded(draw(wires.exchanges(backend, seq)), backend) for seq in range(draw(st.integers(1, 5)))]
        return to_table(found)

    return table()


def run_of(requests: int, backend: str, pricing: dict[str, Any] | None, slo: list[str]) -> dict[str, Any]:
    run, _, _ = build_run(requests=requests, tokens=40, prompt_tokens=64, backend=backend, slo=slo)
    return run | {"pricing": pricing} if pricing else run


SLO = st.sampled_from(([], ["ttft_ms:p99<500"], ["tpot_ms<40", "itl_ms:p50<10"]))


def summarized(table: pa.Table, run: dict[str, Any]) -> dict[str, Any]:
    summary = summarize(run, table, None)
    json.dumps(summary, allow_nan=False)
    assert summary["verdict"]["status"] in ("valid", "suspect", "invalid")
    for metric in summary["metrics"].values():
        assert all(value is None or math.isfinite(value) for value in (metric["mean"], metric["p50"], metric["max"]))
    return summary


def summaries_hold(backend: str, times: int = 1) -> None:
    @fuzzed(4, times)
    @given(tables(backend), st.sampled_from(PRICES), SLO)
    def check(table: pa.Table, pricing: dict[str, Any] | None, slo: list[str]) -> None:
        run = run_of(table.num_rows, backend, pricing, slo)
        assert to_markdown.render(document(manifest_of(run), summary_of(summarized(table, run))))

    check()


def reports_hold(backend: str, times: int = 1) -> None:
    @fuzzed(1, times)
    @given(tables(backend), st.sampled_from(PRICES), SLO)
    def check(table: pa.Table, pricing: dict[str, Any] | None, slo: list[str]) -> None:
        run = run_of(table.num_rows, backend, pricing, slo)
        page = report.render(manifest_of(run), summary_of(summarized(table, run)), table, None)
        assert page.lower().startswith("<!doctype html>")

    check()


each = pytest.mark.parametrize("backend", wires.DECODES)


@each
def test_any_answer_becomes_a_record_and_a_row(backend: str) -> None:
    records_hold(backend)


@each
def test_any_answers_have_a_summary_and_a_cost(backend: str) -> None:
    summaries_hold(backend)


@pytest.mark.parametrize("backend", ["openai", "claude", "tgi"])
def test_any_answers_have_a_report(backend: str) -> None:
    reports_hold(backend)


# A summary is of records, each of which is held to what all are.
@pytest.mark.slow
@each
@pytest.mark.parametrize("hold", [summaries_hold, reports_hold])
def test_longer_than_anybody_waits_for(hold: Callable[[str, int], None], backend: str) -> None:
    hold(backend, int(os.environ.get("FUZZ_TIMES", "15")))
