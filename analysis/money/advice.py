"""What to do at one's own volume, and what would change that, in plain words."""

import math
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Final

from analysis.money.breakeven import Answer, Span
from analysis.money.numbers import HOURS_PER_MONTH, SECONDS_PER_MONTH, decimal, dollars, exact
from analysis.money.routing import Case, Month, month, own_exact_usd

SPANS_TOLD: Final = 3


def advice(case: Case, answer: Answer, requests_per_month: int) -> list[str]:
    """Sentences: what to do at this volume, where the answer changes, and what else would change it."""
    if not case.host.capacity_rps or not case.offered_share:
        verdict = "Too near to call" if answer.kind == "undecided" else "Pay the API"
        return [f"{verdict}: {'; '.join(answer.reasons)}."]
    at = month(case, requests_per_month)
    sentences = [_costs(at), _choice(case, answer, at), where(answer)]
    sentences += _changes_of_volume(answer, requests_per_month)
    if case.overflow:
        return sentences
    return [*sentences, *_change_of_price(case, at), *_change_of_capacity(case, at), *_change_of_routing(case, at)]


def where(answer: Answer) -> str:
    """The answer's spans as a sentence, the first few of many."""
    if answer.kind == "never":
        return f"Self-hosting never pays: {'; '.join(answer.reasons)}."
    if not answer.spans:
        return "By the middle of the measurements self-hosting never pays."
    if answer.spans == (Span(1, None),):
        return "Self-hosting pays at any volume."
    bounded = [f"from {first:,} to {last:,}" for first, last in answer.spans if last is not None]
    told = bounded[:SPANS_TOLD]
    if len(bounded) > SPANS_TOLD:
        told.append(f"in {len(bounded) - SPANS_TOLD:,} more ranges")
    if answer.permanent is not None:
        told.append(f"{'for good ' * bool(bounded)}from {answer.permanent:,} on")
    return f"Self-hosting pays {', '.join(told)} ({answer.unit})."


def _costs(at: Month) -> str:
    api, mixed = dollars(at.api_usd), dollars(at.mixed_usd)
    return f"At {at.requests:,} requests/month the API costs {api}; self-hosting costs {mixed}, with {_ways(at)}."


def _ways(at: Month) -> str:
    count = f"{at.replicas:,} replica{'' if at.replicas == 1 else 's'}"
    return f"{count} and {float(at.api_share):.1%} of the requests at the API" if at.api_share else count


def _choice(case: Case, answer: Answer, at: Month) -> str:
    if answer.kind == "undecided":
        return f"Too near to call: {'; '.join(answer.reasons)}."
    wins, saving = answer.holds(at.requests), dollars(abs(at.saving_usd))
    if case.worth != 1:
        return f"{'Self-host' if wins else 'Pay the API'}: a good request costs less that way."
    return f"Self-host: it saves {saving} a month." if wins else f"Pay the API: it saves {saving} a month."


def _changes_of_volume(answer: Answer, volume: int) -> Iterator[str]:
    for first, last in answer.spans:
        if last is not None and first <= volume <= last:
            yield f"At this volume it pays from {first:,} to {last:,} requests/month."
    below = [span.last for span in answer.spans if span.last is not None and span.last < volume]
    above = [span.first for span in answer.spans if span.first > volume]
    if not answer.holds(volume) and below:
        yield f"Self-hosting would pay at {below[-1]:,} requests/month, {below[-1] / volume:.2g} times this volume."
    if not answer.holds(volume) and above:
        yield f"Self-hosting would pay at {above[0]:,} requests/month, {above[0] / volume:.2g} times this volume."


def _change_of_price(case: Case, at: Month) -> Iterator[str]:
    """At which price of either side, all else unchanged, both ways cost the same at this volume."""
    own = own_exact_usd(case, at.requests)
    offered = at.requests * exact(case.offered_share)
    if case.kept and case.worth:
        tie_usd = own / (offered * case.kept * case.worth)
        now = dollars(case.usd_per_request)
        yield f"Both ways cost the same here at an API price of {dollars(decimal(tie_usd))} per request (now {now})."
    free = replace(case, host=replace(case.host, usd_per_replica_month=Decimal(0)))
    fixed, saved = own_exact_usd(free, at.requests), offered * case.usd_saved_per_offered
    if own == fixed:
        return
    replica = exact(case.host.usd_per_replica_month)
    tie, now = (dollars(decimal(usd / HOURS_PER_MONTH)) for usd in (replica * (saved - fixed) / (own - fixed), replica))
    if saved > fixed:
        yield f"They also do at {tie} per replica-hour (now {now})."
    else:
        yield f"No replica is cheap enough here: all but the replicas costs {dollars(decimal(fixed))} already."


def _change_of_capacity(case: Case, at: Month) -> Iterator[str]:
    """Said where all hours have the same replicas at the same price."""
    host = case.host
    replica = exact(host.usd_per_replica_month)
    if host.autoscale or host.commitment or not replica:
        return
    offered = at.requests * exact(case.offered_share)
    afford = math.floor((offered * case.usd_saved_per_offered - exact(host.ops_usd_per_month)) / replica)
    most, least = afford - host.spare_replicas, max(1, host.min_replicas)
    if most < least:
        yield "No capacity would change that: the fewest replicas cost more than the API."
        return
    tie_rps = float(offered * host.traffic.peak / (most * exact(host.utilization) * SECONDS_PER_MONTH))
    now = f"now {float(host.capacity_rps):.3g}"
    yield f"Self-hosting pays here as long as a replica serves {tie_rps:.3g} requests/s or more ({now})."


def _change_of_routing(case: Case, at: Month) -> Iterator[str]:
    filled = month(replace(case, overflow=True, offered_share=1), at.requests)
    if filled.mixed_usd < min(at.api_usd, at.mixed_usd):
        usd = dollars(filled.mixed_usd)
        yield f"Filling the replicas first would be cheaper still, {usd}: {_ways(filled)} (--overflow)."
