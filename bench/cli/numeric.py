"""Numbers on the command line: read as they are printed, kept exact, and refused in one line outside of their range."""

from decimal import Decimal, InvalidOperation
from typing import Any, Final

import click

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


class Within(click.ParamType[Any]):
    """An option's number, from low to high: an int where it is `whole`, else a Decimal as exact as it is written."""

    name = "number"

    def __init__(self, low: str | int, high: str | int, *, or_zero: bool = False, whole: bool = False) -> None:
        self.low, self.high = Decimal(low), Decimal(high)
        self.or_zero, self.whole = or_zero, whole

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = self.of(param.opts[0] if param is not None else self.name, str(value))
        return int(found) if self.whole else found

    def of(self, flag: str, text: str) -> Decimal:
        """The number that a text is. UserError, naming the flag, for any other."""
        return within(flag, text, self.low, self.high, or_zero=self.or_zero, whole=self.whole)


USD: Final = Within("1e-12", 10**6, or_zero=True)
"""Dollars for a request, or for an hour."""
MONTHLY_USD: Final = Within("1e-6", 10**9, or_zero=True)
"""Dollars a month, or once."""
PART: Final = Within("1e-6", 1)
"""A share that is not 0."""
SHARE: Final = Within("1e-6", 1, or_zero=True)
REQUESTS_PER_MONTH: Final = Within(1, 10**12, whole=True)
TOKENS: Final = Within(0, 10**7, whole=True)
PROMPT_TOKENS: Final = Within(1, 10**7, whole=True)
REPLICAS: Final = Within(0, 10**6, whole=True)
RATIO: Final = Within(1, 10**6)
HOURS: Final = Within("1e-3", 10**5)
SECONDS: Final = Within("1e-3", 86_400, or_zero=True)
PER_HOUR: Final = Within("1e-6", 1_000, or_zero=True)
SEED: Final = Within(0, 2**63 - 1, whole=True)
