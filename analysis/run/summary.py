"""summary.json: what one run measured, and whether to believe it.

Every number is a number until it is printed. None is unknown, never 0; a section that an older version did not write
has nothing known in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from analysis.run.energy import RunEnergy
from analysis.run.nodes import NodeUse
from analysis.run.sections import (
    BackoffWaits,
    CallFailures,
    ClientHealth,
    CountChecks,
    GpuThrottling,
    GpuUse,
    HostUse,
    MeasuredWindow,
    MetricSummary,
    Oddities,
    OfferedLoad,
    PhaseSpan,
    PromptCache,
    RateLimit,
    RequestCounts,
    RunCost,
    Sending,
    ServerMetrics,
    SloResult,
    Stalls,
    Steadiness,
    StreamShape,
    Throughput,
    TokenSources,
)
from analysis.run.sessions import SessionFigures
from bench.runs import folder as files
from bench.runs.sections import JsonSection, dump, load

Status = Literal["valid", "suspect", "not verifiable", "invalid"]


@dataclass(frozen=True, slots=True)
class WrittenFinding(JsonSection):
    """Why a run is not valid: what was seen, against which limit, and what helps, in a sentence."""

    code: str
    message: str
    value: float | None = None
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class RunVerdict(JsonSection):
    """Whether to believe a run: the worst of its reasons, the worst first.

    What another tool measured is not verifiable: its reasons say what is missing.
    """

    status: Status
    reasons: tuple[WrittenFinding, ...] = ()

    @property
    def codes(self) -> frozenset[str]:
        return frozenset(reason.code for reason in self.reasons)

    @property
    def because(self) -> str:
        """All reasons in one line."""
        return "; ".join(reason.message for reason in self.reasons)


@dataclass(frozen=True, slots=True)
class Identity(JsonSection):
    """An equation of sound runs; `holds` is None where this run lacks what it needs."""

    name: str
    holds: bool | None = None
    seen: float | None = None
    expected: float | None = None
    tolerance: float | None = None


# A metric that a summary has nothing of.
UNMEASURED: Final = MetricSummary()


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestGroup(JsonSection):
    """What the whole summary says, of the requests of one class, or of those that one adapter answered."""

    name: str
    requests: RequestCounts
    metrics: Mapping[str, MetricSummary]
    throughput: Throughput


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSummary(JsonSection):
    schema: int = files.SCHEMA
    run_id: str
    backend: str
    model: str
    scenario: str
    plan_hash: str
    seed: int | None
    verdict: RunVerdict
    window: MeasuredWindow
    phases: tuple[PhaseSpan, ...] = ()
    requests: RequestCounts
    failures: tuple[CallFailures, ...] = ()
    metrics: Mapping[str, MetricSummary]
    throughput: Throughput
    slo: tuple[SloResult, ...] = ()
    classes: tuple[RequestGroup, ...] = ()
    adapters: tuple[RequestGroup, ...] = ()
    inconclusive: Literal["pass", "fail"] | None = None
    offered: OfferedLoad = field(default_factory=OfferedLoad)
    sending: Sending = field(default_factory=Sending)
    steadiness: Steadiness = field(default_factory=Steadiness)
    stalls: Stalls = field(default_factory=Stalls)
    tokens: TokenSources = field(default_factory=TokenSources)
    counts: CountChecks = field(default_factory=CountChecks)
    shape: StreamShape = field(default_factory=StreamShape)
    client: ClientHealth = field(default_factory=ClientHealth)
    backoff: BackoffWaits = field(default_factory=BackoffWaits)
    cache: PromptCache = field(default_factory=PromptCache)
    server: ServerMetrics = field(default_factory=ServerMetrics)
    rate_limits: tuple[RateLimit, ...] = ()
    oddities: Oddities = field(default_factory=Oddities)
    gpu: tuple[GpuUse, ...] = ()
    energy: RunEnergy | None = None
    nodes: tuple[NodeUse, ...] = ()
    cost: RunCost | None = None
    host: HostUse = field(default_factory=HostUse)
    throttling: tuple[GpuThrottling, ...] = ()
    identities: tuple[Identity, ...] = ()
    sessions: SessionFigures | None = None

    def metric(self, name: str) -> MetricSummary:
        """A metric by its name, with nothing known where the summary has none of it."""
        return self.metrics.get(name, UNMEASURED)

    @property
    def tokens_per_s_per_user(self) -> float | None:
        """The speed the median request was read at: 1000 / tpot."""
        tpot_ms = self.metric("tpot_ms").p50
        return 1000 / tpot_ms if tpot_ms else None


def read(folder: Path) -> RunSummary:
    """Read a run's summary. Raises UserError where there is none, or one of another version."""
    return load(RunSummary, files.read_json(folder, files.SUMMARY), folder / files.SUMMARY)


def write(folder: Path, summary: RunSummary) -> None:
    """Write a run's summary. Raises UserError when the disk does not take it."""
    files.write_json(folder / files.SUMMARY, dump(summary))
