"""The sections of summary.json: None is unknown, never 0."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from analysis.stats.distributions import Interval
from bench.runs.manifest import WindowCut
from bench.runs.sections import JsonSection

Intervals = Mapping[str, Interval]
"""95% intervals by the name of what they are of."""


@dataclass(frozen=True, slots=True)
class MeasuredWindow(JsonSection):
    """The stretch that results are of, since the run's start."""

    start_s: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class PhaseSpan(JsonSection):
    """Warm-up, what was measured, or the drain after it."""

    name: str
    start_s: float
    end_s: float


@dataclass(frozen=True, slots=True)
class RequestCounts(JsonSection):
    """What became of the measured calls; `error_share` is of those that did not succeed, whatever became of them."""

    planned: int
    succeeded: int
    failed: int
    dropped: int
    unfinished: int
    by_error: Mapping[str, int] = field(default_factory=dict)
    error_share: float | None = None
    ci95: Intervals = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)

    @property
    def missed(self) -> int:
        """Measured calls that did not succeed, whatever became of them."""
        return self.failed + self.dropped + self.unfinished


@dataclass(frozen=True, slots=True)
class CallFailures(JsonSection):
    """Calls that failed alike, with the first message that was given."""

    code: str
    count: int
    message: str | None = None


@dataclass(frozen=True, slots=True)
class MetricSummary(JsonSection):
    """A metric's distribution over the measured calls that succeeded.

    `worth` is as how many independent requests these count, `why` says why there is no interval.
    """

    count: int = 0
    mean: float | None = None
    std: float | None = None
    min: float | None = None
    max: float | None = None
    p50: float | None = None
    p90: float | None = None
    p95: float | None = None
    p99: float | None = None
    ci95: Intervals = field(default_factory=dict)
    worth: float | None = None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Throughput(JsonSection):
    """What successful calls brought per second of the window, and how much of it was good.

    Goodput is None without an objective. `rates_unknown` and `tokens_unknown` say why there are no rates, or none of
    tokens; `why` says of single rates why they have no interval.
    """

    requests_per_s: float | None = None
    output_tokens_per_s: float | None = None
    total_tokens_per_s: float | None = None
    goodput_rps: float | None = None
    slo_attainment: float | None = None
    rates_unknown: str | None = None
    tokens_unknown: str | None = None
    ci95: Intervals = field(default_factory=dict)
    why: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SloResult(JsonSection):
    """Whether a run met an objective; `met` is None where it is too short to say.

    Not `certain` is what another such run may contradict; `more_requests` would settle it, None where none in reason.

    `value` is None also where it is infinite, by failures; `service_value` is the same from sending, where an
    objective tells the two apart.
    """

    objective: str
    metric: str
    percentile: float | None
    unit: Literal["ms", "share"]
    limit: float
    from_sending: bool = False
    klass: str | None = None
    value: float | None = None
    service_value: float | None = None
    met: bool | None = None
    attainment: float | None = None
    certain: bool = True
    more_requests: int | None = None


@dataclass(frozen=True, slots=True)
class OfferedLoad(JsonSection):
    """An open loop's rates and burstiness as wanted, planned and achieved; all None for a closed loop."""

    wanted_rps: float | None = None
    planned_rps: float | None = None
    achieved_rps: float | None = None
    planned_index_of_dispersion: float | None = None
    index_of_dispersion: float | None = None


@dataclass(frozen=True, slots=True)
class Tail(JsonSection):
    """Median, tail and maximum, in milliseconds."""

    p50: float | None = None
    p99: float | None = None
    max: float | None = None


@dataclass(frozen=True, slots=True)
class Sending(JsonSection):
    """How late this client sent calls that found a slot free, and the share that had to wait for one."""

    late_ms: Tail = Tail()
    waited_share: float | None = None


@dataclass(frozen=True, slots=True)
class ProposedWindow(JsonSection):
    """The window without the initial transient, what it leaves out, and why."""

    start_s: float
    seconds: float
    cut_calls: int
    cut_s: float
    why: str


@dataclass(frozen=True, slots=True)
class Steadiness(JsonSection):
    """How the first token's time and the backlog changed over the run, and which window was chosen for that."""

    ttft_change: float | None = None
    ttft_trend_p: float | None = None
    backlog_growth: float | None = None
    backlog_trend_p: float | None = None
    window: Literal["planned", "steady"] | None = None
    proposed: ProposedWindow | None = None
    cut: WindowCut | None = None


@dataclass(frozen=True, slots=True)
class Stalls(JsonSection):
    """How many answers stood still after their first token for more than a limit; the longest gap, and whose."""

    limit_ms: float | None = None
    answers: int = 0
    longest_ms: float | None = None
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class TokenSources(JsonSection):
    """Who counted output tokens, how many came at once, and what part of the longest answers they are."""

    tokens_equal_chunks: bool | None = None
    tokens_per_arrival: float | None = None
    token_sources: Mapping[str, int] = field(default_factory=dict)
    output_of_max: float | None = None


@dataclass(frozen=True, slots=True)
class PromptLengths(JsonSection):
    """The share of prompts shorter or longer than planned by the server's count, and the median of count over plan."""

    cut_share: float | None = None
    longer_share: float | None = None
    of_planned: float | None = None


@dataclass(frozen=True, slots=True)
class CountChecks(JsonSection):
    """Whether the server's counts agree with each other, the plan and what arrived: calls by `bench.runs.counts` code.

    `unknown_share` is of the calls whose output nobody knows, `repeated_share` of the answers that another had before.
    """

    readings: Mapping[str, int] = field(default_factory=dict)
    contradictions: Mapping[str, int] = field(default_factory=dict)
    unknown_share: float | None = None
    prompts: PromptLengths = PromptLengths()
    finish: Mapping[str, int] = field(default_factory=dict)
    repeated_share: float | None = None


@dataclass(frozen=True, slots=True)
class StreamShape(JsonSection):
    """How tokens came, by the median over answers; see analysis/run/shape.py."""

    answers: int = 0
    bursts: float | None = None
    arrivals_per_burst: float | None = None
    tokens_per_burst: float | None = None
    burst_spread: float | None = None
    decode_share: float | None = None
    first_gap_of_gaps: float | None = None
    ttft_of_first_gap: float | None = None
    ttft_by_length: float | None = None
    blank_share: float | None = None
    blank_pause_ms: float | None = None
    whole_share: float | None = None


@dataclass(frozen=True, slots=True)
class SelftestAtLoad(JsonSection):
    """When this machine's selftest was made, and the client's error at p99 that it saw under this load."""

    measured_at: str
    error_ms: float | None = None


@dataclass(frozen=True, slots=True)
class PacketsSeen(JsonSection):
    """What the packet ring saw of the whole run; of `answers` the `unstamped` have the stamps of reads instead."""

    seen: int
    dropped: int
    retransmitted: int
    answers: int
    unstamped: int


@dataclass(frozen=True, slots=True)
class ClientHealth(JsonSection):
    """How this client fared in the window: its CPU, its lag behind the kernel, reads that brought several arrivals."""

    cpu_fraction: float | None = None
    lag_ms: Tail = Tail()
    stamps: str | None = None
    packets: PacketsSeen | None = None
    reads: int | None = None
    coalesced_reads: int | None = None
    token_events_per_s: float | None = None
    selftest: SelftestAtLoad | None = None


@dataclass(frozen=True, slots=True)
class BackoffWaits(JsonSection):
    """How often and how long slots waited after a refusal, and what share of all slots' time that was."""

    waits: int | None = None
    seat_s: float | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class PromptCache(JsonSection):
    """How much of the prompts came out of the server's prefix cache, beside what the run meant."""

    meant: Literal["cold", "warm"] | None = None
    hit_rate: float | None = None
    source: str | None = None
    planned: float | None = None
    cold_at_most: float | None = None


@dataclass(frozen=True, slots=True)
class ServerMetrics(JsonSection):
    """The server's own latencies and pressure over the whole run; None where it does not say."""

    ttft_ms_mean: float | None = None
    itl_ms_mean: float | None = None
    e2e_ms_mean: float | None = None
    queue_ms_mean: float | None = None
    queue_max: float | None = None
    running_max: float | None = None
    kv_use_fraction_max: float | None = None
    preemptions: float | None = None


@dataclass(frozen=True, slots=True)
class RateLimit(JsonSection):
    """A limit that responses told of, and the least that was left of it."""

    name: str
    limit: float
    remaining_min: float


@dataclass(frozen=True, slots=True)
class UnreadEvents(JsonSection):
    """Events of answers that could not be read and were passed over, with the first of them."""

    calls: int = 0
    events: int = 0
    example: str | None = None


@dataclass(frozen=True, slots=True)
class Oddities(JsonSection):
    """What answers had in them that was not asked for; `compressed` counts calls by their content coding."""

    unread: UnreadEvents = UnreadEvents()
    compressed: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GpuUse(JsonSection):
    """What one GPU did in the window; `energy_source` says whether its energy was counted or made of its power.

    `energy_coverage` is the share of the window that was watched: below 90% there is no energy.
    """

    index: int
    name: str | None = None
    util_pct_mean: float | None = None
    memory_used_bytes_max: int | None = None
    power_w_mean: float | None = None
    energy_j: float | None = None
    energy_source: Literal["counter", "power"] | None = None
    energy_coverage: float | None = None


@dataclass(frozen=True, slots=True)
class PriceSource(JsonSection):
    """Where prices are from, in which version, and of which day."""

    source: str | None = None
    version: str | None = None
    as_of: str | None = None


@dataclass(frozen=True, slots=True)
class RunCost(JsonSection):
    """What a run cost in dollars: an API's requests by their usage, a deployment of one's own by the hour.

    `ci95` has the intervals of the four figures by their names; `usd_per_hour` is the lowest and the highest.
    """

    basis: Literal["api", "self-hosted"]
    priced_as: str | None = None
    api_usd: float | None = None
    usd_per_request: float | None = None
    usd_per_good_request: float | None = None
    usd_per_million_output_tokens: float | None = None
    usd_per_million_total_tokens: float | None = None
    ci95: Intervals = field(default_factory=dict)
    usd_per_hour: tuple[float, float] | None = None
    prices: PriceSource | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class HostUse(JsonSection):
    """Who had the cores of the client's machine, and how full its wire was; see analysis/run/host_contention.py."""

    busy_cores: float | None = None
    client_busy_cores: float | None = None
    server_busy_cores: float | None = None
    other_busy_cores: float | None = None
    stolen_cores: float | None = None
    contended_share: float | None = None
    link_share: float | None = None


@dataclass(frozen=True, slots=True)
class GpuThrottling(JsonSection):
    """The shares of the window in which a GPU's clocks were held down by heat or supply, and by its power limit."""

    index: int
    slowed_share: float
    power_capped_share: float
