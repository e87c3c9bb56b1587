"""Rates of servers in virtual time whose rate is known: right where one is given, and where none is, why."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis.run.metrics import NS_PER_S
from analysis.run.rates import flow, growth, mean_service_s
from analysis.run.window import LONGER, Window, window
from bench.runs.table import SCHEMA
from tests.simulations import few_or_many
from tests.summaries import manifest_of
from tests.virtual import closed_loop, due_s, open_loop, services_s

TOKENS = 16
SHORT = ("too short", "so short a load", "the load ended before")


def records(sent_s: Any, begin_s: Any, end_s: Any, warmup: int, prefill: float = 0.2) -> pa.Table:
    """What a run against such a server leaves: tokens spread evenly over the work but for its prefill."""
    n, work_s = len(sent_s), end_s - begin_s
    at_s = begin_s[:, None] + work_s[:, None] * np.linspace(prefill, 1, TOKENS)
    arrivals_ns = np.rint(at_s * NS_PER_S).astype(np.int64)
    columns = {
        "seq": np.arange(n),
        "phase": ["warmup"] * warmup + ["measured"] * (n - warmup),
        "sent_ns": np.rint(sent_s * NS_PER_S).astype(np.int64),
        "first_token_ns": arrivals_ns[:, 0],
        "last_token_ns": arrivals_ns[:, -1],
        "end_ns": arrivals_ns[:, -1],
        "prompt_tokens": np.full(n, 100),
        "arrivals_ns": list(arrivals_ns),
        "arrival_tokens": [[1] * TOKENS] * n,
    }
    arrays = [pa.array(columns[f.name], f.type) if f.name in columns else pa.nulls(n, f.type) for f in SCHEMA]
    return pa.table(arrays, schema=SCHEMA)


def load(**given: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("concurrency", "rate_per_s", "duration_s", "warmup_s", "warmup_requests"))
    return {"load": nothing | given}


def rate(given: dict[str, Any], table: pa.Table) -> tuple[float | None, str | None]:
    run = manifest_of(given)
    span = window(run, table)
    found = flow(run, table, span)
    return found.per_s(np.ones(len(found.share))), found.why


def closed(concurrency: int, requests: int, warmup: int, works_s: Any, slots: int | None = None, **how: Any) -> Any:
    sent_s, begin_s, end_s = closed_loop(concurrency, works_s[: requests + warmup], slots)
    return rate(load(concurrency=concurrency), records(sent_s, begin_s, end_s, warmup, **how))


def opened(rate_per_s: float, requests: int, warmup: int, works_s: Any, slots: int | None, due: Any) -> Any:
    begin_s, end_s = open_loop(due, works_s, slots)
    return rate(load(rate_per_s=rate_per_s), records(due, begin_s, end_s, warmup))


@pytest.mark.parametrize(("requests", "warmup"), [(100, 64), (130, 0), (100, 0), (300, 64)])
@pytest.mark.parametrize("prefill", [0.05, 0.3, 0.7])
def test_64_streams_of_equal_answers_have_their_rate_to_5_percent_or_none(
    requests: int, warmup: int, prefill: float
) -> None:
    """64 streams end within a tenth of a second, every 1.4 s: a count has one burst more or less."""
    works_s = np.full(requests + warmup, 1.4)
    found, why = closed(64, requests, warmup, works_s, prefill=prefill)
    if found is None:
        assert why is not None and any(words in why for words in SHORT) and why.endswith(LONGER)
    else:
        assert found == pytest.approx(64 / 1.4, rel=0.05)
    assert found is not None or prefill == 0.7 or (requests, warmup) == (100, 0)


CLOSED = [(8, 200, 16), (16, 400, 16), (64, 1000, 64), (1, 100, 1), (2, 100, 2)]


@few_or_many("tries", 4, 24)
@pytest.mark.parametrize("slots", [None, 4])
@pytest.mark.parametrize("kind", ["deterministic", "exponential", "lognormal 0.4", "lognormal 1"])
def test_a_closed_loop_s_rate_is_unbiased(kind: str, slots: int | None, tries: int) -> None:
    """Over seeds the mean of the rates that are given is that of the server, to what so many seeds can tell."""
    for concurrency, requests, warmup in CLOSED:
        rng, true = np.random.default_rng(concurrency), min(concurrency, slots or concurrency) / 1.4
        seeds = 1 if kind == "deterministic" else tries
        rates = [
            closed(concurrency, requests, warmup, services_s(kind, 1.4, requests + warmup, rng), slots)[0]
            for _ in range(seeds)
        ]
        given = [found / true for found in rates if found is not None]
        assert len(given) >= 0.5 * seeds
        spread = np.std(given) / np.sqrt(len(given))
        assert np.mean(given) == pytest.approx(1, abs=0.02 + 3.5 * spread)


@pytest.mark.parametrize("warmup", [0, 16])
@pytest.mark.parametrize("arrivals", ["poisson", "constant"])
def test_ten_requests_a_second_of_5_s_are_ten_a_second(arrivals: str, warmup: int) -> None:
    """100 of them, as long as two answers: completions in those 10 s are half as many."""
    due = due_s(arrivals, 10, 100 + warmup, np.random.default_rng(0))
    found, why = opened(10, 100, warmup, np.full(100 + warmup, 5.0), None, due)
    assert (found, why) == (pytest.approx(99 / (due[-1] - due[warmup])), None)


@few_or_many("tries", 5, 24)
@pytest.mark.parametrize("kind", ["deterministic", "exponential", "lognormal 0.4", "lognormal 1"])
@pytest.mark.parametrize("utilization", [0.5, 0.8, 1.25, 2.0])
def test_an_open_loop_s_rate_is_what_is_sent_or_what_the_server_can_do(
    kind: str, utilization: float, tries: int
) -> None:
    rng, ratios = np.random.default_rng(7), []
    for _ in range(tries):
        due = due_s("poisson", 10, 416, rng)
        works_s = services_s(kind, utilization * 4 / 10, 416, rng)
        found, _ = opened(10, 400, 16, works_s, 4, due)
        sent_per_s = 399 / (due[-1] - due[16])
        if found is not None:
            ratios.append(found / min(sent_per_s, 416 * 4 / works_s.sum()))
    assert len(ratios) >= 0.8 * tries
    assert np.mean(ratios) == pytest.approx(1, abs=0.02 + 3.5 * np.std(ratios) / np.sqrt(len(ratios)))


def test_where_answers_are_too_long_and_too_different_to_tell_whether_a_server_keeps_up_there_is_no_rate() -> None:
    rng = np.random.default_rng(3)
    due = due_s("poisson", 10, 100, rng)
    found, why = opened(10, 100, 0, services_s("exponential", 5, 100, rng), None, due)
    assert found is None and why is not None and "so short a load to tell whether the server kept up" in why
    few, why = opened(10, 5, 0, np.ones(5), None, due[:5])
    assert few is None and why is not None and why.startswith("fewer than 8 requests succeeded")


def test_a_load_that_is_over_before_its_first_answers_has_no_rate() -> None:
    found, why = closed(64, 60, 0, np.full(60, 1.4))
    assert (found, why) == (None, f"the load ended before its first 64 answers had: {LONGER}")


def test_what_failed_is_not_served() -> None:
    due = due_s("constant", 10, 200, np.random.default_rng(0))
    begin_s, end_s = open_loop(due, np.full(200, 0.3), None)
    table = records(due, begin_s, end_s, 0)
    errors = pa.array(["http_500" if n % 4 == 0 else None for n in range(200)], pa.string())
    table = table.set_column(table.schema.get_field_index("error"), "error", errors)
    assert rate(load(rate_per_s=10), table)[0] == pytest.approx(7.5, rel=0.01)


def test_an_interrupted_load_counts_up_to_the_first_call_that_never_ended() -> None:
    due = due_s("constant", 10, 200, np.random.default_rng(0))
    begin_s, end_s = open_loop(due, np.full(200, 2.0), None)
    table = records(due, begin_s, end_s, 0)
    unfinished = pa.array(["unfinished" if end > 18 else None for end in end_s], pa.string())
    table = table.set_column(table.schema.get_field_index("error"), "error", unfinished)
    run = load(rate_per_s=10) | {"interrupted": True}
    assert window(manifest_of(run), table).seconds == pytest.approx(16 - due[0], abs=0.11)
    assert rate(run, table)[0] == pytest.approx(10, rel=0.01)


def test_a_call_counts_by_the_share_of_its_output_that_came_in_the_window() -> None:
    table = records(np.array([0.0, 1.0]), np.array([0.0, 1.0]), np.array([3.0, 4.0]), 0, prefill=1 / 16)
    span = Window(0, 2 * 10**9)
    found = flow(manifest_of(load(concurrency=2)), table, span)._replace(why=None)
    # The k-th of 16 tokens comes after k sixteenths of 3 s.
    assert found.per_s(np.ones(2)) == pytest.approx((10 + 5) / 16 / 2)
    assert found.per_s(np.array([100.0, np.nan])) is None
    assert found._replace(why="too short").per_s(np.ones(2)) is None


def test_growth_is_seen_where_work_piles_up_and_not_where_answers_differ() -> None:
    rng = np.random.default_rng(5)
    due = due_s("poisson", 10, 400, rng)
    _, end_s = open_loop(due, services_s("exponential", 0.6, 400, rng), 4)
    piling = growth(due, end_s - due)
    assert piling is not None and piling.is_clear and piling.slope == pytest.approx(0.5, abs=0.15)
    keeping = growth(due, services_s("lognormal 1.5", 5, 400, rng))
    assert keeping is not None and not keeping.is_clear
    assert growth(due[:7], due[:7]) is None and growth(np.zeros(20), np.ones(20)) is None


def test_the_mean_service_is_of_those_that_succeeded() -> None:
    assert mean_service_s(records(np.zeros(1), np.zeros(1), np.ones(1), 0)) == 1.0
    assert mean_service_s(records(np.zeros(0), np.zeros(0), np.zeros(0), 0)) is None
