"""What a check takes and gives: (run.json, summary.json as far as it is known) -> the reasons to doubt the run."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from analysis.run.summary import RunSummary, WrittenFinding
from bench.runs.manifest import RunManifest


class Finding(NamedTuple):
    """Why a run is `suspect` or `invalid`: what was seen, against which limit, and what helps."""

    status: Literal["suspect", "invalid"]
    code: str
    message: str
    value: float | None
    limit: float | None

    @property
    def written(self) -> WrittenFinding:
        """The reason as summary.json has it; its status is the verdict's."""
        return WrittenFinding(self.code, self.message, self.value, self.limit)


Check = Callable[[RunManifest, RunSummary], Iterator[Finding]]
