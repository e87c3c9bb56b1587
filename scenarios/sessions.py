"""A scenario's sessions, in its file and on the command line."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final, Literal

from bench.durations import parse_duration
from bench.numeric import read, whole
from bench.types import Lengths, Pause, Scenario, Turns, UserError

MAX_TURNS: Final = 10_000
MAX_PAUSE_S: Final = 24 * 3600.0
NO_PAUSE: Final = Pause("fixed", 0.0)
_MAX_SIGMA: Final = 3.0
_FORMS: Final = "a time such as 5s, exponential:5s (its mean), or lognormal:5s:1 (its median and sigma)"


def with_turns(
    scenario: Scenario, turns: str | None, think_time: str | None, history: Literal["actual", "planned"] | None
) -> Scenario:
    """The scenario with the flags for sessions applied; one of single requests becomes one of sessions."""
    count = None if turns is None else _count(turns)
    own = scenario.turns
    if own is None:
        for flag, value in (("--think-time", think_time), ("--history", history)):
            if count is None and value is not None:
                raise UserError(f"{flag}: applies to sessions; give --turns as well, or a scenario with turns")
        if count is None:
            return scenario
        own = Turns(count, added_tokens(scenario), NO_PAUSE)
    pause = own.pause if think_time is None else parse_pause(think_time, "--think-time")
    return replace(scenario, turns=replace(own, count=count or own.count, pause=pause, history=history or own.history))


def added_tokens(scenario: Scenario) -> Lengths:
    """What a later turn adds by default: as much as the first has of its own."""
    prompt, shared = scenario.prompt_tokens, scenario.shared_prefix_tokens
    median = None if prompt.median is None else max(1.0, prompt.median - shared)
    return replace(prompt, low=max(1, prompt.low - shared), high=max(1, prompt.high - shared), median=median)


def parse_pause(text: str, name: str) -> Pause:
    """A pause from `5s`, `exponential:5s` or `lognormal:5s:1`. Raises UserError that begins with the name."""
    kind, *rest = text.strip().split(":") if ":" in text else ("fixed", text)
    if (kind, len(rest)) not in (("fixed", 1), ("exponential", 1), ("lognormal", 2)):
        raise UserError(f"{name}: expected {_FORMS}, got {text!r}")
    seconds = 0.0 if rest[0].strip() == "0" else parse_duration(rest[0], name)
    if seconds > MAX_PAUSE_S:
        raise UserError(f"{name}: must be at most {MAX_PAUSE_S:g} s, got {seconds:g} s")
    if kind != "lognormal":
        return Pause("exponential" if kind == "exponential" else "fixed", seconds)
    sigma = read(rest[1])
    if sigma is None or not 0 < sigma <= _MAX_SIGMA:
        raise UserError(f"{name}: a lognormal's sigma is above 0 and at most {_MAX_SIGMA:g}, got {rest[1]!r}")
    return Pause("lognormal", seconds, float(sigma))


def pause_text(value: Any) -> Any:
    """A pause in a file as the command line writes it; anything else stays as it is."""
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, of),) = value.items()
        if kind == "exponential":
            return f"exponential:{of}"
        if kind == "lognormal" and isinstance(of, Mapping) and of.keys() == {"median", "sigma"}:
            return f"lognormal:{of['median']}:{of['sigma']}"
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


def _count(text: str) -> Lengths:
    """How many turns: `5`, or `2..8` for a uniform choice."""
    first, dots, last = text.partition("..")
    low, high = whole(first), whole(last if dots else first)
    if low is None or high is None or not 1 <= low <= high <= MAX_TURNS:
        raise UserError(f"--turns: expected a number from 1 to {MAX_TURNS}, or a range such as 2..8, got {text!r}")
    return Lengths("fixed" if low == high else "uniform", low, high)
