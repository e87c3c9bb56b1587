"""Text Generation Inference: its native stream, or its OpenAI dialect.

The API is described in https://huggingface.github.io/text-generation-inference.
"""

from backends.cold.tgi import count_tokens, preflight
from backends.dialect import structured
from backends.dialect.adapting import adapt
from backends.dialect.outgoing import CHOICES
from backends.dialect.tgi import decode, frame_from, request
from backends.launch.tgi import serve
from bench.types import Backend

BACKEND = Backend(
    name="tgi",
    description="Hugging Face's Text Generation Inference: its native stream, or its OpenAI dialect",
    request=request,
    decode=decode,
    preflight=preflight,
    count_tokens=count_tokens,
    serve=serve,
    adapt=adapt,
    weights="hf",
    frame=frame_from,
    options={"dialect": ("native", "chat"), "adapter": ("<name>",), **CHOICES, **structured.CHOICES},
    # server.rs updates the histograms when a stream ends; its mean time per token includes the prefill: no ITL.
    gauges={
        "queue": "tgi_queue_size",
        "running": "tgi_batch_current_size",
        "generation_tokens_total": "tgi_request_generated_tokens_sum",
        "prompt_tokens_total": "tgi_request_input_length_sum",
        "server_queue_s": "tgi_request_queue_duration",
        "server_e2e_s": "tgi_request_duration",
    },
)
