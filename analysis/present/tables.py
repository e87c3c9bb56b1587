"""The rows of a run's tables, as text."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from analysis.present.in_words import lengths, load
from analysis.run.nodes import NodeUse
from analysis.run.phrasing import UNSAID, phrasing
from analysis.run.sections import GpuUse, SloResult
from analysis.run.slo import objectives_of
from analysis.run.summary import Identity
from analysis.stats.distributions import carries
from analysis.wording import DASH, count, number, percent
from bench.runs.manifest import (
    ChosenStamps,
    InstalledGpu,
    MetricsSource,
    ObservedGpu,
    ObservedServer,
    RunManifest,
)

MESSAGE_LENGTH: Final = 400
SETTING_LENGTH: Final = 120
Rows = list[tuple[str, str]]


def objective(result: SloResult, planned: int) -> tuple[str, ...]:
    """(objective, seen of so many planned, limit, requests that kept it, outcome, whether that is certain)."""

    def in_its_unit(value: float | None) -> str:
        return percent(value) if result.unit == "share" else _with_unit(value, "ms")

    undecided = "counted" if result.objective.endswith("(goodput)") else "cannot be decided"
    met = {True: "met", False: "missed", None: undecided}[result.met]
    failed = result.met is False and result.value is None and carries(planned, (result.percentile or 0.0) / 100)
    seen = "∞ (failures)" if failed else in_its_unit(result.value)
    if result.service_value is not None and result.value is not None:
        seen += f" from {'sending' if result.from_sending else 'when it was due'}"
        seen += "" if result.from_sending else f", {in_its_unit(result.service_value)} from sending"
    more = DASH if result.more_requests is None else f"with {count(result.more_requests, 'more request')}"
    certain = "yes" if result.certain and result.met is not None else more
    return result.objective, seen, in_its_unit(result.limit), percent(result.attainment), met, certain


def gpu(card: GpuUse) -> tuple[str, ...]:
    """(index, name, mean utilisation, peak memory, mean power, energy, share of the window watched)."""
    return (
        str(card.index),
        card.name or DASH,
        percent(card.util_pct_mean / 100) if card.util_pct_mean is not None else DASH,
        _gib(card.memory_used_bytes_max),
        _with_unit(card.power_w_mean, "W"),
        _with_unit(card.energy_j, "J"),
        percent(card.energy_coverage),
    )


def node(machine: NodeUse) -> tuple[str, ...]:
    """(index, address of its exporter, busy cores, peak memory, energy of its processors, share watched)."""
    return (
        str(machine.index),
        machine.url or DASH,
        DASH if machine.busy_cores_mean is None else number(machine.busy_cores_mean),
        _gib(machine.memory_used_bytes_max),
        _with_unit(machine.energy_j, "J"),
        percent(machine.energy_coverage),
    )


def errors(requests: pa.Table) -> list[tuple[str, ...]]:
    """(code, measured, warm-up, first message) by falling count."""
    failed = requests.filter(pc.or_(pc.is_valid(requests["error"]), pc.is_null(requests["end_ns"])))
    codes = [code or "unfinished" for code in failed["error"].to_pylist()]
    messages = dict(reversed(list(zip(codes, failed["error_message"].to_pylist(), strict=True))))
    by_phase = Counter(zip(codes, failed["phase"].to_pylist(), strict=True))
    return [
        (
            code,
            number(by_phase[code, "measured"]),
            number(by_phase[code, "warmup"]),
            _cut(messages[code] or DASH, MESSAGE_LENGTH),
        )
        for code, _ in Counter(codes).most_common()
    ]


def identity(check: Identity) -> tuple[str, ...]:
    """(check, seen, expected, tolerance, outcome)."""
    holds = {True: "holds", False: "does not hold", None: "not checked"}[check.holds]
    return check.name.replace("_", " "), *map(number, (check.seen, check.expected, check.tolerance)), holds


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


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
        ("Prompt lengths are", f"{exact}, counted by {tokenizer.source}"),
        *_worded(run),
        ("Adapted to the server", "; ".join(run.adapted or ()) or "nothing"),
        ("Objectives", ", ".join(each.text for each in objectives_of(run)) or "none"),
        ("Timeouts", f"{number(run.timeout_s)} s in all, {number(run.stall_timeout_s)} s without a byte"),
        ("Client processes", number(run.workers)),
        ("A slot that is refused", "asks again at once" if run.backoff is False else "waits (--backoff)"),
        ("What comes is acknowledged", "at once (--quick-ack on)" if run.quick_ack else "as clients do"),
        ("Arrivals are stamped by", _stamps(run.stamps)),
        ("Seed", str(run.seed)),
        ("Plan", run.plan_hash),
    ]


def _stamps(chosen: ChosenStamps | None) -> str:
    if chosen is None:
        return "the kernel, or this client where it cannot"
    lacks = f"; {chosen.lacks}" if chosen.lacks else ""
    return f"{chosen.taken} (--stamps {chosen.asked}{lacks})"


def _worded(run: RunManifest) -> Rows:
    """How the requests were worded: the temperature, and what is not as it is unless asked for."""
    phrased = phrasing(run.backend, run.options)
    heat = phrased.pop("temperature")
    unusual = {name.replace("_", " ").capitalize(): phrased[name] for name in phrased if phrased[name] != UNSAID[name]}
    return [
        ("Temperature", "the server's own" if heat == "server" else heat),
        *((label, _cut(value, SETTING_LENGTH)) for label, value in unusual.items()),
    ]


def environment(run: RunManifest) -> Rows:
    """Server, hardware and software of the run."""
    server, hardware = run.server, run.hardware
    rows = [
        ("Server", f"{server.name} {server.version or '(version unknown)'}"),
        ("Model it serves", server.model),
        ("Address", f"{run.url} ({'launched for this run' if run.launched else 'already running'})"),
        ("Context", count(server.context_tokens, "token") if server.context_tokens else "unknown"),
        *((f"Server: {name}", _cut(_text(value), SETTING_LENGTH)) for name, value in server.settings.items()),
        *((f"GPU {i}", _card(gpu)) for i, gpu in enumerate(hardware.gpus)),
        ("CPU", f"{hardware.cpu}, {count(hardware.cores, 'core')}"),
        ("Memory", _gib(hardware.memory_bytes)),
        ("Operating system", hardware.os),
        ("Packages", ", ".join(f"{name} {version}" for name, version in run.packages.items()) or "unknown"),
        ("Commit of this tool", run.git_commit or "unknown"),
        ("Command", " ".join(run.argv)),
    ]
    if run.telemetry is not None and run.telemetry.sources:
        return [*rows, *_observed(run.telemetry)]
    return rows if hardware.gpus else [*rows, ("GPU", "none seen by this client")]


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
        return f"{told}; how it answered is not known"
    slowest = "" if source.scrape_s_max is None else f", the slowest in {number(source.scrape_s_max)} s"
    clock = "clock not told"
    if source.clock_offset_s is not None:
        clock = f"clock {source.clock_offset_s:+.2f} s from ours, give or take {number(source.clock_offset_within_s)} s"
    return f"{told}; {count(source.scrapes, 'answer')}{slowest}, {source.failed:,} failed; {clock}"


def _card(gpu: InstalledGpu) -> str:
    return f"{gpu.name}, {_gib(gpu.memory_bytes)}, driver {gpu.driver or 'unknown'}"


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
