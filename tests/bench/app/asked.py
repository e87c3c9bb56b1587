"""What a run is asked, as far as campaigns look at it."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from bench.load.spend import Budget


@dataclass(frozen=True)
class Asked:
    out: Path
    budget: Budget | None
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)


ASKED: Final = Asked(Path(), None)


def request(out: Path, budget: Budget | None = None) -> Any:
    return Asked(out, budget)
