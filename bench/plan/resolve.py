"""From the user's options to the load that is offered; every contradiction names its flags."""

import math
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Literal, NamedTuple, TypeVar

from bench.durations import parse_duration
from bench.numeric import read, whole
from bench.plan import course as courses
from bench.suggest import did_you_mean
from bench.types import AT_ONCE, Arrivals, Course, Load, Scenario, Turns, UserError

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


def parse_size(text: str, flag: str, bounds: tuple[int, int]) -> int:
    """Bytes from `512KiB`, `64MiB` or `1GiB`, within the bounds."""
    match = re.fullmatch(r"(.*?)\s*(KiB|MiB|GiB)", text.strip(), re.ASCII)
    found = read(match[1]) if match else None
    if match is None or found is None or found < 0:
        hint = f"{text.strip()}MiB" if re.fullmatch(r"\s*\d+\s*", text) else "64MiB"
        raise UserError(f"{flag}: expected a size with its unit (KiB, MiB or GiB), such as {hint}, got {text!r}")
    return within(flag, int(min(found, Decimal(1 << 40)) * _BYTES[match[2]]), *bounds, " bytes")


def resolve_load(
    scenario: Scenario,
    *,
    concurrency: int | None = None,
    rate: float | Course | None = None,
    arrivals: Arrivals | None = None,
    profile: Sequence[float] | None = None,
    requests: int | None = None,
    sessions: int | None = None,
    duration: str | None = None,
    warmup: str | None = None,
    max_in_flight: int | None = None,
    overload: Literal["wait", "drop"] | None = None,
) -> Load:
    """The load from the flags, with the scenario's defaults: requests, or sessions if it has turns.

    With an infinite `rate` everything is due at once. A course sets the duration unless that is given; a `profile` has
    the weights of periods of equal length, which are spread over `duration`, and `rate` is their mean.

    Warm-up, when not given: with a number of requests the scenario's, and in a closed loop at least one request for
    every slot, so that the ramp is not measured, but never more than are measured; with a duration a tenth of it, 10 s
    at most; none where everything is due at once, or the rate begins at 0. Of sessions the scenario's. An open loop
    takes at most 1,024 requests in flight and then waits, unless told otherwise.
    """
    _exclude("--concurrency", concurrency, "--rate", rate)
    _exclude("--requests", requests, "--duration", duration)
    _exclude("--sessions", sessions, "--duration", duration)
    _exclude("--sessions", sessions, "--requests", requests)
    _check_kind(rate, duration, warmup, {"--arrivals": arrivals or profile, "--overload": overload}, max_in_flight)
    if rate is None:
        concurrency = max_in_flight = _within_if("--concurrency", concurrency, MAX_CONCURRENCY, scenario.concurrency)
    elif rate == math.inf:
        arrivals, warmup = AT_ONCE, "0"
    else:
        gap_spread(arrivals or "poisson")
    max_in_flight = _within_if("--max-in-flight", max_in_flight, MAX_CONCURRENCY, DEFAULT_MAX_IN_FLIGHT)
    if warmup is None and _begins_with_nothing(rate, profile):
        warmup = "0"
    duration_s = None if duration is None else parse_duration(duration)
    if isinstance(rate, tuple) and duration is None and requests is None and sessions is None:
        duration_s = courses.seconds_of(rate)
    length = _length(scenario, requests, sessions, duration_s, warmup, concurrency)
    pace = OfferedRate() if rate is None or rate == math.inf else _pace(rate, profile, length)
    load = Load(
        concurrency=concurrency,
        rate_per_s=pace.mean_per_s,
        arrivals=arrivals or "poisson",
        **length._asdict(),
        max_in_flight=max_in_flight,
        overload=overload or "wait",
        course=pace.course,
    )
    _check_size(load, pace.first_per_s)
    return load


def _check_kind(
    rate: float | Course | None,
    duration: str | None,
    warmup: str | None,
    only_open: Mapping[str, object],
    max_in_flight: int | None,
) -> None:
    """Raise UserError for options that do not apply to this kind of load."""
    if rate is None:
        every = {**only_open, "--max-in-flight": max_in_flight}
        _refuse(every, "applies to an open loop; give --rate as well, or leave it out")
    elif rate == math.inf:
        timed = {"--duration": duration, "--warmup": None if warmup == "0" else warmup}
        _refuse({**only_open, **timed}, "with --rate inf everything is due at once; leave it out")


class Length(NamedTuple):
    """How long a load is measured, and what comes before that: by number or by time."""

    requests: int | None = None
    warmup_requests: int | None = None
    sessions: int | None = None
    warmup_sessions: int | None = None
    duration_s: float | None = None
    warmup_s: float | None = None


def _length(
    scenario: Scenario,
    requests: int | None,
    sessions: int | None,
    duration_s: float | None,
    warmup: str | None,
    concurrency: int | None,
) -> Length:
    """What was asked for, with the scenario's defaults."""
    if duration_s is not None:
        within("--duration", duration_s, 0.1, MAX_DURATION_S, " s")
        return Length(duration_s=duration_s, warmup_s=_warmup_s(warmup, duration_s))
    turns = scenario.turns
    if requests is None and turns is not None:
        count, before = _sessions(turns, sessions, warmup)
        return Length(sessions=count, warmup_sessions=before)
    if sessions is not None:
        requests = within("--sessions", sessions, 1, MAX_REQUESTS)  # each is a request
    requests = _within_if("--requests", requests, MAX_REQUESTS, scenario.requests)
    usual = max(scenario.warmup_requests, concurrency or 0) if turns is None else 0
    return Length(requests=requests, warmup_requests=_warmup_count(warmup, usual, requests, "requests"))


def _begins_with_nothing(rate: float | Course | None, profile: Sequence[float] | None) -> bool:
    return bool(profile and not profile[0]) or (isinstance(rate, tuple) and not rate[0].from_per_s)


class OfferedRate(NamedTuple):
    """How fast calls arrive: the mean rate, and its course; neither in a closed loop."""

    mean_per_s: float | None = None
    course: Course = ()

    @property
    def first_per_s(self) -> float | None:
        """The rate of the warm-up: the initial one."""
        return self.course[0].from_per_s if self.course else self.mean_per_s


def _pace(rate: float | Course, profile: Sequence[float] | None, length: Length) -> OfferedRate:
    if profile is not None:
        if length.duration_s is None:
            raise UserError("--arrivals profile: needs a --duration to spread it over, such as 24h or 10m")
        if isinstance(rate, tuple):
            raise UserError(
                "--arrivals profile: needs a single number as --rate, its mean; the profile is how the rate changes"
            )
        rate = courses.of_weights(profile, length.duration_s, within("--rate", rate, 0.001, MAX_RATE_PER_S))
    if not isinstance(rate, tuple):
        return OfferedRate(within("--rate", rate, 0.001, MAX_RATE_PER_S))
    within("--rate", courses.highest(rate), 0.001, MAX_RATE_PER_S)
    if length.duration_s is not None:
        course = courses.lasting(rate, length.duration_s)
    else:
        count = length.requests or length.sessions or 1
        fitted = courses.until(rate, count)
        if fitted is None:
            raise UserError(f"--rate: {count} requests never arrive at a rate that ends at 0; give --duration instead")
        course = fitted
    if courses.is_even(course):
        return OfferedRate(within("--rate", course[0].from_per_s, 0.001, MAX_RATE_PER_S))
    return OfferedRate(courses.requests_in(course) / courses.seconds_of(course), course)


def _check_size(load: Load, first_per_s: float | None) -> None:
    """Raise UserError for more requests than a plan may have, and for a warm-up during which nothing is sent."""
    if first_per_s == 0 and (load.warmup_s or load.warmup_requests or load.warmup_sessions):
        raise UserError("--warmup: the rate starts at 0, so nothing can be sent before it; leave --warmup out")
    if load.rate_per_s is None or load.duration_s is None or first_per_s is None:
        return
    if load.rate_per_s * load.duration_s + first_per_s * (load.warmup_s or 0) > MAX_REQUESTS:
        raise UserError(
            f"--rate: {load.rate_per_s:g}/s for {load.duration_s:g} s are more than {MAX_REQUESTS} requests; "
            "shorten either"
        )


def gap_spread(arrivals: Arrivals) -> float:
    """The standard deviation of the gaps between arrivals over their mean. Raises UserError for an unknown process."""
    name, _, spread = arrivals.partition(":")
    if arrivals in SPREADS:
        return SPREADS[arrivals]
    if name != "gamma":
        hint = did_you_mean(name, (*SPREADS, "gamma"))
        raise UserError(f"--arrivals {arrivals!r}: expected {', '.join(SPREADS)} or gamma:CV{hint}")
    low, high = GAMMA_SPREADS
    found = read(spread)
    if found is None or not low <= float(found) <= high:
        raise UserError(
            f"--arrivals {arrivals!r}: expected gamma:CV, with a coefficient of variation from {low:g} to {high:g}, "
            "such as gamma:2"
        )
    return float(found)


def _sessions(turns: Turns, asked: int | None, warmup: str | None) -> tuple[int, int]:
    """How many sessions are measured, and how many precede them."""
    sessions = within("--sessions", turns.sessions if asked is None else asked, 1, MAX_REQUESTS)
    before = _warmup_count(warmup, turns.warmup_sessions, sessions, "sessions")
    if (calls := (sessions + before) * turns.count.high) > MAX_REQUESTS:
        raise UserError(f"--sessions: {sessions} may have {calls:,} turns, and a run {MAX_REQUESTS:,}; give fewer")
    return sessions, before


def _warmup_count(warmup: str | None, default: int, measured: int, what: str) -> int:
    if warmup is None:
        return min(default, measured)
    count = whole(warmup)
    if count is None or count < 0:
        raise UserError(f"--warmup: expected a number of {what}, such as 16, like the load, got {warmup!r}")
    return within("--warmup", count, 0, MAX_REQUESTS)


def _warmup_s(warmup: str | None, duration_s: float) -> float:
    if warmup is None:
        return min(duration_s / 10, 10.0)
    if warmup.strip() == "0":
        return 0.0
    return within("--warmup", parse_duration(warmup, "--warmup"), 0, MAX_DURATION_S, " s")


def _refuse(given: Mapping[str, object], why: str) -> None:
    """Raise UserError for the first of these flags that has a value."""
    for flag, value in given.items():
        if value is not None:
            raise UserError(f"{flag}: {why}")


def _within_if(flag: str, value: int | None, most: int, default: int) -> int:
    return within(flag, default if value is None else value, 1, most)


def _exclude(flag: str, value: object, other_flag: str, other: object) -> None:
    if value is not None and other is not None:
        raise UserError(f"{flag} and {other_flag} exclude each other; give one of them")


def within(flag: str, value: Number, low: Number, high: Number, unit: str = "") -> Number:
    """Give the value back when it lies from `low` to `high`; a UserError that names the nearest when it does not."""
    if low <= value <= high:
        return value
    nearest = high if value > high else low
    raise UserError(f"{flag}: must be from {low} to {high}{unit}, got {value}{unit}; the nearest is {nearest}{unit}")
