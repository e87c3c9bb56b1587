"""llama.cpp's dialect: OpenAI's with fields of its own."""

from backends.dialect import openai, outgoing, structured
from bench.types import Call, HttpRequest, Target

# Planned output lengths need ignore_eos. timings_per_token puts the token count so far on every chunk, so that a chunk
# which brings several tokens is known for one. Whether prompts are cached is left to the server's settings.
LENGTHS = {"ignore_eos": True}
RUNNING_COUNTS = {"timings_per_token": True}


def request(call: Call, target: Target) -> HttpRequest:
    """The call as a completion of exactly `max_tokens` tokens, unless its form says where it ends."""
    lengths = {} if structured.is_formatted(target) else LENGTHS
    return openai.chat_request(call, target, lengths | (RUNNING_COUNTS if outgoing.is_streamed(target) else {}))
