"""What `breakeven` prints and writes: a comparison as a document, JSON, and files."""

import math
from decimal import Decimal
from pathlib import Path
from typing import Any

from analysis.breakeven.comparison import Alternative, CostComparison
from analysis.breakeven.curves import lines
from analysis.breakeven.decision import Decision
from analysis.breakeven.scenarios import Bar
from analysis.breakeven.volumes import BreakEven
from analysis.money import prices
from analysis.stats.distributions import Floats
from bench.runs import folder as files
from bench.types import UserError

Json = dict[str, Any]
BREAKEVEN = "breakeven"


def plain(comparison: CostComparison) -> Json:
    """All of a comparison as JSON holds it: exact amounts as text, curves and chances as numbers, unknowns null."""
    first = comparison.alternatives[0]
    host = first.pairing.host
    return {
        "schema": 1,
        "servers": {
            "description": first.servers.description,
            "usd_per_replica_month": _amount(host.usd_per_replica_month),
            "ops_usd_per_month": _amount(host.ops_usd_per_month),
            "capacity_rps": float(host.capacity_rps),
            "capacity_rps_ci95": list(first.servers.capacity_ci95),
            "utilization": float(host.utilization),
            "peak_to_mean": float(host.traffic.peak),
            "autoscale": host.autoscale,
            "requests_per_replica": math.floor(host.requests_at_peak_per_replica),
        },
        "requests_per_month": comparison.requests_per_month,
        "prices": prices.snapshot(),
        "volumes": comparison.volumes.tolist(),
        "rivals": [_alternative(alternative, comparison) for alternative in comparison.alternatives],
        "points": [{name: getattr(point, name) for name in point.__dataclass_fields__} for point in comparison.points],
        "warnings": list(comparison.warnings),
    }


def break_even(found: BreakEven) -> Json:
    """An answer as JSON holds it; `last` null means without end."""
    return {
        "kind": found.kind,
        "unit": found.unit,
        "first": found.first,
        "permanent": found.permanent,
        "spans": [span._asdict() for span in found.spans],
        "open_spans": [span._asdict() for span in found.open_spans],
        "known_to": found.known_to,
        "reasons": list(found.reasons),
    }


def choice(found: BreakEven, requests_per_month: int | None = None) -> Json:
    """A small choice beside self-hosting as JSON holds it, and whether it pays at the volume asked about."""
    pays = None if requests_per_month is None else found.holds(requests_per_month)
    return {"schema": 1, "answer": break_even(found), "requests_per_month": requests_per_month, "pays": pays}


def _alternative(alternative: Alternative, comparison: CostComparison) -> Json:
    found = alternative.found
    curves, first = lines(alternative.pairing, alternative.states, comparison.volumes), found.first
    return {
        "name": alternative.name,
        "usd_per_request": _amount(alternative.pairing.usd_per_request),
        "usd_per_request_ci95": list(alternative.usd_ci95),
        "measured": alternative.states.measured,
        "answer": break_even(found.answer),
        "first_break_even": {"median": first.median, "ci95": [first.low, first.high], "never_share": first.never_share},
        "choice": None if found.decision is None else found.decision.choice,
        "p_cheaper": None if found.decision is None else found.decision.p_cheaper,
        "month": None if found.decision is None else _month(found.decision),
        "curves": {name: _finite(usd) for name, usd in curves._asdict().items()}
        | {"p_cheaper": alternative.p_cheaper.tolist()},
        "tornado": [_bar(bar) for bar in alternative.tornado],
        "advice": list(alternative.advice),
        "warnings": list(alternative.warnings),
    }


def _month(at: Decision) -> Json:
    """The month to be expected; `saving_usd_80` has what one state in ten stays below, and one exceeds."""
    return {
        "api_usd": _amount(at.api_usd),
        "self_usd": _amount(at.self_usd),
        "saving_usd": _amount(at.saving_usd),
        "saving_usd_80": [_amount(at.low_usd), _amount(at.high_usd)],
        "replicas": None if at.replicas is None else at.replicas[-1],
        "replicas_ci95": list(at.replicas or (None, None)),
        "api_share": float(at.api_share),
    }


def _bar(bar: Bar) -> Json:
    return {
        "input": bar.name,
        "first_break_even": [bar.first_at_low, bar.first_at_high],
        "saving_usd": [_amount(bar.saving_usd_at_low), _amount(bar.saving_usd_at_high)],
    }


def _amount(usd: Decimal) -> str | None:
    return f"{usd:f}" if usd.is_finite() else None


def _finite(usd: Floats) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in usd.tolist()]


# --- where it goes ----------------------------------------------------------------------------------------------


def write(folder: Path, comparison: CostComparison, content: Json) -> Path:
    """Write the document, the page, and each of its figures as a page of its own; returns the page's path.

    Raises UserError where the folder cannot be written.
    """
    # Only here, because the charts take a while to import.
    from analysis.present import breakeven_page as page

    figures = folder / "figures"
    try:
        figures.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f"--out {folder}: {problem.strerror}; choose a folder that can be written") from None
    files.write_json(folder / f"{BREAKEVEN}.json", content)
    for name, figure_page in page.figure_pages(comparison).items():
        files.write_text(figures / f"{name}.html", figure_page)
    files.write_text(folder / f"{BREAKEVEN}.html", page.render(comparison, content))
    return folder / f"{BREAKEVEN}.html"
