"""Exit codes of all commands, and which of several counts."""

from collections.abc import Iterable
from typing import Final

EXIT_OBJECTIVE_MISSED: Final = 1
EXIT_USER_ERROR: Final = 2
EXIT_NOT_TO_BE_TRUSTED: Final = 3
EXIT_OUT_OF_BUDGET: Final = 4
EXIT_BUG: Final = 70  # EX_SOFTWARE
EXIT_INTERRUPTED: Final = 130
EXIT_NOBODY_READS: Final = 141  # what a shell reports of a program that SIGPIPE ended


def worst_of(codes: Iterable[int]) -> int:
    """Give the exit code of several runs: their worst, 0 where there is none."""
    return max(codes, default=0)  # the numbers rise with how little can be made of a run
