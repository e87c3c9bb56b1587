"""What a comparison's ways cost over volumes, for its figures: the same numbers as its answers', at every step."""

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from analysis.money.comparison import Comparison, Rival
from analysis.money.numbers import exact
from analysis.money.routing import Case, advantage_curve, api_curve, mixed_curve
from analysis.money.selfhost import last_at_same_cost
from analysis.stats import Floats

# Further up a logarithmic axis the steps are closer together than a screen can show.
MOST_STEPS: Final = 300


class Curve(NamedTuple):
    """$/month of one way at the volumes; `rival` is its place among the rivals, None for self-hosting alone."""

    rival: int | None
    usd: Floats


def volumes_of(comparison: Comparison) -> Floats:
    """The comparison's volumes, both sides of every step of the replicas, and where an answer changes, ascending."""
    low, high = float(comparison.volumes[0]), float(comparison.volumes[-1])
    found = [*comparison.volumes.tolist(), float(comparison.requests_per_month or low)]
    for rival in comparison.rivals:
        found += steps_of(rival.case, low, high)
        edges = [edge for span in rival.answer.spans for edge in (span.first - 1, span.first, span.last) if edge]
        found += map(float, edges[:MOST_STEPS])
    volumes = np.unique(np.array(found))
    return volumes[(volumes >= low) & (volumes <= high)]


def steps_of(case: Case, low: float, high: float) -> list[float]:
    """The last volume before each further replica and the first after it; none where filling chooses their number."""
    if not case.host.capacity_rps or not case.offered_share or case.overflow:
        return []
    found: list[float] = []
    share, volume = exact(case.offered_share), max(1, math.ceil(low))
    while len(found) < 2 * MOST_STEPS:
        edge = math.floor(last_at_same_cost(case.host, volume * share) / share)
        if edge >= high:
            break
        found += [float(edge), float(edge + 1)]
        volume = edge + 1
    return found


def price_of(comparison: Comparison, rival: Rival) -> Callable[[Floats], Floats] | None:
    """The rival's $/request over volumes where it depends on them, None where it is the case's own."""
    usd = rival.api_usd_per_request
    return None if usd is None else lambda volumes: np.interp(volumes, comparison.volumes, usd)


def own_curves(comparison: Comparison, volumes: Floats) -> list[Curve]:
    """What self-hosting costs: one curve where we serve all, else one for each API that serves the rest."""
    leaves_nothing = all(rival.case.kept * exact(rival.case.offered_share) == 1 for rival in comparison.rivals)
    curves = [
        Curve(i, mixed_curve(rival.case, volumes, price_of(comparison, rival)))
        for i, rival in enumerate(comparison.rivals)
    ]
    if leaves_nothing and not any(rival.case.overflow for rival in comparison.rivals):
        return [Curve(None, curves[0].usd)] if curves else []
    return curves


def api_curves(comparison: Comparison, volumes: Floats) -> list[Curve]:
    """What each API costs alone, for as many good requests as self-hosting gives."""
    return [Curve(i, _api_usd(comparison, rival, volumes)) for i, rival in enumerate(comparison.rivals)]


def _api_usd(comparison: Comparison, rival: Rival, volumes: Floats) -> Floats:
    case, price = rival.case, price_of(comparison, rival)
    if case.worth == 1 or not case.host.capacity_rps:
        return api_curve(case, volumes, price)
    return advantage_curve(case, volumes, price) + mixed_curve(case, volumes, price)
