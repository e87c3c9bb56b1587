"""Numbers as users write them: read as they are printed, kept exact, refused in one line outside of their range."""

import re
from dataclasses import dataclass
from decimal import Decimal, DecimalException
from typing import Final

from bench.types import UserError

_SUFFIXES: Final = {"": Decimal(1), "%": Decimal("0.01"), "k": Decimal(1_000), "m": Decimal(10**6), "b": Decimal(10**9)}
_LONGEST: Final = 64
# Commas stand between thousands and nowhere else: 1,4 is a list, and 0,5 is 0.5 to some and 5 to others.
_FORM: Final = re.compile(
    r"([-+]?)\$?((?:\d{1,3}(?:,\d{3})+|[\d_]+)?(?:\.\d*)?(?:e[-+]?\d+)?|inf(?:inity)?)\s*([%kmb]?)"
)


def read(text: str) -> Decimal | None:
    """The number that a text is: 2,000,000 or 2e6 or 2m, 70% or 0.7, $0.34; None for any other."""
    form = _FORM.fullmatch(text.strip().lower()) if len(text) <= _LONGEST else None
    try:
        return Decimal(form[1] + form[2].replace(",", "")) * _SUFFIXES[form[3]] if form else None
    except DecimalException:
        return None


def whole(text: str) -> int | None:
    """The whole number that a text is; None for any other."""
    found = read(text)
    return int(found) if found is not None and _is_whole(found) else None


@dataclass(frozen=True, slots=True)
class Range:
    """What numbers an option takes: from low to high, as they are written; with `or_zero` 0 as well."""

    low: str | int
    high: str | int
    or_zero: bool = False
    whole: bool = False

    def of(self, flag: str, text: str) -> Decimal:
        """The number that a text is. UserError that names the flag, what was expected, and what came."""
        found, low, high = read(text), Decimal(self.low), Decimal(self.high)
        if (
            found is not None
            and found.is_finite()
            and (low <= found <= high or (self.or_zero and not found))
            and (not self.whole or _is_whole(found))
        ):
            return found
        kind = "a whole number" if self.whole else "a number"
        zero = "0, or " if self.or_zero and low > 0 else ""
        raise UserError(f"{flag} {text[:_LONGEST]}: expected {zero}{kind} from {_shown(low)} to {_shown(high)}")


def _is_whole(number: Decimal) -> bool:
    """Whether a number has no fraction; one of more digits than anything here counts has one, as it were."""
    return number.is_finite() and number.adjusted() < _LONGEST and number == number.to_integral_value()


def _shown(number: Decimal) -> str:
    if number == number.to_integral_value() and number <= 10**12:
        return f"{number:,f}"
    return f"{number.normalize():f}" if Decimal("1e-6") <= number < 1 else f"{number:.0e}"
