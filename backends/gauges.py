"""What engines call the metrics that we chart, whichever dialect their requests use."""

from collections.abc import Mapping
from typing import Final

from backends import BACKENDS

SGLANG: Final[Mapping[str, str]] = {
    "queue": "sglang:num_queue_reqs",
    "running": "sglang:num_running_reqs",
    "kv_use_fraction": "sglang:token_usage",
    "generation_tokens_total": "sglang:generation_tokens_total",
    "prompt_tokens_total": "sglang:prompt_tokens_total",
    "prompt_tokens_cached_total": "sglang:cached_tokens_total",
    "server_ttft_s": "sglang:time_to_first_token_seconds",
    "server_itl_s": "sglang:inter_token_latency_seconds",
    "server_e2e_s": "sglang:e2e_request_latency_seconds",
    "server_queue_s": "sglang:queue_time_seconds",
}
"""https://docs.sglang.ai/references/production_metrics.html; a server exports them with --enable-metrics."""


def of_engines() -> dict[str, Mapping[str, str]]:
    """Our names and each engine's, by the engine's name."""
    return {**{name: backend.gauges for name, backend in BACKENDS.items() if backend.gauges}, "sglang": SGLANG}
