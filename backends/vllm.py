"""vLLM: the OpenAI dialect with fields of its own, on a server launched by `vllm serve` or already running.

The server is described in https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html, its metrics in
https://docs.vllm.ai/en/latest/usage/metrics.html.
"""

from backends.cold.vllm import count_tokens, preflight, reset_cache
from backends.dialect.adapting import adapt
from backends.dialect.openai import CHOICES
from backends.dialect.responses import decode
from backends.dialect.vllm import request
from backends.launch.vllm import serve
from bench.types import Backend

BACKEND = Backend(
    name="vllm",
    description="vLLM: launched by `vllm serve`, or already running",
    request=request,
    decode=decode,
    preflight=preflight,
    count_tokens=count_tokens,
    serve=serve,
    adapt=adapt,
    weights="hf",
    options={"thinking": ("default", "off", "on"), "adapter": ("<name>",), **CHOICES},
    reset_cache=reset_cache,
    gauges={
        "queue": "vllm:num_requests_waiting",
        "running": "vllm:num_requests_running",
        "kv_use_fraction": "vllm:kv_cache_usage_perc",
        "generation_tokens_total": "vllm:generation_tokens_total",
        "prompt_tokens_total": "vllm:prompt_tokens_total",
        "prefix_cache_queries_total": "vllm:prefix_cache_queries_total",
        "prefix_cache_hits_total": "vllm:prefix_cache_hits_total",
        "preemptions_total": "vllm:num_preemptions_total",
        "server_ttft_s": "vllm:time_to_first_token_seconds",
        "server_itl_s": "vllm:inter_token_latency_seconds",
        "server_e2e_s": "vllm:e2e_request_latency_seconds",
        "server_queue_s": "vllm:request_queue_time_seconds",
    },
)
