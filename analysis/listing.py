"""What lies in a folder of results: a line for each run, and one for each folder of runs of one question.

Read from the few keys that a line shows, so that ten thousand folders are read in seconds; that the rest of a file is
right is checked by whoever reads it whole. None is unknown, never 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from analysis.wording import SEVERITY
from bench.runs.sections import JsonSection, dump, load
from bench.types import UserError

Kind = Literal["run", "repeats", "capacity", "ab", "sweep", "gate"]

UNFINISHED: Final = "unfinished"
BROKEN: Final = "broken"
COMPARABLE: Final[tuple[Kind, ...]] = ("run", "repeats", "sweep")
"""What `compare` takes: as one side a run, or runs of one load; a sweep is as many sides as it has contenders."""
FIGURES: Final = ("ttft_ms_p50", "ttft_ms_p99", "tpot_ms_p50", "output_tokens_per_s", "usd_per_million_output_tokens")


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
class RunHead(JsonSection):
    """What a line shows of run.json."""

    created_at: str
    backend: str
    model: str
    scenario: str
    concurrency: int | None = None
    rate_per_s: float | None = None
    plan_hash: str
    interrupted: bool
    stopped: str | None = None

    @property
    def created(self) -> datetime:
        """When it began. Raises UserError where that is not an instant."""
        try:
            found = datetime.fromisoformat(self.created_at)
        except ValueError:
            raise UserError(f"run.json: created_at: expected an instant, found {self.created_at[:40]!r}") from None
        return found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)

    @property
    def offered(self) -> str:
        if self.concurrency is not None:
            return f"{self.concurrency} in flight"
        return "all at once" if self.rate_per_s is None else f"{self.rate_per_s:.4g}/s"


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyRunHead(JsonSection):
    """A run of a study, by its folder within the study's."""

    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyCellHead(JsonSection):
    """A contender under one load: its verdict and its runs."""

    verdict: str
    load: str = ""
    runs: tuple[StudyRunHead, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ContenderHead(JsonSection):
    """A contender of a study."""

    backend: str
    model: str
    loads: tuple[StudyCellHead, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyHead(JsonSection):
    """What is read of study.json: its answer, the load that its table is of, and its contenders."""

    answer: str
    main_load: str | None = None
    contenders: tuple[ContenderHead, ...]


# Where a file has what is shown under another name, the keys within each other joined by dots.
_OF_RUN: Final = {
    **{field.name: field.name for field in fields(RunHead) if field.name != "other"},
    "scenario": "scenario.name",
    "concurrency": "load.concurrency",
    "rate_per_s": "load.rate_per_s",
}
_OF_SUMMARY: Final = {
    "status": "verdict.status",
    "ttft_ms_p50": "metrics.ttft_ms.p50",
    "ttft_ms_p99": "metrics.ttft_ms.p99",
    "tpot_ms_p50": "metrics.tpot_ms.p50",
    "output_tokens_per_s": "throughput.output_tokens_per_s",
    "usd_per_million_output_tokens": "cost.usd_per_million_output_tokens",
}


def _at(content: Any, place: str) -> Any:
    """The value at a place such as `load.concurrency`, None where there is none."""
    for key in place.split("."):
        content = content.get(key) if isinstance(content, Mapping) else None
    return content


def _known(content: Any, places: Mapping[str, str]) -> dict[str, Any]:
    found = {name: _at(content, place) for name, place in places.items()}
    return {name: value for name, value in found.items() if value is not None}


# --- from what was read to a line -----------------------------------------------------------------------------------


def head_of(run: Any) -> RunHead:
    """What a line shows of run.json. Raises UserError for what is none."""
    return load(RunHead, _known(run, _OF_RUN), "run.json")


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
        scenario=common([head.scenario for head in heads]),
        load=common([head.offered for head in heads]),
        plan=common([head.plan_hash for head in heads])[:16],
        runs=len(heads),
    )


def concluded(line: ListedResult, content: Any, file: str) -> ListedResult:
    """The line with what its results say. Raises UserError for a file that is none."""
    match line.kind:
        case "run" | "repeats":
            return _with(line, content, _OF_SUMMARY, file)
        case "capacity":
            rate = load(float, _at(content, "capacity.rate_per_s"), file)
            return replace(line, status="found", said=f"{rate:.4g} requests/s meet the objectives")
        case "ab":
            return _with(line, content, {"status": "comparison.verdict"}, file)
        case "gate":
            return _with(line, content, {"status": "verdict"}, file)
        case "sweep":
            return _of_study(line, load(StudyHead, content, file))


def _with(line: ListedResult, content: Any, places: Mapping[str, str], file: str) -> ListedResult:
    """The line with what stands at these places; without a verdict the file has no results."""
    if _at(content, places["status"]) is None:
        raise UserError(f"{file}: expected a verdict, there is none; it was edited, or another version wrote it")
    return load(ListedResult, {**dump(line), **_known(content, places)}, file)


def _of_study(line: ListedResult, found: StudyHead) -> ListedResult:
    """Its status is that of its worst cell; contenders without a run are named too."""
    verdicts = [cell.verdict for contender in found.contenders for cell in contender.loads]
    return replace(
        line,
        status=max((verdict for verdict in verdicts if verdict in SEVERITY), key=SEVERITY.index, default="found"),
        said=found.answer,
        backend=", ".join(dict.fromkeys(contender.backend for contender in found.contenders)),
        model=", ".join(dict.fromkeys(contender.model for contender in found.contenders)),
    )
