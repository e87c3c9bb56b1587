"""The request of a run that nobody makes."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

from bench.app.options import RunOptions
from bench.app.request import RunRequest, run_request
from bench.load.spend import Budget

AT: Final = datetime(2026, 1, 1, tzinfo=UTC)


@cache
def _request() -> RunRequest:
    return run_request(RunOptions(backend="openai", model="m", scenario="smoke", url="http://127.0.0.1:9"))


def request(out: Path, budget: Budget | None = None) -> RunRequest:
    made = _request()
    return replace(made, out=out, costs=replace(made.costs, budget=budget))
