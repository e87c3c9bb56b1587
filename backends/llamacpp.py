"""llama.cpp: the OpenAI dialect with fields of its own, and three ways to launch it.

The server is described in https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md.
"""

from backends.cold.llamacpp import count_tokens, preflight
from backends.dialect.adapting import adapt
from backends.dialect.llamacpp import request
from backends.dialect.openai import CHOICES
from backends.dialect.responses import decode
from backends.launch.llamacpp import serve
from bench.types import Backend

BACKEND = Backend(
    name="llamacpp",
    description="llama.cpp: embedded (xllamacpp), llama-cpp-python, a llama-server binary, or a running server",
    request=request,
    decode=decode,
    preflight=preflight,
    count_tokens=count_tokens,
    serve=serve,
    adapt=adapt,
    options={"adapter": ("<number>",), **CHOICES},
    weights="gguf",
    gauges={
        "queue": "llamacpp:requests_deferred",
        "running": "llamacpp:requests_processing",
        "generation_tokens_total": "llamacpp:tokens_predicted_total",
        "prompt_tokens_total": "llamacpp:prompt_tokens_total",
        "prompt_tokens_cached_total": "llamacpp:prompt_tokens_cached_total",
    },
)
