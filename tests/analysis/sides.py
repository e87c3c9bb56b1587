"""Simulated servers: runs whose requests queue behind each other, and drift together, with heavy tails."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis.compare.comparison import Run
from analysis.present.comparison_figures import OVERLAID
from analysis.run.metrics import METRICS
from analysis.stats.distributions import Floats
from bench.runs.manifest import RunManifest
from bench.runs.table import SCHEMA
from tests.summaries import manifest_of, summary_of

Runs = Callable[..., tuple[Run, ...]]

# How much the speed of a server differs from one start of it to the next (relative standard deviation).
BETWEEN_RUNS = 0.02
# How much it differs from minute to minute.
DRIFT = 0.05
LOAD = {
    "concurrency": None, "rate_per_s": 4.0, "requests": 1000, "duration_s": None,
    "warmup_s": None, "warmup_requests": 0,
}  # fmt: skip


def simulate(
    rng: np.random.Generator, runs: int, requests: int, slower: float = 1.0, between: float = BETWEEN_RUNS
) -> dict[str, Floats]:
    """Per request [run, request]: ttft, itl, service and response in ms, and the instant of its end in ms.

    Requests arrive as a Poisson process at 70% of what one server does and queue (Lindley's recursion). Work has
    Pareto tails (one request in 10,000 takes five times as long) and a slow drift that successive requests share
    (AR(1), 0.95).
    """
    shape = (runs, requests)
    speed = slower * np.exp(between * rng.standard_normal((runs, 1)))
    drift = _ar1(rng, shape, 0.95, DRIFT)
    work_ms = 100 * speed * np.exp(drift) * (0.8 + 0.2 * rng.pareto(3.0, shape))
    # One plan: all runs have the same arrivals.
    arrival_ms = np.cumsum(np.random.default_rng(0).exponential(100 * 0.9 / 0.7, requests))
    busy = np.cumsum(work_ms, axis=1)
    idle_before = arrival_ms - (busy - work_ms)
    end_of_queue = busy - work_ms + np.maximum.accumulate(idle_before, axis=1)
    # Half of the requests find a free slot beside the queue.
    wait_ms = np.where(rng.random(shape) < 0.5, 0.0, end_of_queue - arrival_ms)
    ttft_ms = wait_ms + 200 * speed * np.exp(drift)
    itl_ms = 10 * speed * np.exp(_ar1(rng, shape, 0.95, DRIFT)) * (0.9 + 0.1 * rng.pareto(2.5, shape))
    service_ms = ttft_ms + 100 * itl_ms
    response_ms = service_ms + rng.exponential(1.0, shape)
    return {"ttft_ms": ttft_ms, "itl_ms": itl_ms, "tpot_ms": itl_ms, "service_ms": service_ms,
            "response_ms": response_ms, "end_ms": arrival_ms + service_ms}  # fmt: skip


def _ar1(rng: np.random.Generator, shape: tuple[int, int], persistence: float, spread: float) -> Floats:
    """A stationary first-order autoregression along each row."""
    noise = spread * np.sqrt(1 - persistence**2) * rng.standard_normal(shape)
    noise[:, 0] = spread * rng.standard_normal(shape[0])
    lag = np.arange(200)
    kernel = persistence**lag
    return np.stack([np.convolve(row, kernel)[: shape[1]] for row in noise])


def summaries(simulated: dict[str, Floats]) -> list[dict[str, Any]]:
    """A summary.json of each run, as far as a comparison reads it."""
    quantiles = {name: np.quantile(values, [0.50, 0.99], axis=1) for name, values in simulated.items()}
    seconds = (simulated["end_ms"].max(axis=1) - simulated["end_ms"].min(axis=1)) / 1000
    n = simulated["end_ms"].shape[1]
    return [
        summary(
            metrics={name: {"p50": float(found[0, i]), "p99": float(found[1, i])} for name, found in quantiles.items()},
            requests_per_s=float(n / seconds[i]),
            planned=n,
        )
        for i in range(len(seconds))
    ]


def summary(
    metrics: dict[str, dict[str, float]] | None = None,
    requests_per_s: float | None = 4.0,
    planned: int = 1000,
    failed: int = 0,
    usd_per_request: float | None = None,
    status: str = "valid",
    message: str = "",
) -> dict[str, Any]:
    """summary.json, as far as a comparison reads it."""
    cost = None if usd_per_request is None else {"basis": "api", "usd_per_request": usd_per_request, "ci95": {}}
    reasons = [{"code": "x", "message": message, "value": None, "limit": None}] if message else []
    per_token = None if requests_per_s is None else 100 * requests_per_s
    return {
        "metrics": metrics or {},
        "throughput": {
            "requests_per_s": requests_per_s, "output_tokens_per_s": per_token, "goodput_rps": None,
        },
        "requests": {"planned": planned, "failed": failed, "dropped": 0, "unfinished": 0},
        "cost": cost,
        "verdict": {"status": status, "reasons": reasons},
    }  # fmt: skip


def manifest(**changes: Any) -> RunManifest:
    """run.json, as far as a comparison reads it."""
    return manifest_of({"load": LOAD, "cache": "cold", **changes})


@pytest.fixture
def runs() -> Runs:
    """`runs(name, summaries, **changes of run.json) -> runs of one side`."""

    def build(name: str, found: list[dict[str, Any]], **changes: Any) -> tuple[Run, ...]:
        run = manifest(**changes)
        return tuple(Run(f"{name}{i}", run, summary_of(each)) for i, each in enumerate(found))

    return build


def tables(simulated: dict[str, Floats], tokens: int = 10) -> list[pa.Table]:
    """requests.parquet of each run; its gaps spread around the request's own speed."""
    n = simulated["end_ms"].shape[1]
    rng = np.random.default_rng(round(simulated["end_ms"].sum()))
    found = []
    for i in range(len(simulated["end_ms"])):
        end_ms, ttft_ms = simulated["end_ms"][i], simulated["ttft_ms"][i]
        sent_ms = end_ms - simulated["service_ms"][i]
        gaps_ms = simulated["itl_ms"][i][:, None] * rng.gamma(4, 1 / 4, (n, tokens))
        gaps_ms[:, 0] = sent_ms + ttft_ms
        arrivals_ns = (np.cumsum(gaps_ms, axis=1) * 1e6).astype(np.int64)
        offsets = pa.array(np.arange(n + 1) * tokens, pa.int32())
        columns = {
            "seq": np.arange(n),
            "phase": pa.array(["measured"] * n),
            "due_ns": (sent_ms * 1e6).astype(np.int64),
            "sent_ns": (sent_ms * 1e6).astype(np.int64),
            "first_token_ns": arrivals_ns[:, 0],
            "first_text_ns": arrivals_ns[:, 0],
            "last_token_ns": arrivals_ns[:, -1],
            "end_ns": (end_ms * 1e6).astype(np.int64),
            "output_tokens": np.full(n, tokens),
            "arrivals_ns": pa.ListArray.from_arrays(offsets, pa.array(arrivals_ns.ravel())),
            "arrival_tokens": pa.ListArray.from_arrays(offsets, pa.array(np.ones(n * tokens, np.int32))),
        }
        rows = [pa.array(columns[field.name]) if field.name in columns else pa.nulls(n, field.type) for field in SCHEMA]
        found.append(pa.table(rows, schema=SCHEMA))
    return found


def told(table: pa.Table) -> dict[str, Any]:
    """summary.json of such a table, its metrics taken from it."""
    quantiles = {name: np.quantile(METRICS[name].values(table).values, [0.50, 0.99]) for name in OVERLAID}
    end_ns = table["end_ns"].to_numpy()
    return summary(
        metrics={name: {"p50": float(p50), "p99": float(p99)} for name, (p50, p99) in quantiles.items()},
        requests_per_s=float(table.num_rows / (np.ptp(end_ns) / 1e9)),
        planned=table.num_rows,
    )


@pytest.fixture(name="summary")
def _summary() -> Callable[..., dict[str, Any]]:
    return summary


@pytest.fixture(name="simulate")
def _simulate() -> Callable[..., dict[str, Floats]]:
    return simulate


@pytest.fixture
def simulated() -> Callable[..., list[dict[str, Any]]]:
    """`simulated(rng, runs, slower=1.0) -> summaries of so many simulated runs of 1,000 requests`."""
    return lambda rng, count, slower=1.0: summaries(simulate(rng, count, 1000, slower))


def build_one(name: str, rng: np.random.Generator, slower: float = 1.0, requests: int = 1000) -> tuple[Run, pa.Table]:
    """A run and its requests, from a server that is always as fast."""
    (table,) = tables(simulate(rng, 1, requests, slower, between=0.0))
    return Run(name, manifest(), summary_of(told(table))), table


@pytest.fixture
def one() -> Callable[..., tuple[Run, pa.Table]]:
    """See `build_one` for what it takes."""
    return build_one
