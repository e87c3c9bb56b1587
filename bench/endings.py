"""Why answers end, in the words of many vendors: which are the end that was asked for, and which of these its length.

By vendor in docs/backends.md. A word that is not known is a failure.
"""

from typing import Final

_FOR_LENGTH: Final = frozenset(
    {
        *("length", "max_tokens", "max_new_tokens", "max_length", "max_completion_tokens", "max_output_tokens"),
        *("limit", "stopped_limit", "token_limit", "maximum_tokens"),
    }
)
# By the model's own word, at a stop word that the request named, where the context was full, with the call of a tool.
_SOUND: Final = _FOR_LENGTH | {
    *("stop", "stopped", "eos", "eos_token", "stopped_eos", "endoftext", "end_of_text", "end_turn", "end_of_turn"),
    *("stop_sequence", "stop_token", "stop_word", "stopped_word", "word", "stop_str", "stop_string"),
    *("complete", "completed", "finished", "done", "normal"),
    *("model_length", "model_context_window_exceeded"),
    *("tool_calls", "tool_call", "tool_use", "function_call", "tools"),
}
# Said of an answer that goes on: DashScope's and watsonx's events each have one.
_NOT_YET: Final = frozenset({"null", "none", "not_finished", "in_progress", "unspecified"})


def plain(word: str) -> str:
    """A reason without what one vendor and its client's names of constants put around it: FinishReason.STOP is stop."""
    return word.strip().lower().replace("-", "_").removeprefix("finishreason.").removeprefix("finish_reason_")


def is_sound(word: str) -> bool:
    """Whether an answer that ended so is whole, as it was asked for."""
    return plain(word) in _SOUND


def is_for_length(word: str | None) -> bool:
    """Whether an answer ended so at the length that was asked for."""
    return word is not None and plain(word) in _FOR_LENGTH


def is_ending(word: str) -> bool:
    """Whether a word in the place of a reason says that the answer ended."""
    return plain(word) not in _NOT_YET
