"""llama.cpp's dialect: OpenAI's with fields of its own."""

from typing import Any

from backends.dialect import openai, outgoing, structured
from bench.types import Call, HttpRequest, Target

# Planned output lengths need ignore_eos. timings_per_token puts the token count so far on every chunk, which shows when
# a chunk carries several tokens. Whether prompts are cached is left to the server's settings.
LENGTHS = {"ignore_eos": True}
RUNNING_COUNTS = {"timings_per_token": True}


def request(call: Call, target: Target) -> HttpRequest:
    """The call as a completion of exactly `max_tokens` tokens, unless its response format says where it ends.

    `adapter` is a number in the server's list; llama-server applies none of those that a request does not name (its
    README, `lora`).
    """
    fields: dict[str, Any] = {} if structured.is_formatted(target) else dict(LENGTHS)
    if outgoing.is_streamed(target):
        fields |= RUNNING_COUNTS
    if adapter := target.options.get("adapter"):
        fields["lora"] = [{"id": int(adapter), "scale": 1.0}]
    return openai.chat_request(call, target, fields)
