"""What to do at one's own volume, and what would change that, in plain words: each from what the states say."""

import math
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Final

from analysis.breakeven.bills import self_hosted_usd
from analysis.breakeven.comparison import Judgement
from analysis.breakeven.decision import Decision, decide
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.states import States
from analysis.breakeven.sweep import BOTH_FREE
from analysis.breakeven.volumes import ALWAYS, BreakEven, Span
from analysis.money.numbers import HOURS_PER_MONTH, SECONDS_PER_MONTH, decimal, exact
from analysis.stats.distributions import CONFIDENCE
from analysis.wording import dollars, dollars_apart

SPANS_NAMED: Final = 3
SURE: Final = f"with {CONFIDENCE:.0%} certainty"


def advice(pairing: Pairing, states: States, found: Judgement) -> list[str]:
    """Sentences: what to do at the volume asked about, where the answer changes, and what else would change it.

    Without a volume only where self-hosting pays.
    """
    at, answer = found.decision, found.answer
    if at is None:
        return [where(answer, measured=states.measured)]
    if not pairing.host.capacity_rps and not states.measured:
        return [f"Pay the API: {'; '.join(answer.reasons)}."]
    sentences = [
        _costs(pairing, at, measured=states.measured),
        *_choice(answer, at, states),
        where(answer, measured=states.measured),
    ]
    sentences += _changes_of_volume(answer, at)
    if pairing.overflow or at.choice == "same" or not at.saving_usd.is_finite():
        return sentences
    if states.curve is None or not at.api_share:
        sentences += _change_of_price(pairing, at)
    sentences += _change_of_capacity(pairing, at)
    return [*sentences, *_change_of_routing(pairing, states, at)]


def where(answer: BreakEven, *, measured: bool = False) -> str:
    """The answer's spans as a sentence or two, the first few of many."""
    if BOTH_FREE in answer.reasons:
        return f"{BOTH_FREE.capitalize()} at any volume."
    if answer.spans == ALWAYS:
        return "Self-hosting pays at any volume."
    sure = f" {SURE}" if measured else ""
    text = f"Self-hosting pays{sure} {_named(answer.spans, answer.unit)}." if answer.spans else _nowhere(answer, sure)
    if answer.open_spans:
        text += f" The measurements leave it open {_named(answer.open_spans, answer.unit)}."
    if answer.spans and answer.known_to is not None:
        text += f" Further ranges, beyond {answer.known_to:,}, are left out."
    return text


def _nowhere(answer: BreakEven, sure: str) -> str:
    if answer.known_to is not None:
        return f"Up to {answer.known_to:,} {answer.unit} self-hosting pays nowhere{sure}."
    if answer.open_spans:
        return f"At no volume does self-hosting pay{sure}."
    because = f": {'; '.join(answer.reasons)}" if answer.reasons else ""
    return f"Self-hosting never pays{because}."


def _named(spans: tuple[Span, ...], unit: str) -> str:
    if spans == ALWAYS:
        return "at any volume"
    bounded = [f"from {first:,} to {last:,}" for first, last in spans if last is not None]
    named = bounded[:SPANS_NAMED]
    if len(bounded) > SPANS_NAMED:
        more = len(bounded) - SPANS_NAMED
        named.append(f"in {more:,} more range{'s' * (more > 1)}")
    if spans[-1].last is None:
        named.append(f"{'for good ' * bool(bounded)}from {spans[-1].first:,} on")
    *before, last = named
    return f"{', '.join(before)}{' and ' * bool(before)}{last} ({unit})"


def _costs(pairing: Pairing, at: Decision, *, measured: bool) -> str:
    as_good = "" if pairing.worth == 1 else " for as many good requests"
    head = f"At {at.requests:,} requests/month the API costs"
    if not at.self_usd.is_finite():
        return f"{head} {dollars(at.api_usd)}{as_good}; servers that may serve nothing cost any amount."
    theirs, ours = dollars_apart(at.api_usd, at.self_usd)
    return f"{head} {theirs}{as_good}; self-hosting costs {ours}{' on average' * measured}, with {_ways(at)}."


def _ways(at: Decision) -> str:
    fewest, most = at.replicas or (0, 0)
    count = f"{fewest:,} replica{'' if most == 1 else 's'}" if fewest == most else f"{fewest:,} to {most:,} replicas"
    return f"{count} and {float(at.api_share):.1%} of the requests at the API" if at.api_share else count


def _choice(answer: BreakEven, at: Decision, states: States) -> list[str]:
    if at.choice == "same":
        return ["Both ways cost the same here."]
    if at.choice == "undecided":
        reasons = "; ".join(answer.reasons[:2])
        return [f"Too close to call: {reasons}.", f"Self-hosting {_on_average(at.saving_usd)}: {_either_way(at)}."]
    ours = at.choice == "self-host"
    head, saving = ("Self-host", at.saving_usd) if ours else ("Pay the API", -at.saving_usd)
    if not states.measured:
        return [f"{head}: it saves {dollars(saving)} a month."]
    least = at.low_usd if ours else -at.high_usd
    chance = at.p_cheaper if ours else 1 - at.p_cheaper
    text = f"{head}: it is cheaper with a probability of {chance:.1%}"
    if not least.is_finite() or not saving.is_finite():
        return [f"{text}."]
    return [f"{text}; it {_on_average(saving)}, and saves {dollars(least)} or more in nine of ten outcomes."]


def _on_average(saving: Decimal) -> str:
    if not saving.is_finite():
        return "may cost any amount"
    return f"{'saves' if saving >= 0 else 'costs'} {dollars(abs(saving))}{'' if saving >= 0 else ' more'} on average"


def _either_way(at: Decision) -> str:
    won, lost = at.won_usd or Decimal(0), at.lost_usd or Decimal(0)
    loss = f"costs {dollars(-lost)} more" if lost.is_finite() else "may cost any amount"
    return f"where it is cheaper it saves {dollars(won)} a month, elsewhere it {loss}"


def _changes_of_volume(answer: BreakEven, at: Decision) -> Iterator[str]:
    volume = at.requests
    for first, last in answer.spans:
        if last is not None and first <= volume <= last:
            # A tie counts as paying where a range is looked for, and is not called that.
            pays = "At this volume it pays" if at.choice == "self-host" else "Self-hosting costs no more"
            yield f"{pays} from {first:,} to {last:,} requests/month."
    below = [span.last for span in answer.spans if span.last is not None and span.last < volume]
    above = [span.first for span in answer.spans if span.first > volume]
    if at.choice != "self-host" and below:
        yield f"Self-hosting would pay at {below[-1]:,} requests/month, {below[-1] / volume:.2g} times this volume."
    if at.choice != "self-host" and above:
        yield f"Self-hosting would pay at {above[0]:,} requests/month, {above[0] / volume:.2g} times this volume."


def _change_of_price(pairing: Pairing, at: Decision) -> Iterator[str]:
    """At which price of either side, all else unchanged, both ways cost the same at this volume (on average)."""
    offered = at.requests * exact(pairing.offered_share)
    own = _self_hosted_usd(pairing, at)
    same = "Both ways cost the same here"
    if pairing.kept and pairing.worth:
        tie_usd = own / (offered * pairing.kept * pairing.worth)
        tie, now = dollars_apart(decimal(tie_usd), pairing.usd_per_request)
        yield f"{same} at an API price of {tie} per request (now {now})."
        same = "They also do"
    free = replace(pairing, host=replace(pairing.host, usd_per_replica_month=Decimal(0)))
    fixed, saved = self_hosted_usd(free, at.requests), offered * pairing.usd_saved_per_offered
    if own == fixed:
        return
    replica = exact(pairing.host.usd_per_replica_month)
    both = (decimal(usd / HOURS_PER_MONTH) for usd in (replica * (saved - fixed) / (own - fixed), replica))
    tie, now = dollars_apart(*both)
    if saved >= fixed:
        yield f"{same} at {tie} per replica-hour (now {now})."
    else:
        yield f"No replica is cheap enough here: the rest alone costs {dollars(decimal(fixed))}."


def _self_hosted_usd(pairing: Pairing, at: Decision) -> Fraction:
    """What of the month's bill is for our replicas."""
    return exact(at.self_usd) - exact(at.api_share) * at.requests * exact(pairing.usd_per_request)


def _change_of_capacity(pairing: Pairing, at: Decision) -> Iterator[str]:
    """Said where all hours have the same replicas at the same price."""
    host = pairing.host
    replica = exact(host.usd_per_replica_month)
    if host.autoscale or host.commitment or not replica:
        return
    offered = at.requests * exact(pairing.offered_share)
    afford = math.floor((offered * pairing.usd_saved_per_offered - exact(host.ops_usd_per_month)) / replica)
    most, least = afford - host.spare_replicas, max(1, host.min_replicas)
    if most < least:
        yield "No capacity would make it pay: the fewest replicas cost more than the API."
        return
    tie_rps = float(offered * host.traffic.peak / (most * exact(host.utilization) * SECONDS_PER_MONTH))
    now = f"now {float(host.capacity_rps):.3g}"
    yield f"Self-hosting pays here as long as a replica serves {rounded_up(tie_rps)} requests/s or more ({now})."


def rounded_up(value: float) -> str:
    """To three digits, so that what is said to be enough is."""
    step = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{math.ceil(value / step * (1 - 1e-12)) * step:.3g}"


def _change_of_routing(pairing: Pairing, states: States, at: Decision) -> Iterator[str]:
    filled = decide(replace(pairing, overflow=True, offered_share=1), states, at.requests)
    if filled.self_usd < min(at.api_usd, at.self_usd):
        usd = dollars(filled.self_usd)
        yield f"Filling the replicas first would be cheaper still, {usd}: {_ways(filled)} (--overflow)."
