"""llama.cpp's dialect: OpenAI's with fields of its own."""

from backends.dialect import openai, outgoing
from bench.types import Call, HttpRequest, Target

# Planned output lengths need ignore_eos. timings_per_token puts the token count so far on every chunk, so that a chunk
# which brings several tokens is known for one. Whether prompts are cached is left to the server's settings.
LENGTHS = {"ignore_eos": True}
RUNNING_COUNTS = {"timings_per_token": True}


def request(call: Call, target: Target) -> HttpRequest:
    """The call as a chat completion of exactly `max_tokens` tokens."""
    return openai.chat_request(call, target, LENGTHS | RUNNING_COUNTS if outgoing.is_streamed(target) else LENGTHS)
