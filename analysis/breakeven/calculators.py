"""Small choices beside self-hosting, each with the same kind of answer: from which volume on it costs no more.

Fine-tune or long prompt · prompt cached or not · batch or live.
"""

import math
from bisect import bisect_left
from decimal import Decimal
from fractions import Fraction

from analysis.breakeven.caching import CachePrices, PrefixCache, uncacheable
from analysis.breakeven.volumes import ALWAYS, BreakEven, Span, from_spans
from analysis.money.numbers import at_least_zero, exact


def fine_tune(train_usd: Decimal, prompted_usd_per_request: Decimal, tuned_usd_per_request: Decimal) -> BreakEven:
    """After how many requests in all a fine-tuned model has repaid its training, in place of a long prompt.

    On replicas of our own that cache prefixes, give measured $/request for both: a shared prompt costs almost only
    memory there, so its length by itself repays nothing.
    """
    at_least_zero("--train-usd", train_usd)
    at_least_zero("--prompted-usd", prompted_usd_per_request)
    at_least_zero("--tuned-usd", tuned_usd_per_request)
    saved = exact(prompted_usd_per_request) - exact(tuned_usd_per_request)
    tuned, prompted = f"${tuned_usd_per_request:f}", f"${prompted_usd_per_request:f}"
    reason = f"a request costs {tuned} on the tuned model and {prompted} with the long prompt: nothing is saved"
    return from_spans(_repaid(exact(train_usd), saved), (reason,) if saved <= 0 else (), "requests")


def _repaid(first_usd: Fraction, saved_usd_per_request: Fraction) -> tuple[Span, ...]:
    """From which volume on what is paid first and saved by each request comes to no more: a tie is no dearer."""
    if saved_usd_per_request > 0:
        return (Span(max(1, math.ceil(first_usd / saved_usd_per_request)), None),)
    return ALWAYS if first_usd == saved_usd_per_request == 0 else ()


def prompt_caching(prefix_tokens: int, prices: CachePrices, cache: PrefixCache) -> BreakEven:
    """From which volume on caching the prefix costs no more than sending it in full each time."""
    reasons = uncacheable(prefix_tokens, prices)
    needed = prices.paying_hit_rate
    if needed is None:
        reasons += ("reading the cache costs more than input that is not cached",)
    if reasons or needed is None:
        return from_spans((), reasons)
    why = (f"it pays from a hit rate of {100 * float(needed):.2f}% on, with a TTL of {cache.ttl_s:g} s",)
    # The hit rate only grows with the volume; from `settled_at` on every request is a hit.
    volumes = range(1, cache.settled_at)
    first = 1 + bisect_left(volumes, True, key=lambda volume: bool(cache.hit_rate(volume) >= float(needed)))
    return from_spans((Span(first, None),), why)


def batch(
    live_usd_per_request: Decimal,
    batch_usd_per_request: Decimal,
    deadline_h: float,
    window_h: float,
) -> BreakEven:
    """Whether requests that may wait `deadline_h` for their answer cost no more in a batch, which takes `window_h`."""
    at_least_zero("--live-usd", live_usd_per_request)
    at_least_zero("--batch-usd", batch_usd_per_request)
    at_least_zero("--deadline-h", deadline_h)
    if deadline_h < window_h:
        reason = f"an answer is wanted within {deadline_h:g} h, and a batch may take {window_h:g} h"
        return from_spans((), (reason,))
    saved = exact(live_usd_per_request) - exact(batch_usd_per_request)
    reason = f"a request costs ${batch_usd_per_request:f} in a batch and ${live_usd_per_request:f} live"
    return from_spans(_repaid(Fraction(0), saved), (reason,))
