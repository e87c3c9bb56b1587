"""A run as a Document: what was asked, what was found, and whether to believe it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pyarrow as pa

from analysis import wording
from analysis.present import run_facts, tables
from analysis.present.document import (
    PAGE,
    TONES,
    WRITTEN,
    Block,
    Cell,
    Column,
    Document,
    Fact,
    Facts,
    Note,
    Notes,
    Prose,
    Row,
    Section,
    Table,
    facts,
    judged,
    row,
)
from analysis.run.metrics import METRICS
from analysis.stats.distributions import LEVELS, values_needed
from analysis.wording import DASH, interval, number, percent

STATISTICS: Final = ("mean", *LEVELS, "count")
# What a narrow terminal can do without, in this order.
MINOR: Final = {"p95": 1, "p90": 2}
COLUMNS: Final = (
    Column("metric", "left"),
    *(Column(name, "right" if name == "count" else "decimal", MINOR.get(name, 0)) for name in STATISTICS),
)
METHOD: Final = (
    "Every metric is over the measured requests that succeeded, those that ended after the window included. Warm-up "
    "requests are not. Throughput counts what completed and what arrived inside the window, whichever request it "
    "belongs to. No outlier is removed.",
    "Percentiles interpolate linearly between raw values. Intervals assume no distribution: they hold the true value "
    "in 95 of 100 such runs. Where a request has many values (its token gaps), they count requests, not values.",
)
STAMPS: Final = {
    "kernel": "Arrivals carry the kernel's own receive time of each segment, not the time this client came to read it; "
    "the difference, the client's lag, is reported. Clocks are monotonic.",
    "user": "Arrivals carry the time this client read them, because the kernel gave no receive times here: any delay "
    "of the client's own is part of the latencies and is not known. Clocks are monotonic.",
}


def document(
    run: Mapping[str, Any],
    summary: Mapping[str, Any],
    requests: pa.Table | None = None,
    figures: Sequence[Section] = (),
) -> Document:
    """A run from run.json and summary.json; a page has its requests.parquet and figures as well."""
    said = Prose((wording.asked(run), wording.found(summary)), "lead")
    plan = Prose((f"Seed {run['seed']}, plan {run['plan_hash'][:12]}.",))
    return Document(
        title=f"{run['model']} on {run['backend']}, scenario {run['scenario']['name']}",
        kind=f"LLM serving benchmark · {run['created_at']}",
        headline=judged(summary["verdict"], wording.verdict(run, summary)),
        blocks=(
            Section("", (said, Section("", (_tiles(summary),), PAGE)), WRITTEN),
            Section("Metrics", _metrics(summary)),
            Section("Throughput and cost" if summary["cost"] else "Throughput", (run_facts.of_run(summary),)),
            Section("Objectives", (_objectives(summary),)),
            Section("Accelerators", (_gpus(summary),)),
            Section("", (plan,), frozenset({"markdown"})),
            *figures,
            *(() if requests is None else (Section("Errors", (_errors(requests),), PAGE),)),
            Section("What was sent", (facts(tables.sent(run)),), PAGE),
            Section("Where it ran", _environment(run), PAGE),
            Section("How it was measured", _method(summary), PAGE),
        ),
        footer=f"Run {run['run_id']}.",
        data=summary,
    )


# --- results ----------------------------------------------------------------------------------------------------


def _tiles(summary: Mapping[str, Any]) -> Facts:
    p50, p99 = (wording.metric(summary, "ttft_ms", name) for name in ("p50", "p99"))
    throughput, failures, planned = summary["throughput"], wording.failures(summary), summary["requests"]["planned"]
    unknown = "too short a run" if throughput.get("rates_unknown") else ""
    rows = [
        ("Time to first token, median", number(p50), "ms", _interval_note(summary, "p50")),
        ("Time to first token, p99", number(p99), "ms", _interval_note(summary, "p99")),
        ("Speed for one user", number(wording.tokens_per_s_per_user(summary)), "tokens/s", "median"),
        ("Output, all users", number(throughput["output_tokens_per_s"]), "tokens/s", unknown),
        ("Requests completed", number(throughput["requests_per_s"]), "per second", unknown),
        ("Failed", number(failures), f"of {number(planned)}", percent(failures / planned) if planned else ""),
    ]
    return Facts(tuple(Fact(*each) for each in rows), tiles=True)


def _interval_note(summary: Mapping[str, Any], name: str) -> str:
    if wording.metric(summary, "ttft_ms", name) is None:
        return "too few requests"
    metric = summary["metrics"]["ttft_ms"]
    if bounds := interval(metric["ci95"][name]):
        return f"95% CI {bounds}" + (" (a longer run narrows it)" if metric["why"] else "")
    return "no interval: too short a run"


def _metrics(summary: Mapping[str, Any]) -> tuple[Block, ...]:
    shown = [name for name in METRICS if summary["metrics"].get(name, {}).get("count")]
    if not shown:
        return (Prose(("No measured request succeeded, so there are no latencies.",)),)
    lacking = [name for name in LEVELS if any(summary["metrics"][metric][name] is None for metric in shown)]
    rows = tuple(_metric(name, summary["metrics"][name]) for name in shown)
    caption = "Of the measured requests that succeeded"
    return Table(COLUMNS, rows, caption), Prose(tuple(filter(None, [_too_few(lacking)])), "quiet")


def _metric(name: str, values: Mapping[str, Any]) -> Row:
    metric = METRICS[name]
    label = Cell(
        wording.LABELS.get(name, name), metric.unit, why=metric.definition, link=f"#def-{name}",
        terminal=f"{wording.short(name)}, {metric.unit}",
    )  # fmt: skip
    return row(label, *(_statistic(values, statistic) for statistic in STATISTICS))


def _statistic(values: Mapping[str, Any], name: str) -> Cell:
    why = _too_few([name]) if values[name] is None and name in LEVELS else values["why"]
    return Cell(number(values[name]), interval=interval(values["ci95"].get(name)) or "", why=why or "")


def _too_few(lacking: Sequence[str]) -> str | None:
    if not lacking:
        return None
    wants = ", ".join(f"{name} wants {values_needed(LEVELS[name]):,}" for name in lacking)
    return f"{DASH} where a metric has too few values for the percentile: {wants}."


def _objectives(summary: Mapping[str, Any]) -> Table:
    columns = (
        Column("objective", "left"),
        Column("outcome", "left"),
        Column("seen", "left", wraps=True),
        Column("kept by"),
        Column("limit", drop=1),
    )
    rows = []
    for result in summary["slo"]:
        name, seen, limit, kept, outcome = tables.objective(result)
        rows.append(row(name, Cell(outcome, tone=TONES.get(outcome, "")), seen, kept, limit))
    return Table(columns, tuple(rows), "Over all measured requests; one that failed does not keep an objective")


def _gpus(summary: Mapping[str, Any]) -> Table:
    columns = (
        Column("GPU", "left"),
        Column("name", "left", drop=2),
        Column("utilisation, mean"),
        Column("memory used, peak", drop=1),
        Column("power, mean"),
        Column("energy"),
    )
    rows = tuple(row(*tables.gpu(card)) for card in summary["gpu"])
    return Table(columns, rows, "Over the measured window")


# --- what only a page has ---------------------------------------------------------------------------------------


def _errors(requests: pa.Table) -> Block:
    rows = tuple(row(*error) for error in tables.errors(requests))
    columns = (
        Column("code", "left"),
        Column("measured"),
        Column("warm-up"),
        Column("first message", "left", wraps=True),
    )
    if not rows:
        return Prose(("None: every request succeeded.",))
    return Table(columns, rows, "Requests that did not succeed")


def _environment(run: Mapping[str, Any]) -> tuple[Block, ...]:
    columns = (Column("name", "left"), Column("value", "left", wraps=True))
    configuration = Table(columns, tuple(row(*pair) for pair in tables.flatten(run)), "run.json")
    return (
        facts(tables.environment(run)),
        Section("Notes of the run", (Notes(tuple(map(Note, run["notes"]))),)),
        Section("The whole configuration", (configuration,), folded=True),
    )


def _method(summary: Mapping[str, Any]) -> tuple[Block, ...]:
    columns = (Column("check", "left"), *map(Column, ("seen", "expected", "tolerance")), Column("outcome", "left"))
    checks = tuple(row(*tables.identity(identity)) for identity in summary["identities"])
    definitions = tuple(
        Fact(wording.LABELS.get(name, name), metric.definition, code=name, anchor=f"def-{name}")
        for name, metric in METRICS.items()
    )
    return (
        Prose((*filter(None, [STAMPS.get(summary["client"]["stamps"])]), *METHOD)),
        Section(
            "Checks of the measurement against itself",
            (Table(columns, checks, "Equations that hold in every sound run"),),
        ),
        Section("Definitions", (Facts(definitions),)),
    )
