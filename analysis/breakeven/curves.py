"""What a comparison's ways cost over volumes, for its figures: the same numbers as its answers', at every step."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from analysis.breakeven.bills import bills
from analysis.breakeven.comparison import CostComparison
from analysis.breakeven.decision import WORST
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.states import States, at_level
from analysis.breakeven.sweep import MOST_EDGES, steps_of
from analysis.breakeven.ways import leaves_nothing
from analysis.stats.distributions import Floats


class Lines(NamedTuple):
    """$/month over volumes as `decide` has them: both ways on average, and the ends of self-hosting's own bill.

    Of ten states one costs less than `low_usd`, and one more than `high_usd`.
    """

    api_usd: Floats
    self_usd: Floats
    low_usd: Floats
    high_usd: Floats


def volumes_of(comparison: CostComparison) -> Floats:
    """The comparison's volumes, both sides of every step of the replicas, and where an answer changes, ascending."""
    low, high = float(comparison.volumes[0]), float(comparison.volumes[-1])
    found = [*comparison.volumes.tolist(), float(comparison.requests_per_month or low)]
    for alternative in comparison.alternatives:
        found += steps_of(alternative.pairing, low, high)
        spans = (*alternative.found.answer.spans, *alternative.found.answer.open_spans)
        edges = [edge for span in spans for edge in (span.first - 1, span.first, span.last) if edge]
        found += map(float, edges[:MOST_EDGES])
    volumes = np.unique(np.array(found))
    return volumes[(volumes >= low) & (volumes <= high)]


def lines(pairing: Pairing, states: States, volumes: Floats) -> Lines:
    """Both ways over volumes, the API's for as many good requests as self-hosting gives."""
    states = states.rounded()
    middle = bills(pairing, replace(states, price_factor=np.ones(len(states))), volumes)
    mixed = bills(pairing, states, volumes).mixed_usd
    low, high = at_level(mixed, WORST), at_level(mixed, 1 - WORST)
    return Lines(middle.alone_usd.mean(axis=0), middle.mixed_usd.mean(axis=0), low, high)


def serves_all(comparison: CostComparison) -> bool:
    """Whether our replicas leave nothing to any API, so that all comparisons have one bill of our own."""
    return all(leaves_nothing(alternative.pairing) for alternative in comparison.alternatives)
