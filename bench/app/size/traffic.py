"""A load to size for, from recorded traffic: its busiest minute, its lengths, and what a prefix cache makes of it."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from bench.types import UserError
from scenarios.traffic import read_all
from scenarios.traffic.facts import facts

_MINUTE_S: Final = 60


class RecordedLoad(NamedTuple):
    """The busiest minute's rate, mean lengths, the most tokens of a prompt and its answer; `shown` is all of it."""

    rate_per_s: float
    prompt_tokens: int
    output_tokens: int
    longest_tokens: int
    shown: Mapping[str, Any]


def recorded_load(name: str) -> RecordedLoad:
    """Read the traffic of a file, a folder or a pattern. Raises UserError where it has no times or no lengths."""
    found = facts(row for _, row in read_all(name, "--traffic"))
    if found.span_s is None or found.prompt is None or found.output is None or found.longest is None:
        lacks = "times" if found.span_s is None else "lengths of prompts and answers"
        raise UserError(f"--traffic {name}: has no {lacks}; give --rate, --prompt-tokens and --output-tokens instead")
    peak_per_s = found.busiest_minute / _MINUTE_S
    shown = {
        "file": name,
        "requests": found.rows,
        "span_s": found.span_s,
        "mean_rate_per_s": found.rows / found.span_s if found.span_s else None,
        "peak_rate_per_s": peak_per_s,
        "prompt_tokens": found.prompt._asdict(),
        "output_tokens": found.output._asdict(),
        "cached_share_by_ttl": dict(found.cached_shares),
        "recorded_cached_share": found.recorded_cached_share,
    }
    prompt, output = (max(1, round(lengths.mean)) for lengths in (found.prompt, found.output))
    return RecordedLoad(peak_per_s, prompt, output, max(found.longest, prompt + output), shown)
