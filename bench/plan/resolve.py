"""From what the user asked for to the load that is offered; every contradiction is named by its flags."""

import re
from typing import Literal, TypeVar

from bench.suggest import did_you_mean
from bench.types import Arrivals, Load, Scenario, Turns, UserError

Number = TypeVar("Number", int, float)

MAX_CONCURRENCY = 100_000
MAX_RATE_PER_S = 1_000_000
MAX_REQUESTS = 10_000_000
MAX_DURATION_S = 7 * 24 * 3600
DEFAULT_MAX_IN_FLIGHT = 1024  # one connection each: within most systems' limit of open files, 1,024 and more

SPREADS = {
    "constant": 0.0,
    "poisson": 1.0,
}
"""By the name of an arrival process: the standard deviation of its gaps over their mean."""
GAMMA_SPREADS = 0.05, 20.0

_BYTES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def parse_duration(text: str, flag: str = "--duration") -> float:
    """Seconds from `500ms`, `60s`, `2m` or `1.5h`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text.strip())
    if not match:
        hint = f"{text.strip()}s" if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text) else "60s"
        raise UserError(f"{flag}: expected a time with its unit (ms, s, m or h), such as {hint}, got {text!r}")
    return float(match[1]) * _SECONDS[match[2]]


def parse_size(text: str, flag: str, bounds: tuple[int, int]) -> int:
    """Bytes from `512KiB`, `64MiB` or `1GiB`, within the bounds."""
    match = re.fullmatch(r"(\d{1,9})(KiB|MiB|GiB)", text.strip(), re.ASCII)
    if not match:
        hint = f"{text.strip()}MiB" if re.fullmatch(r"\s*\d+\s*", text) else "64MiB"
        raise UserError(f"{flag}: expected a size with its unit (KiB, MiB or GiB), such as {hint}, got {text!r}")
    size: int = within(flag, int(match[1]) * _BYTES[match[2]], *bounds, " bytes")
    return size


def resolve_load(
    scenario: Scenario,
    *,
    concurrency: int | None = None,
    rate: float | None = None,
    arrivals: Arrivals | None = None,
    requests: int | None = None,
    sessions: int | None = None,
    duration: str | None = None,
    warmup: str | None = None,
    max_in_flight: int | None = None,
    overload: Literal["wait", "drop"] | None = None,
) -> Load:
    """The load as the flags say, and where they do not, as the scenario does: requests, or sessions where it has turns.

    Warm-up, when not given: with a number of requests the scenario's, and in a closed loop at least one request for
    every slot, so that the ramp is not measured, but never more than are measured; with a duration a tenth of it, 10 s
    at most. Of sessions the scenario's. An open loop takes at most 1,024 requests in flight and then waits, unless told
    otherwise.
    """
    _exclude("--concurrency", concurrency, "--rate", rate)
    _exclude("--requests", requests, "--duration", duration)
    _exclude("--sessions", sessions, "--duration", duration)
    _exclude("--sessions", sessions, "--requests", requests)
    if rate is None:
        for flag, value in (("--arrivals", arrivals), ("--max-in-flight", max_in_flight), ("--overload", overload)):
            if value is not None:
                raise UserError(f"{flag}: only an open loop has it; give --rate as well, or leave it out")
        concurrency = scenario.concurrency if concurrency is None else concurrency
        max_in_flight = within("--concurrency", concurrency, 1, MAX_CONCURRENCY)
    else:
        within("--rate", rate, 0.001, MAX_RATE_PER_S)
        gap_spread(arrivals or "poisson")
        max_in_flight = DEFAULT_MAX_IN_FLIGHT if max_in_flight is None else max_in_flight
        within("--max-in-flight", max_in_flight, 1, MAX_CONCURRENCY)
    duration_s = warmup_s = warmup_requests = warmup_sessions = None
    turns = scenario.turns
    if turns is None and sessions is not None:
        requests, sessions = within("--sessions", sessions, 1, MAX_REQUESTS), None  # each is a request
    if duration is None and requests is None and turns is not None:
        sessions, warmup_sessions = _sessions(turns, sessions, warmup)
    elif duration is None:
        requests = within("--requests", scenario.requests if requests is None else requests, 1, MAX_REQUESTS)
        warmup_requests = _warmup_count(
            warmup, max(scenario.warmup_requests, concurrency or 0) if turns is None else 0, requests, "requests"
        )
    else:
        duration_s = within("--duration", parse_duration(duration), 0.1, MAX_DURATION_S, " s")
        warmup_s = _warmup_s(warmup, duration_s)
        if rate is not None and rate * (warmup_s + duration_s) > MAX_REQUESTS:
            raise UserError(f"--rate: {rate:g}/s for {duration} are more than {MAX_REQUESTS} requests; shorten either")
    return Load(
        concurrency=concurrency,
        rate_per_s=rate,
        arrivals=arrivals or "poisson",
        requests=requests,
        duration_s=duration_s,
        warmup_requests=warmup_requests,
        warmup_s=warmup_s,
        max_in_flight=max_in_flight,
        overload=overload or "wait",
        sessions=sessions,
        warmup_sessions=warmup_sessions,
    )


def gap_spread(arrivals: Arrivals) -> float:
    """The standard deviation of the gaps between arrivals over their mean. Raises UserError for no known process."""
    name, _, spread = arrivals.partition(":")
    if arrivals in SPREADS:
        return SPREADS[arrivals]
    if name != "gamma":
        hint = did_you_mean(name, (*SPREADS, "gamma"))
        raise UserError(f"--arrivals {arrivals!r}: expected {', '.join(SPREADS)} or gamma:CV{hint}")
    low, high = GAMMA_SPREADS
    if not re.fullmatch(r"\d+(\.\d+)?", spread) or not low <= float(spread) <= high:
        raise UserError(
            f"--arrivals {arrivals!r}: expected gamma:CV, the gaps' spread over their mean from {low:g} to {high:g}, "
            "such as gamma:2"
        )
    return float(spread)


def _sessions(turns: Turns, asked: int | None, warmup: str | None) -> tuple[int, int]:
    """How many sessions are measured, and how many come before them."""
    sessions = within("--sessions", turns.sessions if asked is None else asked, 1, MAX_REQUESTS)
    before = _warmup_count(warmup, turns.warmup_sessions, sessions, "sessions")
    if (calls := (sessions + before) * turns.count.high) > MAX_REQUESTS:
        raise UserError(f"--sessions: {sessions} may have {calls:,} turns, and a run {MAX_REQUESTS:,}; give fewer")
    return sessions, before


def _warmup_count(warmup: str | None, default: int, measured: int, what: str) -> int:
    if warmup is None:
        return min(default, measured)
    if not warmup.strip().isdecimal():
        raise UserError(f"--warmup: expected a number of {what}, such as 16, since the load is one, got {warmup!r}")
    return within("--warmup", int(warmup), 0, MAX_REQUESTS)


def _warmup_s(warmup: str | None, duration_s: float) -> float:
    if warmup is None:
        return min(duration_s / 10, 10.0)
    if warmup.strip() == "0":
        return 0.0
    return within("--warmup", parse_duration(warmup, "--warmup"), 0, MAX_DURATION_S, " s")


def _exclude(flag: str, value: object, other_flag: str, other: object) -> None:
    if value is not None and other is not None:
        raise UserError(f"{flag} and {other_flag} exclude each other; give one of them")


def within(flag: str, value: Number, low: Number, high: Number, unit: str = "") -> Number:
    """Give the value back when it lies from `low` to `high`; a UserError that names the nearest when it does not."""
    if low <= value <= high:
        return value
    nearest = high if value > high else low
    raise UserError(f"{flag}: must be from {low} to {high}{unit}, got {value}{unit}; the nearest is {nearest}{unit}")
