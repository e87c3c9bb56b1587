"""What lies in a folder of results: a line for each run, and one for each folder of runs of one question.

Read from the few keys that a line shows, so that ten thousand folders are read in seconds; that the rest of a file is
right is checked by whoever reads it whole. None is unknown, never 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from bench.runs.sections import JsonSection, load
from bench.types import UserError

Kind = Literal["run", "repeats", "capacity", "ab", "sweep", "gate"]

UNFINISHED: Final = "unfinished"
BROKEN: Final = "broken"
COMPARABLE: Final[tuple[Kind, ...]] = ("run", "repeats")
"""What `compare` takes as one side: a run, or runs of one load."""
FIGURES: Final = ("ttft_ms_p50", "ttft_ms_p99", "tpot_ms_p50", "output_tokens_per_s", "usd_per_million_output_tokens")
_RANKED: Final = ("valid", "suspect", "not verifiable", "invalid", "missing", "failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedResult(JsonSection):
    """A run, or a folder of runs of one question. `name` is its path below the folder that is listed.

    `status` is its verdict, else what became of it; `said` its answer, or what is wrong with it. `page` is a relative
    address. `plan` tells requests apart: two of one plan were asked the same. `stamps` are when its files changed.
    A name that is not `typeable` has characters that act on a terminal or are no text, and is shown with these escaped.
    """

    name: str
    kind: Kind
    created_at: str
    status: str
    said: str = ""
    backend: str = ""
    model: str = ""
    scenario: str = ""
    load: str = ""
    runs: int = 1
    plan: str = ""
    ttft_ms_p50: float | None = None
    ttft_ms_p99: float | None = None
    tpot_ms_p50: float | None = None
    output_tokens_per_s: float | None = None
    usd_per_million_output_tokens: float | None = None
    page: str | None = None
    typeable: bool = True
    stamps: tuple[str | None, ...] = ()

    @property
    def is_concluded(self) -> bool:
        """Whether it has results."""
        return self.status not in (UNFINISHED, BROKEN)


# --- the keys that are read -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Named(JsonSection):
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _LoadHead(JsonSection):
    concurrency: int | None = None
    rate_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHead(JsonSection):
    """Of run.json."""

    created_at: str
    backend: str
    model: str
    scenario: _Named
    load: _LoadHead
    plan_hash: str
    interrupted: bool
    stopped: str | None = None

    @property
    def created(self) -> datetime:
        """When it was begun. Raises UserError where that is no instant."""
        try:
            found = datetime.fromisoformat(self.created_at)
        except ValueError:
            raise UserError(f"run.json: created_at: expected an instant, found {self.created_at[:40]!r}") from None
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)

    @property
    def offered(self) -> str:
        """Its load in short."""
        if self.load.concurrency is not None:
            return f"{self.load.concurrency} in flight"
        return "all at once" if self.load.rate_per_s is None else f"{self.load.rate_per_s:.4g}/s"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Status(JsonSection):
    status: Literal["valid", "suspect", "not verifiable", "invalid"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Percentiles(JsonSection):
    p50: float | None = None
    p99: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Served(JsonSection):
    output_tokens_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cost(JsonSection):
    usd_per_million_output_tokens: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _SummaryHead(JsonSection):
    """Of summary.json, and of repeats.json, which has the same keys."""

    verdict: _Status
    metrics: Mapping[str, _Percentiles]
    throughput: _Served
    cost: _Cost | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rate(JsonSection):
    rate_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class _CapacityHead(JsonSection):
    capacity: _Rate


@dataclass(frozen=True, slots=True, kw_only=True)
class _Judged(JsonSection):
    verdict: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _AbHead(JsonSection):
    comparison: _Judged


@dataclass(frozen=True, slots=True, kw_only=True)
class _ContenderHead(JsonSection):
    backend: str
    model: str
    loads: tuple[_Judged, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _StudyHead(JsonSection):
    answer: str
    contenders: tuple[_ContenderHead, ...]


# --- from what was read to a line -----------------------------------------------------------------------------------


def head_of(run: Any) -> RunHead:
    """What a line shows of run.json. Raises UserError for what is none."""
    return load(RunHead, run, "run.json")


def described(line: ListedResult, heads: Sequence[RunHead]) -> ListedResult:
    """The line with what the run.json of its runs say; of several loads it names none."""
    if not heads:
        return line

    def common(values: Sequence[str]) -> str:
        return values[0] if len(set(values)) == 1 else ""

    return replace(
        line,
        created_at=min(head.created for head in heads).isoformat(timespec="seconds"),
        backend=", ".join(dict.fromkeys(head.backend for head in heads)),
        model=", ".join(dict.fromkeys(head.model for head in heads)),
        scenario=common([head.scenario.name for head in heads]),
        load=common([head.offered for head in heads]),
        plan=common([head.plan_hash for head in heads])[:16],
        runs=len(heads),
    )


def concluded(line: ListedResult, content: Any, file: str) -> ListedResult:
    """The line with what its results say. Raises UserError for a file that is none."""
    match line.kind:
        case "run" | "repeats":
            return _of_summary(line, load(_SummaryHead, content, file))
        case "capacity":
            rate = load(_CapacityHead, content, file).capacity.rate_per_s
            return replace(line, status="found", said=f"{rate:.4g} requests/s meet the objectives")
        case "ab":
            return replace(line, status=load(_AbHead, content, file).comparison.verdict)
        case "gate":
            return replace(line, status=load(_Judged, content, file).verdict)
        case "sweep":
            return _of_study(line, load(_StudyHead, content, file))


def _of_summary(line: ListedResult, found: _SummaryHead) -> ListedResult:
    ttft, tpot = (found.metrics.get(name, _Percentiles()) for name in ("ttft_ms", "tpot_ms"))
    return replace(
        line,
        status=found.verdict.status,
        ttft_ms_p50=ttft.p50,
        ttft_ms_p99=ttft.p99,
        tpot_ms_p50=tpot.p50,
        output_tokens_per_s=found.throughput.output_tokens_per_s,
        usd_per_million_output_tokens=found.cost.usd_per_million_output_tokens if found.cost else None,
    )


def _of_study(line: ListedResult, found: _StudyHead) -> ListedResult:
    """Its status is that of its worst cell; contenders without a run are named too."""
    verdicts = [cell.verdict for contender in found.contenders for cell in contender.loads]
    ranked = sorted((verdict for verdict in verdicts if verdict in _RANKED), key=_RANKED.index)
    return replace(
        line,
        status=ranked[-1] if ranked else "found",
        said=found.answer,
        backend=", ".join(dict.fromkeys(contender.backend for contender in found.contenders)),
        model=", ".join(dict.fromkeys(contender.model for contender in found.contenders)),
    )
