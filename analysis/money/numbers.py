"""Exact amounts: Decimal at the interface, Fraction inside; a float stands for the decimal that it prints as.

A month is 730 h everywhere.
"""

import math
from decimal import Decimal
from fractions import Fraction
from typing import Final

from bench.types import UserError

HOURS_PER_MONTH: Final = 730
SECONDS_PER_HOUR: Final = 3600
SECONDS_PER_MONTH: Final = HOURS_PER_MONTH * SECONDS_PER_HOUR

Number = Decimal | Fraction | float | int


def exact(value: Number) -> Fraction:
    """The number as written: 0.7 is seven tenths, not the nearest float."""
    if type(value) is Fraction:
        return value
    return Fraction(str(value)) if isinstance(value, float) else Fraction(value)


def decimal(value: Fraction) -> Decimal:
    """The amount as a Decimal: exact if its digits end, else to 28 digits."""
    return Decimal(value.numerator) / value.denominator


def at_least_zero(flag: str, value: Number | None) -> None:
    """UserError, naming the flag, unless the value is given, finite and not negative."""
    if value is None:
        raise UserError(f"{flag} is missing; expected a number of at least 0")
    if not math.isfinite(value) or value < 0:
        raise UserError(f"{flag} {value}: expected a number of at least 0")


def share(flag: str, value: Number, least: int | None = None) -> None:
    """UserError unless the value lies in (0, 1], or in [0, 1] with `least` 0."""
    if not math.isfinite(value) or value > 1 or value < 0 or (value == 0 and least != 0):
        raise UserError(f"{flag} {value}: expected a share {'from' if least == 0 else 'above'} 0 to 1, such as 0.7")


def monthly_usd(usd_per_hour: Decimal) -> Decimal:
    """What a price per hour amounts to in a month that is paid in full."""
    return usd_per_hour * HOURS_PER_MONTH
