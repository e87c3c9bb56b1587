"""Any server of OpenAI's chat completions API: OpenAI, vLLM, SGLang, Ollama, llama.cpp and many others."""

from backends.cold.openai import count_tokens, loaded_context, preflight
from backends.dialect.adapting import adapt
from backends.dialect.openai import CHOICES, request
from backends.dialect.responses import decode
from bench.types import Backend

BACKEND = Backend(
    name="openai",
    description="any server of OpenAI's chat completions API: OpenAI, SGLang, Ollama, LM Studio, hosted models",
    request=request,
    decode=decode,
    preflight=preflight,
    count_tokens=count_tokens,
    counts_by_asking=True,
    adapt=adapt,
    options=CHOICES,
    loaded_context=loaded_context,
)
