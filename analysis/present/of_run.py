"""A run as a Document: what was asked, what was found, and whether to believe it."""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from analysis import wording
from analysis.present import in_words, run_facts, tables
from analysis.present.document import (
    PAGE,
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
from analysis.present.groups import groups
from analysis.present.of_imported import provenance
from analysis.run.metrics import METRICS
from analysis.run.sections import MetricSummary
from analysis.run.summary import RunSummary
from analysis.stats.distributions import LEVELS, values_needed
from analysis.wording import DASH, interval, number, percent
from bench.runs.manifest import RunManifest
from bench.runs.sections import dump

STATISTICS: Final = ("mean", *LEVELS, "count")
# What a narrow terminal can do without, in this order.
MINOR: Final = {"p95": 1, "p90": 2}
COLUMNS: Final = (
    Column("metric", "left"),
    *(Column(name, "right" if name == "count" else "decimal", MINOR.get(name, 0)) for name in STATISTICS),
)
METHOD: Final = (
    "Metrics cover the measured requests that succeeded, including those that ended after the window; warm-up "
    "requests are excluded. Throughput counts what completed or arrived inside the window, whichever request it "
    "belongs to. No outliers are removed.",
    "Percentiles interpolate linearly between raw values. Intervals assume no distribution: they contain the true "
    "value in 95 of 100 such runs. Where a request has many values (its token gaps), intervals count requests, not "
    "values.",
)
STAMPS: Final = {
    "packets": "Arrivals carry the time at which the kernel received each segment, whenever this client read it; a "
    "request carries the time at which its last byte left. Clocks are monotonic.",
    "kernel": "Arrivals carry the time at which the kernel received each segment, not the time at which this client "
    "read it; the difference, the client's lag, is reported. Clocks are monotonic.",
    "user": "Arrivals carry the time at which this client read them, because the kernel gave no receive times: any "
    "delay in the client is part of the latencies and is unknown. Clocks are monotonic.",
}


def document(
    run: RunManifest,
    summary: RunSummary,
    requests: pa.Table | None = None,
    figures: Sequence[Section] = (),
) -> Document:
    """A run; a page has its requests.parquet and figures as well."""
    lead = Prose((in_words.asked(run), in_words.found(summary)), "lead")
    plan = Prose((f"Seed {run.seed}, plan {run.plan_hash[:12]}.",))
    return Document(
        title=f"{run.model} on {run.backend}, scenario {run.scenario.name}",
        kind=f"LLM serving benchmark · {run.created_at[:16].replace('T', ' ')} UTC",
        headline=judged(summary.verdict, in_words.verdict(run, summary)),
        blocks=(
            Section("", (lead, Section("", (_tiles(summary),), PAGE)), WRITTEN),
            Section("Metrics", _metrics(summary)),
            Section("Throughput and cost" if summary.cost else "Throughput", (run_facts.of_run(summary),)),
            Section("Turns of a session", (tables.turns(summary),)),
            Section("By class", (groups(summary.classes, "class"),)),
            Section("By adapter", (groups(summary.adapters, "adapter"),)),
            Section("Objectives", (tables.objectives(summary),)),
            Section("Accelerators", (tables.gpus(summary),)),
            Section("Machines of the server", (tables.nodes(summary),)),
            *_origin(run, plan),
            *figures,
            *(() if requests is None else (Section("Errors", (_errors(requests),), PAGE),)),
            *_particulars(run, summary),
        ),
        footer=f"Run {run.run_id}.",
        data=dump(summary),
    )


def _origin(run: RunManifest, plan: Prose) -> tuple[Section, ...]:
    """By what a run can be repeated: its plan, or the file it was imported from."""
    if run.imported is not None:
        return (Section("Where it comes from", provenance(run.imported), WRITTEN),)
    return (Section("", (plan,), frozenset({"markdown"})),)


def _particulars(run: RunManifest, summary: RunSummary) -> tuple[Section, ...]:
    """What was sent, where and how it was measured, which of an imported run nobody knows."""
    if run.imported is not None:
        return ()
    return (
        Section("What was sent", (facts(tables.sent(run)),), PAGE),
        Section("Where it ran", _environment(run), PAGE),
        Section("How it was measured", _method(summary), PAGE),
    )


# --- results ----------------------------------------------------------------------------------------------------


def _tiles(summary: RunSummary) -> Facts:
    ttft_ms, throughput = summary.metric("ttft_ms"), summary.throughput
    missed, planned = summary.requests.missed, summary.requests.planned
    unknown = "run too short" if throughput.rates_unknown else ""
    rows = [
        ("First token, median", number(ttft_ms.p50), "ms", _interval_note(ttft_ms, "p50")),
        ("First token, p99", number(ttft_ms.p99), "ms", _interval_note(ttft_ms, "p99")),
        ("Speed for one user", number(summary.tokens_per_s_per_user), "tokens/s", "median"),
        ("Output, all requests", number(throughput.output_tokens_per_s), "tokens/s", unknown),
        ("Completed", number(throughput.requests_per_s), "requests/s", unknown),
        ("Failed", number(missed), f"of {number(planned)}", percent(missed / planned) if planned else ""),
    ]
    return Facts(tuple(Fact(*each) for each in rows), tiles=True)


def _interval_note(metric: MetricSummary, name: str) -> str:
    if getattr(metric, name) is None:
        return "too few requests"
    if bounds := interval(metric.ci95.get(name)):
        return f"95% CI {bounds}" + (" (a longer run narrows it)" if metric.why else "")
    return "no interval: run too short"


def _metrics(summary: RunSummary) -> tuple[Block, ...]:
    shown = [name for name in METRICS if summary.metric(name).count or summary.metric(name).mean is not None]
    if not shown:
        return (Prose(("No measured request succeeded, so there are no latencies.",)),)
    lacking = [name for name in LEVELS if any(getattr(summary.metric(metric), name) is None for metric in shown)]
    rows = tuple(_metric(name, summary.metric(name)) for name in shown)
    caption = "Measured requests that succeeded"
    return Table(COLUMNS, rows, caption), Prose(tuple(filter(None, [_too_few(lacking)])), "quiet")


def _metric(name: str, values: MetricSummary) -> Row:
    metric = METRICS[name]
    label = Cell(
        wording.LABELS.get(name, name), metric.unit, why=metric.definition, link=f"#def-{name}",
        terminal=f"{wording.short(name)}, {metric.unit}",
    )  # fmt: skip
    return row(label, *(_statistic(values, statistic) for statistic in STATISTICS))


def _statistic(values: MetricSummary, name: str) -> Cell:
    value: float | None = getattr(values, name)
    why = _too_few([name]) if value is None and name in LEVELS else values.why
    return Cell(number(value), interval=interval(values.ci95.get(name)) or "", why=why or "")


def _too_few(lacking: Sequence[str]) -> str | None:
    if not lacking:
        return None
    wants = ", ".join(f"{name} needs {values_needed(LEVELS[name]):,}" for name in lacking)
    return f"{DASH}: too few values for this percentile ({wants})."


# --- what only a page has ---------------------------------------------------------------------------------------


def _errors(requests: pa.Table) -> Block:
    found = tables.errors(requests)
    return found if found.rows else Prose(("None. Every request succeeded.",))


def _environment(run: RunManifest) -> tuple[Block, ...]:
    columns = (Column("name", "left"), Column("value", "left", wraps=True))
    configuration = Table(columns, tuple(row(*pair) for pair in tables.flatten(dump(run))), "run.json")
    return (
        facts(tables.environment(run)),
        Section("Notes", (Notes(tuple(map(Note, run.notes))),)),
        Section("Full configuration", (configuration,), folded=True),
    )


def _method(summary: RunSummary) -> tuple[Block, ...]:
    definitions = tuple(
        Fact(wording.LABELS.get(name, name), metric.definition, code=name, anchor=f"def-{name}")
        for name, metric in METRICS.items()
    )
    return (
        Prose((*filter(None, [STAMPS.get(summary.client.stamps or "")]), *METHOD)),
        Section("Self-consistency checks", (tables.identities(summary),)),
        Section("Definitions", (Facts(definitions),)),
    )
