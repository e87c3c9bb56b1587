"""Anthropic's Messages API, as implemented by Anthropic, vLLM and llama.cpp's server."""

from backends.cold.claude import count_tokens, preflight
from backends.dialect.adapting import adapt
from backends.dialect.claude import DEFAULT_URL, KEY_VARIABLE, OPTIONS, decode, request
from bench.types import Backend

BACKEND = Backend(
    name="claude",
    description="Anthropic's Messages API: Claude, and other servers that implement it",
    request=request,
    decode=decode,
    preflight=preflight,
    count_tokens=count_tokens,
    options=OPTIONS,
    adapt=adapt,
    key_variable=KEY_VARIABLE,
    provider="anthropic",
    default_url=DEFAULT_URL,
    bills_errors=False,  # https://platform.claude.com/docs/en/api/errors
)
