"""run.json: what a run cannot be believed or repeated without, as it was asked for and as it went.

Written before the load and again after it. None is unknown: nobody saw it, or an older version did not ask.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Final, Literal

from bench.runs import folder as files
from bench.runs.sections import JsonSection, dump, load
from bench.types import Load, Scenario, ServerInfo, Setting, TakenStamps

WindowChoice = Literal["planned", "steady"]
"""All that was measured, or only from where the initial transient ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokenizer(JsonSection):
    """Who counted the prompts' tokens, and whether to the token; of which words, by spaces, prompts are made."""

    words: str | None = None
    tokens_per_word: float | None = None
    overhead_tokens: int | None = None
    exact: bool
    source: str
    turn_tokens: int = 0


@dataclass(frozen=True, slots=True)
class InstalledGpu(JsonSection):
    """A GPU of the client's machine, by NVML's index."""

    name: str
    driver: str | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine(JsonSection):
    """The client's machine; `cpu_id` has the processor's own numbers, by which two of one name are told apart."""

    cpu: str
    cpu_id: str | None = None
    cores: int | None
    memory_bytes: int | None = None
    os: str
    gpus: tuple[InstalledGpu, ...] = ()


@dataclass(frozen=True, slots=True)
class FirstRequest(JsonSection):
    """The request that was sent before the load, in `tries`, and what came back."""

    tries: int
    first_token_ms: float | None = None
    prompt_tokens_wanted: int | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class ArrivedAnswer(JsonSection):
    """One answer as it arrived; `pieces` is how many arrivals brought model output."""

    first_byte_ms: float
    first_token_ms: float
    pieces: int


@dataclass(frozen=True, slots=True)
class NagleProbe(JsonSection):
    """A request, asked so many times: acknowledged as clients do, and at once; `message` where the server waits."""

    delayed: ArrivedAnswer
    quick: ArrivedAnswer
    message: str | None = None
    requests: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HourPricing(JsonSection):
    """What an hour of the server costs, busy or idle; `usd_per_kwh` where its power is to be measured."""

    gpu: str | None = None
    usd_per_hour: Decimal
    usd_per_hour_range: tuple[Decimal, Decimal] | None = None
    source: str | None = None
    as_of: str | None = None
    notes: tuple[str, ...] = ()
    usd_per_kwh: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiPricing(JsonSection):
    """Whose prices the requests are charged at, and the most that all of them may cost."""

    provider: str | None = None
    model: str | None = None
    max_usd: Decimal | None = None
    cache_ttl: Literal["5m", "1h"] | None = None


@dataclass(frozen=True, slots=True)
class Spending(JsonSection):
    """The account of a run that is billed; `left_usd` is below 0 where the cap was passed.

    Of `spent_usd`, `assumed_usd` is what nobody accounted for and was charged at its worst; `dearer_usd` is by how much
    answers have cost more than their worst case.
    """

    cap_usd: Decimal
    spent_usd: Decimal
    assumed_usd: Decimal
    left_usd: Decimal
    dearer_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class SelftestStep(JsonSection):
    """The client's error at p99 at one rate."""

    per_s: float
    error_ms: float | None


@dataclass(frozen=True, slots=True)
class SelftestLimit(JsonSection):
    """Up to which rate the client was exact, what ended it there (None: nothing did), and the rates tried."""

    limit_per_s: float
    bounded_by: str | None
    steps: tuple[SelftestStep, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSelftest(JsonSection):
    """What `bench.py selftest` found on this machine with as many workers: token events and requests per second."""

    measured_at: str
    workers: int | None = None
    events: SelftestLimit
    requests: SelftestLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedTraffic(JsonSection):
    """The user's own traffic that was sent: its file and the hash of its bytes, and nothing of what is in it.

    Of documents the hash is of the prompts that were made of them, `rows` are questions, `empty` found no passage.

    Of `rows`, `empty` ones ask nothing and `failed` ones had no answer. `sessions` of the `available` were taken with
    `turns` in all; `too_long` were left out or cut short. Of the turns `estimated` have a length that nobody counted,
    `without_text` are random words, and the scenario has the lengths of `drawn_prompts` and `drawn_outputs`.
    `repeated` prompts are sent again whole, `cacheable_share` of all prompts' tokens are in an earlier one's beginning.
    """

    kind: Literal["dataset", "trace", "documents"]
    file: str
    sha256: str
    rows: int
    empty: int
    failed: int
    available: int
    sessions: int
    turns: int
    too_long: int
    estimated: int
    without_text: int
    drawn_prompts: int
    drawn_outputs: int
    output: Literal["file", "scenario"]
    speed: str
    repeated: int
    cacheable_share: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSource(JsonSection):
    """An address that `--metrics-url` named, without what is secret in it, what it told of, and how it answered.

    `clock_offset_s` is how far its clock is ahead of ours, known to `clock_offset_within_s`; `scrape_s_max` is the
    longest that an answer took. None where it never said, or its account was lost.
    """

    url: str
    tells: tuple[str, ...]
    scrapes: int | None = None
    failed: int | None = None
    scrape_s_max: float | None = None
    clock_offset_s: float | None = None
    clock_offset_within_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedGpu(JsonSection):
    """A GPU that an exporter tells of, by its number in the telemetry; `instances` are its MIG slices or partitions."""

    index: int
    name: str | None = None
    uuid: str | None = None
    host: str | None = None
    number: str | None = None
    instances: tuple[str, ...] = ()
    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedServer(JsonSection):
    """Where the telemetry of the server is from: exporters, and their GPUs of which `of_gpus` there are in all.

    Without GPUs here those of the client's machine were sampled; `server_is_here` says whether the server runs on it.
    """

    server_is_here: bool | None = None
    sources: tuple[MetricsSource, ...] = ()
    gpus: tuple[ObservedGpu, ...] = ()
    of_gpus: int = 0


@dataclass(frozen=True, slots=True)
class SentImages(JsonSection):
    """The folder whose images went with the prompts, the hash of all of them, and the bytes of each, in their order."""

    folder: str
    sha256: str
    bytes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class BackoffAccount(JsonSection):
    """How often slots waited after a refusal, and for how long together."""

    waits: int
    seat_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadClient(JsonSection):
    """A load process and whose stamps its arrivals have; the rest is None of one that was killed."""

    worker: int | None = None
    backend: str | None = None
    stamps: str
    cpu_s: float | None = None
    wall_s: float | None = None
    peak_rss_bytes: int | None = None
    backoff: BackoffAccount | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenStamps(JsonSection):
    """Whose stamps were asked for (`auto`: the best that are permitted), which are taken, and what better ones lack.

    With `late_reads` a busy client reads on a tick.
    """

    asked: str
    taken: TakenStamps
    lacks: str | None = None
    late_reads: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PacketRing(JsonSection):
    """What the packet ring saw and lost; not `closed` where its process was killed, and its CPU time is then None."""

    seen: int
    dropped: int
    closed: bool = True
    cpu_s: float | None = None


@dataclass(frozen=True, slots=True)
class WindowCut(JsonSection):
    """What of a run's start counts as warm-up although it was planned as measured, and why."""

    calls: int
    s: float
    why: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedFrom(JsonSection):
    """The file of another tool that a run was made of, and the hash of its bytes; `part` of the results in it, from 1.

    `differs` says by metric how theirs is not ours, `lacks` what they do not tell, `untranslated` are keys of theirs
    that have no equivalent here.
    """

    tool: str
    title: str
    version: str | None = None
    file: str
    sha256: str
    part: int = 1
    differs: Mapping[str, str]
    lacks: tuple[str, ...]
    untranslated: tuple[str, ...]


NOTHING_CUT: Final = WindowCut(0, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunManifest(JsonSection):
    """run.json. `model` is the user's name for it, `server.model` the server's.

    `interrupted` is True until the run has come to its end, so that one that was killed says so by itself; `stopped`
    is why it ended early. `clients` and what follows is what the captures say, None before they were decoded. Of an
    `imported` one, which another tool made without any `workers` of ours, most of this is not known.
    """

    schema: int = files.SCHEMA
    run_id: str
    created_at: str
    argv: tuple[str, ...]
    settings: tuple[Setting, ...] | None = None
    backend: str
    model: str
    url: str | None
    launched: bool
    server: ServerInfo
    options: Mapping[str, str] | None = None
    adapted: tuple[str, ...] | None = None
    rehearsal: FirstRequest | None = None
    cache: Literal["cold", "warm"] | None = None
    window: WindowChoice | None = None
    pricing: HourPricing | ApiPricing | None = None
    spending: Spending | None = None
    scenario: Scenario
    recorded: RecordedTraffic | None = None
    images: SentImages | None = None
    load: Load
    seed: int | None
    salt: int | None = None
    plan_hash: str
    tokenizer: Tokenizer
    slo: tuple[str, ...]
    inconclusive: Literal["pass", "fail"] | None = None
    timeout_s: float | None
    stall_timeout_s: float | None
    body_bytes_max: int | None = None
    workers: int
    backoff: bool | None = None
    quick_ack: bool | None = None
    stamps: ChosenStamps | None = None
    nagle: NagleProbe | None = None
    hardware: Machine
    selftest: MachineSelftest | None = None
    telemetry: ObservedServer | None = None
    grid_gco2e_per_kwh: Decimal | None = None
    packages: Mapping[str, str]
    git_commit: str | None = None
    interrupted: bool
    stopped: str | None = None
    notes: tuple[str, ...]
    clients: tuple[LoadClient, ...] | None = None
    packets: PacketRing | None = None
    capture_torn_bytes: int | None = None
    clock_step_ns: int | None = None
    cut: WindowCut | None = None
    imported: ImportedFrom | None = None

    @property
    def created(self) -> datetime:
        """When it was begun; `created_at` as an instant."""
        return datetime.fromisoformat(self.created_at)

    @property
    def is_stationary(self) -> bool:
        """Whether every part of the load is like any other; prompts of sessions grow."""
        return self.load.is_stationary and self.scenario.turns is None


def read(folder: Path) -> RunManifest:
    """Read a run's manifest. Raises UserError where there is none, or one of another version."""
    return load(RunManifest, files.read_json(folder, files.RUN), folder / files.RUN)


def write(folder: Path, manifest: RunManifest, secrets: Sequence[str] = ()) -> None:
    """Write a run's manifest, without the secrets. Raises UserError when the disk does not take it."""
    files.write_json(folder / files.RUN, dump(manifest), secrets)
