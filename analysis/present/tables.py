"""The tables of a run, and what was asked of which server, as names and texts."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from analysis.present.document import TONES, Cell, Column, Columns, Table, table
from analysis.present.in_words import lengths, load
from analysis.run.nodes import NodeUse
from analysis.run.phrasing import UNSAID, phrasing
from analysis.run.sections import GpuUse, SloResult
from analysis.run.sessions import TurnFigures
from analysis.run.slo import objectives_of
from analysis.run.summary import Identity, RunSummary
from analysis.stats.distributions import carries
from analysis.wording import DASH, count, cut, number, percent
from bench.runs.manifest import (
    ChosenStamps,
    MetricsSource,
    ObservedGpu,
    ObservedServer,
    RunManifest,
)

MESSAGE_LENGTH: Final = 400
SETTING_LENGTH: Final = 120
Rows = list[tuple[str, str]]


# --- results ----------------------------------------------------------------------------------------------------


def objectives(summary: RunSummary) -> Table:
    """Whether each objective was met, by how many requests, and whether another such run would end so too."""
    columns: Columns[SloResult] = (
        (Column("objective", "left"), lambda each: each.objective),
        (Column("outcome", "left"), _outcome),
        (Column("seen", "left", wraps=True), lambda each: _seen(each, summary.requests.planned)),
        (Column("met by"), lambda each: percent(each.attainment)),
        (Column("certain", "left", drop=2), _certain),
        (Column("limit", drop=1), lambda each: _in_its_unit(each, each.limit)),
    )
    caption = (
        "Over all measured requests; a failed one misses every objective. Certain: another such run would have the "
        "same outcome"
    )
    return table(columns, summary.slo, caption)


def _outcome(result: SloResult) -> Cell:
    undecided = "counted" if result.objective.endswith("(goodput)") else "cannot be decided"
    text = {True: "met", False: "missed", None: undecided}[result.met]
    return Cell(text, tone=TONES.get(text, ""))


def _seen(result: SloResult, planned: int) -> str:
    if result.met is False and result.value is None and carries(planned, (result.percentile or 0.0) / 100):
        return "∞ (failures)"
    seen = _in_its_unit(result, result.value)
    if result.service_value is None or result.value is None:
        return seen
    if result.from_sending:
        return f"{seen} from sending"
    return f"{seen} from when it was due, {_in_its_unit(result, result.service_value)} from sending"


def _in_its_unit(result: SloResult, value: float | None) -> str:
    return percent(value) if result.unit == "share" else _with_unit(value, "ms")


def _certain(result: SloResult) -> str:
    if result.certain and result.met is not None:
        return "yes"
    return DASH if result.more_requests is None else f"with {count(result.more_requests, 'more request')}"


def turns(summary: RunSummary) -> Table:
    """How each turn of the sessions fared."""
    columns: Columns[TurnFigures] = (
        (Column("turn", "left"), lambda each: "–".join(dict.fromkeys((str(each.turn), str(each.to_turn))))),
        (Column("requests"), lambda each: number(each.calls)),
        (Column("prompt, tokens"), lambda each: number(each.prompt_tokens_mean)),
        (Column("ttft p50, ms"), lambda each: number(each.ttft_ms_p50)),
        (Column("ttft p90, ms", drop=1), lambda each: number(each.ttft_ms_p90)),
        (Column("cached"), lambda each: percent(each.cached_share)),
        (Column("cacheable"), lambda each: percent(each.cacheable_share)),
    )
    caption = "Cacheable: the share an unbounded prefix cache would serve. Cached: the share the server reports"
    return table(columns, summary.sessions.by_turn if summary.sessions else (), caption)


def gpus(summary: RunSummary) -> Table:
    """What each GPU did."""
    columns: Columns[GpuUse] = (
        (Column("GPU", "left"), lambda card: str(card.index)),
        (Column("name", "left", drop=2), lambda card: card.name or DASH),
        (Column("utilisation, mean"), lambda card: percent(card.util_pct_mean and card.util_pct_mean / 100)),
        (Column("memory used, peak", drop=1), lambda card: _gib(card.memory_used_bytes_max)),
        (Column("power, mean"), lambda card: _with_unit(card.power_w_mean, "W")),
        (Column("energy"), lambda card: _with_unit(card.energy_j, "J")),
        (Column("watched", drop=3), lambda card: percent(card.energy_coverage)),
    )
    return table(columns, summary.gpu, "Over the measured window")


def nodes(summary: RunSummary) -> Table:
    """What each machine of a server elsewhere did."""
    columns: Columns[NodeUse] = (
        (Column("machine", "left"), lambda machine: str(machine.index)),
        (Column("reported by", "left", drop=2), lambda machine: machine.url or DASH),
        (Column("busy cores, mean"), lambda machine: number(machine.busy_cores_mean)),
        (Column("memory used, peak", drop=1), lambda machine: _gib(machine.memory_used_bytes_max)),
        (Column("CPU energy"), lambda machine: _with_unit(machine.energy_j, "J")),
        (Column("watched", drop=3), lambda machine: percent(machine.energy_coverage)),
    )
    return table(columns, summary.nodes, "Over the measured window; not included in the energy figures above")


def errors(requests: pa.Table) -> Table:
    """What failed, by falling count, with the first message of each code."""
    failed = requests.filter(pc.or_(pc.is_valid(requests["error"]), pc.is_null(requests["end_ns"])))
    codes = [code or "unfinished" for code in failed["error"].to_pylist()]
    # Of equal keys the last one stays: backwards that is the first message.
    messages = dict(reversed(list(zip(codes, failed["error_message"].to_pylist(), strict=True))))
    by_phase = Counter(zip(codes, failed["phase"].to_pylist(), strict=True))
    columns: Columns[str] = (
        (Column("code", "left"), lambda code: code),
        (Column("measured"), lambda code: number(by_phase[code, "measured"])),
        (Column("warm-up"), lambda code: number(by_phase[code, "warmup"])),
        (Column("first message", "left", wraps=True), lambda code: cut(messages[code] or DASH, MESSAGE_LENGTH)),
    )
    return table(columns, (code for code, _ in Counter(codes).most_common()), "Failed requests")


def identities(summary: RunSummary) -> Table:
    """Whether each equation of a sound run holds."""
    holds = {True: "holds", False: "does not hold", None: "not checked"}
    columns: Columns[Identity] = (
        (Column("check", "left"), lambda check: check.name.replace("_", " ")),
        (Column("seen"), lambda check: number(check.seen)),
        (Column("expected"), lambda check: number(check.expected)),
        (Column("tolerance"), lambda check: number(check.tolerance)),
        (Column("outcome", "left"), lambda check: holds[check.holds]),
    )
    return table(columns, summary.identities, "Equations that hold in every sound run")


# --- what was asked, and of what --------------------------------------------------------------------------------


def sent(run: RunManifest) -> Rows:
    """What was asked of the server."""
    scenario, tokenizer = run.scenario, run.tokenizer
    exact = "exact" if tokenizer.exact else "an estimate"
    return [
        ("Scenario", f"{scenario.name}: {scenario.description}"),
        ("Load", load(run.load, run.scenario)),
        ("Prompt tokens", lengths(scenario.prompt_tokens)),
        ("Shared prefix", count(scenario.shared_prefix_tokens, "token")),
        ("Output tokens", lengths(scenario.output_tokens)),
        ("Prompt lengths", f"{exact}, counted by {tokenizer.source}"),
        *_worded(run),
        ("Adapted to this server", "; ".join(run.adapted or ()) or "nothing"),
        ("Objectives", ", ".join(each.text for each in objectives_of(run)) or "none"),
        ("Timeouts", f"{number(run.timeout_s)} s in total, {number(run.stall_timeout_s)} s without a byte"),
        ("Client processes", number(run.workers)),
        ("After a refusal", "slots retry at once" if run.backoff is False else "slots wait (--backoff)"),
        ("TCP acknowledgements", "immediate (--quick-ack on)" if run.quick_ack else "the system's default"),
        ("Arrival timestamps", _stamps(run.stamps)),
        ("Seed", str(run.seed)),
        ("Plan", run.plan_hash),
    ]


def _stamps(chosen: ChosenStamps | None) -> str:
    if chosen is None:
        return "by the kernel, or by this client where it cannot"
    lacks = f"; {chosen.lacks}" if chosen.lacks else ""
    return f"{chosen.taken} (--stamps {chosen.asked}{lacks})"


def _worded(run: RunManifest) -> Rows:
    """How the requests were worded: the temperature, and what is not as it is unless asked for."""
    phrased = phrasing(run.backend, run.options)
    heat = phrased.pop("temperature")
    unusual = {name.replace("_", " ").capitalize(): phrased[name] for name in phrased if phrased[name] != UNSAID[name]}
    return [
        ("Temperature", "the server's default" if heat == "server" else heat),
        *((label, cut(value, SETTING_LENGTH)) for label, value in unusual.items()),
    ]


def environment(run: RunManifest) -> Rows:
    """Server, hardware and software of the run."""
    server, hardware = run.server, run.hardware
    rows = [
        ("Server", f"{server.name} {server.version or '(version unknown)'}"),
        ("Model served", server.model),
        ("Address", f"{run.url} ({'launched for this run' if run.launched else 'already running'})"),
        ("Context", count(server.context_tokens, "token") if server.context_tokens else "unknown"),
        *((f"Server: {name}", cut(_text(value), SETTING_LENGTH)) for name, value in server.settings.items()),
        *(
            (f"GPU {i}", f"{gpu.name}, {_gib(gpu.memory_bytes)}, driver {gpu.driver or 'unknown'}")
            for i, gpu in enumerate(hardware.gpus)
        ),
        ("CPU", f"{hardware.cpu}, {count(hardware.cores, 'core')}"),
        ("Memory", _gib(hardware.memory_bytes)),
        ("Operating system", hardware.os),
        ("Packages", ", ".join(f"{name} {version}" for name, version in run.packages.items()) or "unknown"),
        ("Commit of this tool", run.git_commit or "unknown"),
        ("Command", " ".join(run.argv)),
    ]
    if run.telemetry is not None and run.telemetry.sources:
        return [*rows, *_observed(run.telemetry)]
    return rows if hardware.gpus else [*rows, ("GPU", "none on this machine")]


def _observed(server: ObservedServer) -> Rows:
    """The GPUs and addresses of a server elsewhere."""
    return [
        *((f"GPU {gpu.index} of the server", _exported(gpu)) for gpu in server.gpus),
        *((f"Metrics of {source.url}", _answered(source)) for source in server.sources),
    ]


def _exported(gpu: ObservedGpu) -> str:
    parts = f"cut into {count(len(gpu.instances), 'instance')}" if gpu.instances else None
    return ", ".join(filter(None, (gpu.name or "unknown", gpu.uuid, gpu.host, parts)))


def _answered(source: MetricsSource) -> str:
    told = ", ".join(source.tells)
    if source.scrapes is None or source.failed is None:
        return f"{told}; scrapes unknown"
    slowest = "" if source.scrape_s_max is None else f", the slowest in {number(source.scrape_s_max)} s"
    clock = "its clock is unknown"
    if source.clock_offset_s is not None:
        clock = f"clock offset {source.clock_offset_s:+.2f} s ± {number(source.clock_offset_within_s)} s"
    return f"{told}; {count(source.scrapes, 'answer')}{slowest}, {source.failed:,} failed; {clock}"


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested data as (dotted name, text) rows."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flatten(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for i, inner in enumerate(value):
            yield from flatten(inner, f"{name}.{i}")
    else:
        yield name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ([], {}, ""):
        return DASH
    if isinstance(value, list):
        return " ".join(str(inner) for inner in value)
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def _with_unit(value: float | None, unit: str) -> str:
    return DASH if value is None else f"{number(value)} {unit}"


def _gib(size_bytes: float | None) -> str:
    return DASH if size_bytes is None else f"{number(size_bytes / 2**30)} GiB"
