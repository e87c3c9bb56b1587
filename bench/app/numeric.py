"""Numbers as users write them: read as they are printed, kept exact, refused in one line outside of their range."""

from decimal import Decimal, InvalidOperation
from typing import Final

from bench.types import UserError

_SUFFIXES: Final = {"%": Decimal("0.01"), "k": Decimal(1_000), "m": Decimal(10**6), "b": Decimal(10**9)}
_LONGEST: Final = 64


def read(text: str) -> Decimal | None:
    """The number that a text is: 2,000,000 or 2e6 or 2m, 70% or 0.7, $0.34; None for any other, and for NaN."""
    bare = text.strip().lower().removeprefix("$").replace(",", "").replace("_", "")
    factor = _SUFFIXES.get(bare[-1:])
    try:
        found = Decimal(bare[:-1] if factor else bare) if len(bare) <= _LONGEST else Decimal("NaN")
    except InvalidOperation:
        return None
    return None if found.is_nan() else found * (factor or 1)


def whole(text: str) -> int | None:
    """The whole number that a text is; None for any other."""
    found = read(text)
    return int(found) if found is not None and found.is_finite() and found == found.to_integral_value() else None


def within(flag: str, text: str, low: Decimal, high: Decimal, *, or_zero: bool = False, whole: bool = False) -> Decimal:
    """The number, from low to high (or 0). UserError that names the flag, what was expected, and what came."""
    found = read(text)
    if (
        found is not None
        and found.is_finite()
        and (low <= found <= high or (or_zero and not found))
        and (not whole or found == found.to_integral_value())
    ):
        return found
    kind = "a whole number" if whole else "a number"
    zero = "0, or " if or_zero and low > 0 else ""
    raise UserError(f"{flag} {text[:_LONGEST]}: expected {zero}{kind} from {_shown(low)} to {_shown(high)}")


def _shown(number: Decimal) -> str:
    if number == number.to_integral_value() and number <= 10**12:
        return f"{number:,f}"
    return f"{number.normalize():f}" if Decimal("1e-6") <= number < 1 else f"{number:.0e}"
