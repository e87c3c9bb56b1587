"""Times as people write them."""

import re

from bench.types import UserError

_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}


def parse_duration(text: str, flag: str = "--duration") -> float:
    """Seconds from `500ms`, `60s`, `2m` or `1.5h`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)", text.strip())
    if not match:
        hint = f"{text.strip()}s" if re.fullmatch(r"\s*\d+(\.\d+)?\s*", text) else "60s"
        raise UserError(f"{flag}: expected a time with its unit (ms, s, m or h), such as {hint}, got {text!r}")
    return float(match[1]) * _SECONDS[match[2]]


def expected(seconds: float) -> str:
    """A time to be expected, as `12 s`, `4 min`, `2.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
