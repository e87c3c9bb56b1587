"""Options that are numbers, each with its range."""

from decimal import Decimal
from typing import Any, Final

import click

from bench.numeric import Range, read, whole


class Plain(click.ParamType[Any]):
    """An option's number; commas, k and m are read as everywhere, and its range is checked by whoever uses it."""

    def __init__(self, *, whole: bool) -> None:
        self._whole = whole
        self.name = "N" if whole else "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = whole(str(value)) if self._whole else read(str(value))
        if found is None:
            self.fail(f"expected {'a whole number' if self._whole else 'a number'}, got {value!r}", param, ctx)
        return found if self._whole else float(found)


class NumberWithin(click.ParamType[Any]):
    """An option's number within its range: an int if only whole numbers are allowed, else exactly as written."""

    def __init__(self, allowed: Range) -> None:
        self.range = allowed
        self.name = "N" if allowed.whole else "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | Decimal:
        found = self.range.of(param.opts[0] if param is not None else self.name, str(value))
        return int(found) if self.range.whole else found


WHOLE: Final = Plain(whole=True)
NUMBER: Final = Plain(whole=False)
