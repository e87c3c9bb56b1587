"""Times as people write them."""

import re
from typing import Final

from bench.numeric import read
from bench.types import UserError

_SECONDS: Final = {"h": 3600, "min": 60, "m": 60, "s": 1, "ms": 0.001}
"""By the unit, the longest first."""
_PART: Final = re.compile(r"\s*([\d.,_]+(?:e[-+]?\d+)?)\s*(ms|s|min|m|h)(?![a-z])", re.ASCII)


def parse_duration(text: str, flag: str = "--duration") -> float:
    """Seconds from `500ms`, `60s`, `2m`, `1.5h`, `1h30m`, and as they are printed: `12 s`, `4 min`, `5 min 05 s`."""
    found = read_duration(text)
    if found is None:
        hint = f"{text.strip()}s" if read(text) is not None and text.strip()[-1].isdigit() else "60s"
        raise UserError(f"{flag}: expected a time with its unit (ms, s, m or h), such as {hint}, got {text!r}")
    return found


def read_duration(text: str) -> float | None:
    """The seconds that a time with its unit is, None for any other text."""
    parts = list(_PART.finditer(text))
    numbers = [number for part in parts if (number := read(part[1])) is not None]
    sizes = [_SECONDS[part[2]] for part in parts]
    is_one = "".join(part[0] for part in parts) == text.rstrip() and sizes == sorted(set(sizes), reverse=True)
    if not parts or not is_one or len(numbers) < len(parts):
        return None
    return sum(float(number) * size for number, size in zip(numbers, sizes, strict=True))


def read_milliseconds(text: str) -> float | None:
    """A bound from `500`, `1,200`, `1.2s` or `500 ms`: milliseconds where no unit says otherwise."""
    number = read(text)
    if number is None:
        seconds = read_duration(text)
        return None if seconds is None else float(f"{1000 * seconds:.12g}")
    return float(number) if number >= 0 and number.is_finite() and "%" not in text else None


def expected(seconds: float) -> str:
    """A time to be expected, as `12 s`, `4 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
