"""How an open loop's calls arrive, from the user's options: `--rate`, `--arrivals`, and files of hours."""

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from analysis.breakeven.traffic import checked, weights
from analysis.money.numbers import Number
from bench import numeric
from bench.durations import parse_duration
from bench.types import Course, RateSegment, UserError

_PROFILED: Final = re.compile(r"((?P<process>[^,]*),)?profile:(?P<path>.*)", re.DOTALL)
_EXPECTED: Final = "expected requests/s such as 4, a ramp such as 1..10:5m, steps such as 2:1m,20:10s,2:1m, or inf"
# A number may contain commas, between thousands; see bench.numeric.
_PART: Final = re.compile(r"([^:]+):([^:,]+)(?:,|$)")


def of(rate: str | None, arrivals: str | None) -> dict[str, Any]:
    """The arguments of `resolve_load` for both; reads the profile, which a process may precede: `gamma:2,`.

    Raises UserError.
    """
    pace = None if rate is None else _pace(str(rate))
    named = None if arrivals is None else _PROFILED.fullmatch(arrivals)
    if named is None:
        return {"rate": pace}
    weights = profile(Path(named["path"]), "--arrivals profile")
    return {"rate": pace, "arrivals": named["process"], "profile": tuple(map(float, weights))}


def _pace(text: str) -> float | Course:
    if text.strip().lower() == "inf":
        return math.inf
    if ":" not in text and ".." not in text:
        return _number(text, text)
    parts = list(_PART.finditer(text))
    if "".join(part[0] for part in parts) != text or text.endswith(","):
        raise UserError(f"--rate {text}: {_EXPECTED}")
    return tuple(_stretch(part[1], part[2], text) for part in parts)


def _stretch(rates: str, time: str, whole: str) -> RateSegment:
    first, dots, last = rates.partition("..")
    seconds = parse_duration(time, "--rate")
    if not seconds:
        raise UserError(f"--rate {whole}: expected a time above 0, got {time!r}")
    low = _number(first, whole)
    return RateSegment(seconds, low, _number(last, whole) if dots else low)


def _number(text: str, whole: str) -> float:
    found = numeric.read(text)
    if found is None or not found.is_finite() or found < 0:
        raise UserError(f"--rate {whole}: {_EXPECTED}")
    return float(found)


def profile(path: Path, flag: str = "--traffic-profile") -> Sequence[Number]:
    """The weights of the hours of a day or a week. Raises UserError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        reason = getattr(problem, "strerror", None) or "not UTF-8"
        raise UserError(f"{flag} {path}: cannot be read: {reason}; expected 168 or 24 weights") from None
    return checked(weights(text, flag), flag)
