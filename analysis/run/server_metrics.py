"""What the server's own books say of a run: its prefix cache, its latencies, its limits."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from analysis.run.gpu import series
from analysis.run.metrics import column
from analysis.run.sections import Oddities, PromptCache, RateLimit, ServerMetrics, UnreadEvents
from bench.runs.manifest import RunManifest

MS_PER_S = 1000.0
PIECE_TOKENS = 16
"""What texts of a file have in common is known by pieces of 64 bytes, and some of the next piece may be, too."""


def cache(run: RunManifest, calls: pa.Table, telemetry: pa.Table | None) -> PromptCache:
    """How much of the prompts came out of the server's prefix cache, beside what the run meant.

    `hit_rate` is the share of prompt tokens, by the usage of the measured calls or else by the server's counters over
    the whole run. `planned` is the share that prompts have in common with those before them by the plan, which a cache
    without end would serve; `cold_at_most` is that with the chat template, and of texts
    with the piece that is known in part.
    """
    prompt_tokens = column(calls, "prompt_tokens")
    hit_rate, source = _by_usage(prompt_tokens, column(calls, "cached_tokens")), "usage"
    if hit_rate is None:
        hit_rate, source = _by_counters(telemetry), "server counters"
    planned_tokens = _planned_in_common(run, calls)
    common_tokens = planned_tokens + (run.tokenizer.overhead_tokens or 0)
    if run.recorded is not None and run.recorded.without_text < run.recorded.turns:
        common_tokens += PIECE_TOKENS
    mean_tokens = float(np.nanmean(prompt_tokens)) if np.isfinite(prompt_tokens).any() else 0.0
    return PromptCache(
        meant=run.cache,
        hit_rate=hit_rate,
        source=None if hit_rate is None else source,
        planned=planned_share(planned_tokens, mean_tokens),
        cold_at_most=planned_share(common_tokens, mean_tokens),
    )


def planned_share(common_tokens: float, prompt_tokens: float) -> float | None:
    """The share of prompts that they have in common with those before them, None of prompts without a token."""
    return min(1.0, common_tokens / prompt_tokens) if prompt_tokens > 0 else None


def _planned_in_common(run: RunManifest, calls: pa.Table) -> float:
    """The mean tokens that a prompt has in common with those before it; of older runs only the prefix is known."""
    if "cacheable_tokens" in calls.column_names:
        tokens = column(calls, "cacheable_tokens")
        if np.isfinite(tokens).any():
            return float(np.nanmean(tokens))
    return float(run.scenario.shared_prefix_tokens)


def _by_usage(prompt_tokens: Any, cached_tokens: Any) -> float | None:
    # A server that counts leaves none out; one call of unknown share makes the sum unknown.
    if not len(prompt_tokens) or np.isnan(cached_tokens).any() or np.isnan(prompt_tokens).any():
        return None
    return float(cached_tokens.sum() / prompt_tokens.sum()) if prompt_tokens.sum() else None


def _by_counters(telemetry: pa.Table | None) -> float | None:
    asked, hit = (rise(telemetry, f"prefix_cache_{name}_total") for name in ("queries", "hits"))
    return hit / asked if asked and hit is not None else None


def rise(telemetry: pa.Table | None, name: str) -> float | None:
    """By how much one of the server's counters rose from the first sample to the last; None without two."""
    _, values = series(telemetry, "engine", name)
    return float(values[-1] - values[0]) if len(values) > 1 else None


def histogram_mean_ms(telemetry: pa.Table | None, name: str) -> tuple[float | None, float]:
    """(mean of what one of the server's histograms of seconds took in during the run, how many values)."""
    seconds, count = rise(telemetry, f"{name}_sum"), rise(telemetry, f"{name}_count")
    if not count or seconds is None:
        return None, 0.0
    return MS_PER_S * seconds / count, count


def server(telemetry: pa.Table | None) -> ServerMetrics:
    """The server's own latencies and pressure over the whole run, warm-up included; None where it does not say."""
    return ServerMetrics(
        ttft_ms_mean=histogram_mean_ms(telemetry, "server_ttft_s")[0],
        itl_ms_mean=histogram_mean_ms(telemetry, "server_itl_s")[0],
        e2e_ms_mean=histogram_mean_ms(telemetry, "server_e2e_s")[0],
        queue_ms_mean=histogram_mean_ms(telemetry, "server_queue_s")[0],
        queue_max=_peak(telemetry, "queue"),
        running_max=_peak(telemetry, "running"),
        kv_use_fraction_max=_peak(telemetry, "kv_use_fraction"),
        preemptions=rise(telemetry, "preemptions_total"),
    )


def _peak(telemetry: pa.Table | None, name: str) -> float | None:
    _, values = series(telemetry, "engine", name)
    return float(values.max()) if len(values) else None


def rate_limits(requests: pa.Table) -> tuple[RateLimit, ...]:
    """Each limit that responses told of, the tightest first."""
    least: dict[str, RateLimit] = {}
    for text in requests["rate_limits"].drop_null().to_pylist():
        told = json.loads(text)
        for header, value in told.items():
            name, _, kind = header.rpartition("-")
            if kind != "remaining" or not _is_number(value) or not _is_number(told.get(f"{name}-limit")):
                continue
            limit, remaining = float(told[f"{name}-limit"]), float(value)
            known = least.setdefault(name, RateLimit(name, limit, remaining))
            least[name] = replace(known, remaining_min=min(known.remaining_min, remaining))
    return tuple(sorted(least.values(), key=lambda row: row.remaining_min / max(row.limit, 1.0)))


def oddities(calls: pa.Table) -> Oddities:
    """What responses had in them that was not asked for: events that could not be read, and a content coding."""
    unread = pc.fill_null(calls["unread"], 0)
    examples = calls["unread_example"].drop_null()
    return Oddities(
        UnreadEvents(
            calls=pc.sum(pc.greater(unread, 0)).as_py() or 0,
            events=pc.sum(unread).as_py() or 0,
            example=examples[0].as_py() if len(examples) else None,
        ),
        compressed=dict(Counter(calls["encoding"].drop_null().to_pylist()).most_common()),
    )


def _is_number(text: Any) -> bool:
    return isinstance(text, str) and text.isascii() and len(text) < 20 and text.replace(".", "", 1).isdigit()
