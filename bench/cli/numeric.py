"""Options that are numbers, each with its range."""

from decimal import Decimal
from typing import Any, Final

import click

from bench.numeric import read, whole, within


class Plain(click.ParamType[Any]):
    """An option's number, written as any number is read here; its range is for whoever uses it to judge."""

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self.name = "integer" if whole else "float"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = whole(str(value)) if self._whole else read(str(value))
        if found is None:
            self.fail(f"expected {'a whole number' if self._whole else 'a number'}, got {value!r}", param, ctx)
        return found if self._whole else float(found)


class NumberWithin(click.ParamType[Any]):
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


WHOLE: Final = Plain(whole=True)
NUMBER: Final = Plain(whole=False)

USD: Final = NumberWithin("1e-12", 10**6, or_zero=True)
"""Dollars for a request, or for an hour."""
MONTHLY_USD: Final = NumberWithin("1e-6", 10**9, or_zero=True)
"""Dollars a month, or once."""
PART: Final = NumberWithin("1e-6", 1)
"""A share that is not 0."""
SHARE: Final = NumberWithin("1e-6", 1, or_zero=True)
REQUESTS_PER_MONTH: Final = NumberWithin(1, 10**12, whole=True)
TOKENS: Final = NumberWithin(0, 10**7, whole=True)
PROMPT_TOKENS: Final = NumberWithin(1, 10**7, whole=True)
REPLICAS: Final = NumberWithin(0, 10**6, whole=True)
RATIO: Final = NumberWithin(1, 10**6)
HOURS: Final = NumberWithin("1e-3", 10**5)
SECONDS: Final = NumberWithin("1e-3", 86_400, or_zero=True)
PER_HOUR: Final = NumberWithin("1e-6", 1_000, or_zero=True)
SEED: Final = NumberWithin(0, 2**63 - 1, whole=True)
