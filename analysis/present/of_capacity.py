"""A search for capacity as a Document: each run by its rate, the answer, and its interval."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Final, NamedTuple

from analysis.capacity.search import Capacity, Outcome, Probe
from analysis.money.numbers import SECONDS_PER_HOUR
from analysis.present.document import PAGE, TONES, Cell, Column, Columns, Document, Prose, Section, Table, facts, table
from analysis.wording import dollars, number

METHOD: Final = (
    "Requests arrive at each rate regardless of how fast the server answers (open loop). A rate is saturated when "
    "work piles up, so that later requests wait longer. Otherwise it is met when the required share of requests "
    "meets each bound, and missed when not. The capacity is the highest rate that met the objectives. Its interval "
    "runs from the highest rate that the server surely kept up with, less any growth that the runs are too short to "
    "show, to the lowest rate that was surely missed.",
)


class LoadPoint(NamedTuple):
    """One run at one rate. A run without an objective has no goodput, one with few requests no p99.

    `page` is the address of its report.
    """

    rate_per_s: float
    outcome: Outcome
    completed_per_s: float | None
    goodput_rps: float | None
    ttft_ms_p50: float | None
    ttft_ms_p99: float | None
    page: str = ""


class CapacityResult(NamedTuple):
    """What a search found: its runs, their capacity, and what an hour of the server costs, None where unknown.

    Rates are of requests, of which a session has so many `turns` on average.
    """

    runs: Sequence[LoadPoint]
    capacity: Capacity
    usd_per_hour: Decimal | None
    arrivals: str = "poisson"
    turns: float = 1.0


def document(found: CapacityResult, *, of: str, objectives: Sequence[str], figures: Sequence[Section] = ()) -> Document:
    """The search; `of` says what was searched."""
    return Document(
        title=f"Capacity of {of}",
        kind="Capacity within objectives",
        blocks=(
            facts(
                [
                    ("capacity", in_words(found.capacity)),
                    ("objectives", ", ".join(objectives)),
                    ("arrivals", f"{found.arrivals}; burstier traffic has a lower capacity"),
                    *_of_sessions(found),
                ]
            ),
            *figures,
            Section("Runs", (_table(found),)),
            Section("Method", (Prose(METHOD),), PAGE),
        ),
    )


def _of_sessions(found: CapacityResult) -> list[tuple[str, str]]:
    if found.turns == 1:
        return []
    per_s, turns = found.capacity.rate_per_s / found.turns, f"of {number(found.turns)} turns on average"
    return [("sessions", f"{number(per_s)} start per second at this rate, {turns}" if per_s else turns)]


def _table(found: CapacityResult) -> Table:
    def usd(run: LoadPoint) -> str:
        return dollars(None if found.usd_per_hour is None else usd_per_request(found.usd_per_hour, run))

    columns: Columns[LoadPoint] = (
        (Column("offered, requests/s"), lambda run: Cell(number(run.rate_per_s), link=run.page)),
        (Column("outcome", "left"), lambda run: Cell(run.outcome, tone=TONES[run.outcome])),
        (Column("completed/s"), lambda run: number(run.completed_per_s)),
        (Column("goodput/s", drop=3), lambda run: number(run.goodput_rps)),
        (Column("ttft p50, ms", drop=2), lambda run: number(run.ttft_ms_p50)),
        (Column("ttft p99, ms"), lambda run: number(run.ttft_ms_p99)),
        (Column("$/request", drop=1), usd),
    )
    runs = sorted(found.runs, key=lambda run: run.rate_per_s)
    return table(columns, runs, "Each run of the search, by offered rate")


def usd_per_request(usd_per_hour: Decimal, run: LoadPoint) -> float | None:
    """What a request costs at this rate; a server that falls behind is paid for what it completes. None for none."""
    served_per_s = run.completed_per_s if run.outcome == "saturated" else run.rate_per_s
    return float(usd_per_hour) / (SECONDS_PER_HOUR * served_per_s) if served_per_s else None


def line(probe: Probe) -> str:
    names = [f"{klass}: " if klass else "" for klass in probe.classes or (None,) * len(probe.kept)]
    each = zip(names, probe.kept, probe.among, probe.wanted, strict=True)
    shares = ", ".join(f"{name}{kept / max(n, 1):.1%} met, {wanted:.1%} required" for name, kept, n, wanted in each)
    sure = "" if probe.is_sure else ", not sure"
    completed = "?" if probe.completed_per_s is None else f"{probe.completed_per_s:.3g}"
    early = ", ended early" if probe.stopped else ""
    return f"{probe.rate_per_s:g} requests/s: {probe.outcome}{sure} ({shares}; {completed}/s completed{early})"


def in_words(found: Capacity) -> str:
    """The answer, its interval, and what is above it."""
    if not found.rate_per_s:
        return f"none: {found.reason}"
    met = f"up to {found.low_per_s:.4g}/s" if found.low_per_s else "at no rate tried"
    missed = "at no rate tried" if found.high_per_s is None else f"from {found.high_per_s:.4g}/s"
    sure = f"the objectives are surely met {met}, surely missed {missed}"
    return f"{found.rate_per_s:g} requests/s ({sure}; {found.reason})"
