"""How sure a break-even is: what the measurements leave open, carried through to the answer.

Noise is what more measuring would lessen: the mean cost of an API request (resampled from the requests priced) and the
capacity of a replica (from repeated runs or a given interval). Prices, peaks and the cost of operation are no noise
but scenarios: the tornado varies them one at a time.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from statistics import NormalDist
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from analysis.money.breakeven import MOST_STEPS, Answer, break_even
from analysis.money.numbers import at_least_zero
from analysis.money.routing import Case, advantage_curve, month, wins_curve
from analysis.money.selfhost import ROUNDING, bounds, usd_curve
from analysis.stats import CONFIDENCE, Floats, Ints
from bench.types import UserError

DRAWS: Final = 10_000
Z95: Final = NormalDist().inv_cdf(1 - (1 - CONFIDENCE) / 2)
ONE_SIDED_Z95: Final = NormalDist().inv_cdf(CONFIDENCE)

# Up to here Student's t stands in for resampling, beyond it they agree.
FEW: Final = 100

# Independent values are resampled in so many random groups: the spread of their mean is then known to 2%.
MOST_GROUPS: Final = 2_000
INDICES_AT_ONCE: Final = 2_000_000

# How many times the measurements may be asked for: at least twice, and beyond the most the two cost the same.
LEAST_EFFORT: Final = 2.0
MOST_EFFORT: Final = 1_000.0

# Requests per month beyond any service.
LARGEST_VOLUME: Final = 1e12


def mean_draws(
    values: npt.ArrayLike, rng: np.random.Generator, clusters: npt.ArrayLike | None = None, draws: int = DRAWS
) -> Floats:
    """Draws of the mean of values that are never negative: 95 of 100 of their central 95% intervals hold the true one.

    Values of one cluster depend on each other and are drawn together: those of a run, or of the same call repeated in
    several runs. Many clusters are put into random groups first, so that the work does not grow with them.
    """
    sums, counts = _clustered(np.asarray(values, np.float64), clusters)
    if len(sums) < 2:
        raise UserError("uncertainty needs two independent measurements or more: repeat the run with another --seed")
    if len(sums) > MOST_GROUPS:
        group = rng.permutation(len(sums)) % MOST_GROUPS
        sums, counts = _sums(group, sums), _sums(group, counts)
    drawn = _student(sums, counts, rng, draws) if len(sums) <= FEW else _resampled(sums, counts, rng, draws)
    return np.maximum(0.0, drawn)


def _student(sums: Floats, counts: Floats, rng: np.random.Generator, draws: int) -> Floats:
    """The mean's own error, Student's t: what a handful of clusters can show by resampling is too narrow."""
    n, mean = len(sums), sums.sum() / counts.sum()
    residuals = sums - mean * counts
    error = math.sqrt(n / (n - 1) * float(residuals @ residuals)) / counts.sum()
    return np.asarray(mean + error * rng.standard_t(n - 1, draws), np.float64)


def _resampled(sums: Floats, counts: Floats, rng: np.random.Generator, draws: int) -> Floats:
    n, means = len(sums), np.empty(draws)
    step = max(1, INDICES_AT_ONCE // n)
    for start in range(0, draws, step):
        drawn = rng.integers(0, n, (min(step, draws - start), n), dtype=np.int32)
        means[start : start + step] = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    return means


def _clustered(values: Floats, clusters: npt.ArrayLike | None) -> tuple[Floats, Floats]:
    """(sum, count) of each cluster."""
    if not np.all(np.isfinite(values)):
        raise UserError("what is unknown cannot be resampled: leave out the requests or runs that lack a value")
    if clusters is None:
        return values, np.ones(len(values))
    _, member = np.unique(np.asarray(clusters), return_inverse=True)
    return _sums(member, values), _sums(member, np.ones(len(values)))


def _sums(member: Ints, values: Floats) -> Floats:
    return np.asarray(np.bincount(member, values), np.float64)


def interval_draws(low: float, high: float, rng: np.random.Generator, draws: int = DRAWS) -> Floats:
    """Draws of a quantity of which only a 95% interval is known: normal about its middle, never below 0."""
    at_least_zero("--capacity-rps: lower end", low)
    if not low <= high < math.inf:
        raise UserError(f"--capacity-rps {low}..{high}: expected an interval, its lower end first")
    return np.maximum(0.0, rng.normal((low + high) / 2, (high - low) / (2 * Z95), draws))


@dataclass(frozen=True, slots=True)
class Draws:
    """The measured inputs as they might have come out: element i of both belongs together.

    `requests` were priced for the first, `capacity_runs` made for the second; None where it came as an interval.
    """

    usd_per_request: Floats
    capacity_rps: Floats
    requests: int
    capacity_runs: int | None = None


@dataclass(frozen=True, slots=True)
class Uncertainty:
    """P(self-hosting is no dearer) by volume, and the first break-even over the draws.

    Median and 95% interval are in requests/month, None where they lie among the draws without a break-even, of which
    `never_share` is the share.
    """

    volumes: Floats
    p_cheaper: Floats
    median: int | None
    low: int | None
    high: int | None
    never_share: float


def assess(case: Case, draws: Draws, volumes: Floats) -> Uncertainty:
    """How sure the comparison is at these volumes, and where its break-even may lie."""
    first = np.sort(first_draws(case, draws))
    tail = (1 - CONFIDENCE) / 2
    low, median, high = (_volume(first[math.ceil(level * len(first)) - 1]) for level in (tail, 0.5, 1 - tail))
    if case.overflow:  # what has paid once pays at every larger volume
        chances = np.searchsorted(first, volumes, side="right") / len(first)
    else:
        chances = np.array([p_cheaper(case, draws, float(volume)) for volume in volumes])
    return Uncertainty(volumes, chances, median, low, high, float(np.mean(np.isinf(first))))


def p_cheaper(case: Case, draws: Draws, requests_per_month: float) -> float:
    """The share of the draws in which self-hosting is no dearer at this volume."""
    volume = np.asarray(requests_per_month, np.float64)
    return float(np.mean(wins_curve(case, volume, draws.usd_per_request, draws.capacity_rps)))


def _volume(requests_per_month: float) -> int | None:
    return int(requests_per_month) if math.isfinite(requests_per_month) else None


def first_draws(case: Case, draws: Draws) -> Floats:
    """The smallest whole volume at which self-hosting is no dearer, for each draw; infinite where there is none."""
    if not case.offered_share:
        return np.full(len(draws.usd_per_request), np.inf)
    return _first_of_overflow(case, draws) if case.overflow else _first_of_staircase(case, draws)


def _first_of_staircase(case: Case, draws: Draws) -> Floats:
    """Climbs from below as `break_even` does: to the volume whose savings pay for the replicas at the last one."""
    share, host = float(case.offered_share), case.host
    saved = draws.usd_per_request * float(case.kept * case.worth)
    slope, low_usd, _ = map(float, bounds(replace(host, capacity_rps=1)))
    with np.errstate(divide="ignore", invalid="ignore"):
        gain = saved - slope / draws.capacity_rps
        line = np.where(gain != 0, low_usd / gain / share, np.inf)
    hopeless = ~((saved > 0) & ((gain > 0) | (low_usd < 0)))
    volume = np.maximum(1.0, np.where(gain > 0, _whole(line), 0.0))
    until = np.where(gain < 0, line, np.inf)
    climbing = np.flatnonzero(~hopeless)
    for _ in range(MOST_STEPS):
        if not len(climbing):
            break
        own_usd = usd_curve(host, volume[climbing] * share, draws.capacity_rps[climbing])
        pays_from = _whole(own_usd / (saved[climbing] * share))
        climbs = pays_from > volume[climbing]
        volume[climbing] = np.maximum(volume[climbing], pays_from)
        climbing = climbing[climbs & (volume[climbing] <= until[climbing])]
    return np.where(hopeless | (volume > until), np.inf, volume)


def _whole(requests_per_month: Floats) -> Floats:
    """Rounded up, where it is not a whole number but for floating point."""
    return np.asarray(np.ceil(requests_per_month * (1 - ROUNDING)), np.float64)


def _first_of_overflow(case: Case, draws: Draws) -> Floats:
    low = np.ones(len(draws.usd_per_request))
    high = np.full(len(low), LARGEST_VOLUME)
    never = ~wins_curve(case, high, draws.usd_per_request, draws.capacity_rps)
    while np.any(high > low):
        middle = np.floor((low + high) / 2)
        pays = wins_curve(case, middle, draws.usd_per_request, draws.capacity_rps)
        low, high = np.where(pays, low, middle + 1), np.where(pays, middle, high)
    return np.where(never, np.inf, low)


def judge(case: Case, answer: Answer, draws: Draws, requests_per_month: int) -> Answer:
    """The answer, or `undecided` where P(self-hosting is no dearer) at this volume is below 95% either way."""
    chance = p_cheaper(case, draws, requests_per_month)
    if not 1 - CONFIDENCE < chance < CONFIDENCE:
        return answer
    reasons = (
        f"at {requests_per_month:,} requests/month self-hosting is no dearer with a probability of {chance:.0%}, "
        f"short of {CONFIDENCE:.0%} either way",
        _deciding_measurement(case, draws, requests_per_month),
    )
    return replace(answer, kind="undecided", reasons=(*reasons, *answer.reasons))


def _advantage(case: Case, draws: Draws, requests_per_month: int) -> Floats:
    """$/month by draw; one of no capacity at all would be infinitely dear, and no spread could be told."""
    volume = np.asarray(requests_per_month, np.float64)
    capacity_rps = np.maximum(draws.capacity_rps, draws.capacity_rps.mean() / 100)
    return advantage_curve(case, volume, draws.usd_per_request, capacity_rps)


def _deciding_measurement(case: Case, draws: Draws, requests_per_month: int) -> str:
    gap = float(np.mean(_advantage(case, draws, requests_per_month)))
    price_only = replace(draws, capacity_rps=np.full(len(draws.capacity_rps), np.median(draws.capacity_rps)))
    capacity_only = replace(draws, usd_per_request=np.full(len(draws.usd_per_request), np.mean(draws.usd_per_request)))
    by_price, by_capacity = (
        float(np.var(_advantage(case, it, requests_per_month))) for it in (price_only, capacity_only)
    )
    larger, smaller = max(by_price, by_capacity), min(by_price, by_capacity)
    allowed = (gap / ONE_SIDED_Z95) ** 2 - smaller
    effort = max(LEAST_EFFORT, larger / allowed) if allowed > 0 else math.inf
    if effort > MOST_EFFORT:
        return f"the two differ by ${abs(gap):,.2f} a month, less than measuring can tell: decide on other grounds"
    if by_price >= by_capacity:
        requests = math.ceil(draws.requests * effort)
        return f"what would decide it: price about {requests:,} requests (now {draws.requests:,})"
    if draws.capacity_runs is None:
        return f"what would decide it: measure the capacity to an interval {math.sqrt(effort):.1f} times as narrow"
    runs = math.ceil(draws.capacity_runs * effort)
    return f"what would decide it: find the capacity in about {runs:,} runs (now {draws.capacity_runs})"


# --- scenarios ---------------------------------------------------------------------------------------------------


class Bar(NamedTuple):
    """What one input does to the answer at its low and at its high value, all others unchanged."""

    name: str
    first_at_low: int | None
    first_at_high: int | None
    saving_usd_at_low: Decimal
    saving_usd_at_high: Decimal

    @property
    def swing_usd(self) -> Decimal:
        """How far this input moves the month; infinite where no number of replicas serves at one of its ends."""
        ends = (self.saving_usd_at_low, self.saving_usd_at_high)
        return abs(ends[1] - ends[0]) if all(end.is_finite() for end in ends) else Decimal("Infinity")


def tornado(inputs: Mapping[str, tuple[Case, Case]], requests_per_month: int) -> list[Bar]:
    """A bar for each input, that which moves the month at this volume most first.

    `inputs` holds the case with the low and with the high value of each.
    """
    bars = []
    for name, ends in inputs.items():
        first_low, first_high = (break_even(case).first for case in ends)
        saving_low, saving_high = (_saving_usd(case, requests_per_month) for case in ends)
        bars.append(Bar(name, first_low, first_high, saving_low, saving_high))
    return sorted(bars, key=lambda bar: -bar.swing_usd)


def _saving_usd(case: Case, requests_per_month: int) -> Decimal:
    return month(case, requests_per_month).saving_usd if case.host.capacity_rps else Decimal("-Infinity")
