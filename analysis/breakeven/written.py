"""breakeven.json: exact amounts as text, curves and chances as numbers, unknowns and what is without end null."""

import math
from decimal import Decimal
from typing import Any, Final

from analysis.breakeven.comparison import Alternative, CostComparison, CostedServers
from analysis.breakeven.curves import lines
from analysis.breakeven.decision import Decision
from analysis.breakeven.ranking import Ranking
from analysis.breakeven.scenarios import SensitivityBar
from analysis.breakeven.volumes import BreakEven
from analysis.money import prices
from analysis.stats.distributions import Floats
from bench.runs.sections import pick

Json = dict[str, Any]
_DECIDED: Final = ("choice", "p_cheaper")


def plain(comparison: CostComparison) -> Json:
    each = [_servers(side) for side in comparison.sides]
    return {
        "schema": 1,
        "servers": each[0] if each else None,
        "sides": each,
        "requests_per_month": comparison.requests_per_month,
        "prices": prices.snapshot()._asdict(),
        "volumes": comparison.volumes.tolist(),
        "rivals": [_alternative(alternative, comparison) for alternative in comparison.alternatives],
        "ranking": None if comparison.ranking is None else _ranking(comparison.ranking),
        **pick(comparison, "points", "warnings"),
    }


def _servers(side: CostedServers) -> Json:
    servers, host = side
    return {
        "name": servers.name or None,
        "description": servers.description,
        "usd_per_replica_month": _amount(host.usd_per_replica_month),
        "ops_usd_per_month": _amount(host.ops_usd_per_month),
        "capacity_rps": float(host.capacity_rps),
        "capacity_rps_ci95": list(servers.capacity_ci95),
        "utilization": float(host.utilization),
        "peak_to_mean": float(host.traffic.peak),
        "autoscale": host.autoscale,
        "requests_per_replica": math.floor(host.requests_at_peak_per_replica),
    }


def _ranking(ranking: Ranking) -> Json:
    """Who is the cheapest; `spans` at which volumes, `month` the bills at the one asked about."""
    bills = ({name: _known(value) for name, value in bill._asdict().items()} for bill in ranking.month)
    return {
        "ways": [way.name for way in ranking.ways],
        "cheapest": ranking.choice,
        "undecided": ranking.undecided,
        "month": list(bills),
        **pick(ranking, "turns", "spans", "is_whole"),
    }


def _known(value: str | float) -> str | float | None:
    return value if isinstance(value, str) or math.isfinite(value) else None


def _break_even(found: BreakEven) -> Json:
    return pick(found, "kind", "unit", "first", "permanent", "spans", "open_spans", "known_to", "reasons")


def choice(found: BreakEven, requests_per_month: int | None = None) -> Json:
    """A small choice beside self-hosting, and whether it pays at the volume asked about."""
    pays = None if requests_per_month is None else found.holds(requests_per_month)
    return {"schema": 1, "answer": _break_even(found), "requests_per_month": requests_per_month, "pays": pays}


def _alternative(alternative: Alternative, comparison: CostComparison) -> Json:
    found = alternative.found
    curves, first = lines(alternative.pairing, alternative.states, comparison.volumes), found.first
    return {
        "name": alternative.name,
        "servers": alternative.servers.name or None,
        "usd_per_request": _amount(alternative.pairing.usd_per_request),
        "usd_per_request_ci95": list(alternative.usd_ci95),
        "measured": alternative.states.measured,
        "answer": _break_even(found.answer),
        "first_break_even": {**first._asdict(), "ci95": list(first.ci95)},
        **(dict.fromkeys(_DECIDED) if found.decision is None else pick(found.decision, *_DECIDED)),
        "month": None if found.decision is None else _month(found.decision),
        "curves": {name: _finite(usd) for name, usd in curves._asdict().items()}
        | {"p_cheaper": alternative.p_cheaper.tolist()},
        "tornado": [_bar(bar) for bar in alternative.tornado],
        **pick(alternative, "advice", "warnings"),
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


def _bar(bar: SensitivityBar) -> Json:
    return {
        "input": bar.name,
        "first_break_even": list(bar.firsts),
        "saving_usd": [_amount(usd) for usd in bar.savings_usd],
    }


def _amount(usd: Decimal) -> str | None:
    return f"{usd:f}" if usd.is_finite() else None


def _finite(usd: Floats) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in usd.tolist()]
