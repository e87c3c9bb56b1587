"""The search for capacity in words."""

from analysis.capacity.search import Capacity, Probe


def line(probe: Probe) -> str:
    """A run at one rate in one line."""
    pairs = zip(probe.kept, probe.wanted, strict=True)
    shares = ", ".join(f"{kept / max(probe.calls, 1):.1%} kept, {wanted:.1%} wanted" for kept, wanted in pairs)
    sure = "" if probe.is_sure else ", not sure"
    completed = "?" if probe.completed_per_s is None else f"{probe.completed_per_s:.3g}"
    early = ", ended early" if probe.stopped else ""
    return f"{probe.rate_per_s:g} requests/s: {probe.outcome}{sure} ({shares}; {completed}/s completed{early})"


def in_words(found: Capacity) -> str:
    """The answer, its interval, and what is above it."""
    if not found.rate_per_s:
        return f"none: {found.reason}"
    high = "no rate that was tried" if found.high_per_s is None else f"{found.high_per_s:.4g}"
    sure = f"{found.low_per_s:.4g} surely meets the objectives, {high} surely does not"
    return f"{found.rate_per_s:g} requests/s ({sure}; {found.reason})"
