"""Recorded traffic: when requests came, and which prompt prefix each used, from the text of a file."""

import csv
import math
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.money.numbers import Number, at_least_zero, exact
from analysis.stats.distributions import Floats
from bench.types import UserError

PREFIX: Final = "prefix"
_TIMES: Final = ("timestamp", "time")

# The year 5138 in seconds: a larger number counts something shorter.
_LARGEST_S: Final = 1e11


class Trace(NamedTuple):
    """Arrival times in Unix seconds, in the file's order, and the name of each request's prefix where it tells."""

    arrivals_s: Floats
    prefixes: npt.NDArray[np.str_] | None


def trace(text: str, flag: str = "--traffic") -> Trace:
    """Times, one a line or as a column of CSV: Unix seconds or ISO 8601 (UTC where it names no zone).

    The column is the one named `timestamp` or `time`, else the first that holds times; one named `prefix` says which
    requests share a prefix. UserError names the line that is malformed.
    """
    lines = [(number, row) for number, row in enumerate(csv.reader(text.splitlines()), 1) if any(map(str.strip, row))]
    header: list[str] = []
    if lines and not any(_is_time(cell) for cell in lines[0][1]):
        header = [cell.strip().lower() for cell in lines.pop(0)[1]]
    if not lines:
        raise UserError(f"{flag} has no arrival times: expected one a line, in Unix seconds or ISO 8601")
    named = [i for i, name in enumerate(header) if name in _TIMES]
    holding = [i for i, cell in enumerate(lines[0][1]) if _is_time(cell)]
    at = (named or holding or [0])[0]
    arrivals_s = np.array([_time_s(row, at, f"{flag}: line {number}") for number, row in lines])
    if PREFIX not in header:
        return Trace(arrivals_s, None)
    prefix = header.index(PREFIX)
    return Trace(arrivals_s, np.array([row[prefix].strip() if prefix < len(row) else "" for _, row in lines]))


def weights(text: str, flag: str = "--profile") -> list[Number]:
    """Numbers separated by blanks, commas or lines. UserError for what is none, and for negative ones."""
    found: list[Number] = []
    for word in text.replace(",", " ").split():
        try:
            found.append(exact(float(word)))
        except (ValueError, OverflowError):
            raise UserError(f"{flag}: expected numbers such as 3 or 0.5, got {word!r}") from None
        at_least_zero(f"{flag}: weight", found[-1])
    return found


def _time_s(row: Sequence[str], at: int, place: str) -> float:
    cell = row[at].strip() if at < len(row) else ""
    seconds = _seconds(cell)
    if seconds is None:
        raise UserError(f"{place}: expected a time in Unix seconds or ISO 8601, got {cell!r}")
    if not 0 <= seconds < _LARGEST_S:
        raise UserError(f"{place}: expected Unix seconds, got {cell}: is it in milliseconds?")
    return seconds


def _is_time(cell: str) -> bool:
    return _seconds(cell.strip()) is not None


def _seconds(cell: str) -> float | None:
    with suppress(ValueError):
        seconds = float(cell)
        return seconds if math.isfinite(seconds) else None
    with suppress(ValueError):
        at = datetime.fromisoformat(cell)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    return None
