"""What a comparison's ways cost over volumes, for its figures: the same numbers as its answers', at every step."""

import math
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from analysis.breakeven.comparison import Comparison, spans_of
from analysis.breakeven.decision import WORST, bills
from analysis.breakeven.routing import Case
from analysis.breakeven.selfhost import last_at_same_cost
from analysis.breakeven.states import States
from analysis.money.numbers import exact
from analysis.stats.distributions import Floats

# Further up a logarithmic axis the steps are closer together than a screen can show.
MOST_STEPS: Final = 300


class Lines(NamedTuple):
    """$/month over volumes as `decide` has them: both ways on average, and the ends of self-hosting's own bill.

    Of ten states one costs less than `low_usd`, and one more than `high_usd`.
    """

    api_usd: Floats
    self_usd: Floats
    low_usd: Floats
    high_usd: Floats


class Curve(NamedTuple):
    """$/month of one way at the volumes; `rival` is its place among the rivals, None for self-hosting alone."""

    rival: int | None
    usd: Floats
    low_usd: Floats
    high_usd: Floats


def volumes_of(comparison: Comparison) -> Floats:
    """The comparison's volumes, both sides of every step of the replicas, and where an answer changes, ascending."""
    low, high = float(comparison.volumes[0]), float(comparison.volumes[-1])
    found = [*comparison.volumes.tolist(), float(comparison.requests_per_month or low)]
    for rival in comparison.rivals:
        found += steps_of(rival.case, low, high)
        edges = [edge for span in spans_of(rival) for edge in (span.first - 1, span.first, span.last) if edge]
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


def lines(case: Case, states: States, volumes: Floats) -> Lines:
    """Both ways over volumes, the API's for as many good requests as self-hosting gives."""
    middle = bills(case, replace(states, price_factor=np.ones(len(states))), volumes)
    shape = (len(states), len(volumes))
    api, own = (np.broadcast_to(usd, shape).mean(axis=0) for usd in (middle.alone_usd, middle.mixed_usd))
    mixed = np.broadcast_to(bills(case, states, volumes).mixed_usd, shape)
    low, high = np.quantile(mixed, (WORST, 1 - WORST), axis=0, method="inverted_cdf")
    return Lines(api, own, low, high)


def curves_of(comparison: Comparison, volumes: Floats) -> tuple[list[Curve], list[Curve]]:
    """What self-hosting costs, one curve where we serve all, else one for each API that serves the rest; each API."""
    rivals = comparison.rivals
    each = [lines(rival.case, rival.states, volumes) for rival in rivals]
    own = [Curve(i, *found[1:]) for i, found in enumerate(each)]
    apis = [Curve(i, found.api_usd, found.api_usd, found.api_usd) for i, found in enumerate(each)]
    leaves_nothing = all(rival.case.kept * exact(rival.case.offered_share) == 1 for rival in rivals)
    if own and leaves_nothing and not any(rival.case.overflow for rival in rivals):
        return [own[0]._replace(rival=None)], apis
    return own, apis
