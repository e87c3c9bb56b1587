"""What a check takes and gives: (run.json, the summary so far) -> the reasons to doubt the run."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

Json = Mapping[str, Any]


class Reason(NamedTuple):
    """Why a run is `suspect` or `invalid`: what was seen, against which limit, and what helps."""

    status: Literal["suspect", "invalid"]
    code: str
    message: str
    value: float | None
    limit: float | None


Check = Callable[[Json, Json], Iterator[Reason]]
