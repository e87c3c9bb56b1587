import json
from typing import Any

import pyarrow as pa

from analysis.run import server_metrics
from analysis.run.sections import RateLimit, ServerMetrics
from tests.summaries import manifest_of


def telemetry(**values: list[float]) -> pa.Table:
    rows = [
        {"t_ns": 10**9 * t, "source": "engine", "name": name, "value": value}
        for name, series in values.items()
        for t, value in enumerate(series)
    ]
    return pa.Table.from_pylist(rows)


def test_the_hit_rate_is_a_share_of_tokens_not_a_mean_of_shares(synthetic_run: Any, requests_table: Any) -> None:
    run, _, _ = synthetic_run()
    calls = requests_table([
        {"prompt_tokens": 900, "cached_tokens": 0}, {"prompt_tokens": 100, "cached_tokens": 100},
    ])  # fmt: skip
    found = server_metrics.cache(manifest_of(run), calls, None)
    assert (found.hit_rate, found.source) == (0.1, "usage")


def test_without_usage_the_servers_counters_tell_the_hit_rate(synthetic_run: Any, requests_table: Any) -> None:
    run, _, _ = synthetic_run()
    calls = requests_table([{"prompt_tokens": 900}])
    counters = telemetry(prefix_cache_queries_total=[1000, 1500, 2000], prefix_cache_hits_total=[10, 20, 260])
    found = server_metrics.cache(manifest_of(run), calls, counters)
    assert (found.hit_rate, found.source) == (0.25, "server counters")
    assert server_metrics.cache(manifest_of(run), calls, None).hit_rate is None


def test_what_prompts_share_bounds_a_cold_cache(synthetic_run: Any, requests_table: Any) -> None:
    run, _, _ = synthetic_run()
    run |= {"scenario": {"shared_prefix_tokens": 30}, "tokenizer": {"overhead_tokens": 10}}
    assert server_metrics.cache(manifest_of(run), requests_table([{"prompt_tokens": 400}]), None).cold_at_most == 0.1
    assert server_metrics.cache(manifest_of(run), requests_table([{}]), None).cold_at_most is None


def test_of_texts_a_piece_that_is_known_in_part_is_no_sign_of_a_warm_cache(
    synthetic_run: Any, requests_table: Any
) -> None:
    run, _, _ = synthetic_run()
    run |= {"tokenizer": {"overhead_tokens": 4}}
    calls = requests_table([{"prompt_tokens": 400, "cacheable_tokens": 20}])
    counts = dict.fromkeys(("rows", "empty", "failed", "available", "sessions", "too_long", "estimated"), 0)
    recorded = {
        **counts, "kind": "dataset", "file": "f", "sha256": "", "turns": 9, "without_text": 0, "drawn_prompts": 0,
        "drawn_outputs": 0, "output": "file", "speed": "1", "repeated": 0, "cacheable_share": 0.05,
    }  # fmt: skip
    found = [
        server_metrics.cache(manifest_of(run | {"recorded": each}), calls, None)
        for each in (None, recorded, recorded | {"without_text": 9})
    ]
    assert [each.planned for each in found] == [0.05] * 3
    assert [each.cold_at_most for each in found] == [24 / 400, 40 / 400, 24 / 400]


def test_a_servers_histogram_gives_the_mean_of_what_it_took_in_during_the_run() -> None:
    sampled = telemetry(
        server_ttft_s_sum=[5.0, 5.5, 6.0], server_ttft_s_count=[100, 110, 120], preemptions_total=[3, 3, 5]
    )
    found = server_metrics.server(sampled)
    assert (found.ttft_ms_mean, found.itl_ms_mean, found.preemptions) == (50.0, None, 2.0)
    assert server_metrics.server(None) == ServerMetrics()


def test_of_each_rate_limit_the_least_that_was_left_is_kept_and_the_tightest_comes_first(requests_table: Any) -> None:
    told = [("40", "900"), ("10", "950"), ("12", "800")]
    rows = [
        {"rate_limits": json.dumps({"requests-limit": "50", "requests-remaining": requests,
                                    "tokens-limit": "1000", "tokens-remaining": tokens, "tokens-reset": "soon"})}
        for requests, tokens in told
    ]  # fmt: skip
    assert server_metrics.rate_limits(requests_table([*rows, {"rate_limits": None}])) == (
        RateLimit("requests", 50.0, 10.0),
        RateLimit("tokens", 1000.0, 800.0),
    )
