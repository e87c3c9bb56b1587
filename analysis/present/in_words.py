"""A run in sentences: what was asked of whom, what came out, and what its verdict means."""

from analysis.run.summary import RunSummary
from analysis.wording import VERDICTS, count, number
from bench.runs.manifest import RunManifest
from bench.types import RECORDED, Lengths, Load, Scenario


def load(planned: Load, scenario: Scenario) -> str:
    what = "request" if scenario.turns is None else "session"
    if planned.is_open:
        offered = f"{_rate(planned, what)} (open loop)"
    elif scenario.turns is None:
        offered = f"{count(planned.concurrency, what)} in flight (closed loop)"
    else:
        offered = f"{count(planned.concurrency, 'user')} with one session after another (closed loop)"
    if planned.sessions is not None:
        length = f"for {count(planned.sessions, what)}"
    elif planned.requests is not None:
        length = f"for {count(planned.requests, 'request')}"
    else:
        length = f"for {number(planned.duration_s)} s"
    warmup = ""
    if planned.warmup_s:
        warmup = f" after a warm-up of {number(planned.warmup_s)} s"
    elif planned.warmup_sessions:
        warmup = f" after {count(planned.warmup_sessions, 'warm-up session')}"
    elif planned.warmup_requests:
        warmup = f" after {count(planned.warmup_requests, 'warm-up request')}"
    return f"{offered}, {length}{warmup}"


def _rate(planned: Load, what: str) -> str:
    if planned.is_at_once:
        return f"all {what}s due at once, {number(planned.max_in_flight)} in flight at most"
    if planned.arrivals == RECORDED:
        return f"{what}s at the times of the recording, {number(planned.rate_per_s)}/s on average"
    course, arrivals = planned.course, f"with {planned.arrivals} arrivals"
    if not course:
        return f"{count(planned.rate_per_s, what)}/s {arrivals}"
    mean = f"{number(planned.rate_per_s)} on average"
    if len(course) == 1:
        return f"{number(course[0].from_per_s)} to {number(course[0].to_per_s)} {what}s/s, {mean}, {arrivals}"
    rates = [rate for part in course for rate in (part.from_per_s, part.to_per_s)]
    within = f"{number(min(rates))} to {number(max(rates))} {what}s/s in {len(course)} stretches"
    return f"{within}, {mean}, {arrivals}"


def lengths(tokens: Lengths) -> str:
    low, high = number(tokens.low), number(tokens.high)
    if tokens.kind == "fixed":
        return low
    if tokens.kind == "mixed":
        return f"{low}–{high}, by class"
    if tokens.kind == "lognormal":
        return f"lognormal with median {number(tokens.median)}, within {low}–{high}"
    return f"{tokens.kind} on {low}–{high}"


def asked(run: RunManifest) -> str:
    if run.imported is not None:
        return f"{run.imported.title} measured {run.model} with {_told(run.load)}; its file was imported."
    return f"{run.backend} served {run.model}, scenario {run.scenario.name}: {load(run.load, run.scenario)}."


def _told(offered: Load) -> str:
    """The load of another tool, which may not be known."""
    asked = count(offered.requests, "request")
    if offered.concurrency is not None:
        return f"{asked}, {number(offered.concurrency)} in flight"
    return asked if offered.rate_per_s is None else f"{asked}, {number(offered.rate_per_s)} sent per second"


def verdict(run: RunManifest, summary: RunSummary) -> str:
    """What the verdict means for using the numbers."""
    interrupted = "Interrupted: the run was stopped before its end. " if run.interrupted else ""
    return interrupted + VERDICTS[summary.verdict.status]


def steady_window(summary: RunSummary) -> str | None:
    """What was cut of the run's start, or is proposed to be, in a sentence; None where there is nothing to say."""
    proposed, cut = summary.steadiness.proposed, summary.steadiness.cut
    if proposed is not None:
        return (
            f"The first {count(proposed.cut_calls, 'measured request')} ({number(proposed.cut_s)} s) look like a "
            f"transient: {proposed.why}. They are in the numbers; --window steady leaves them out."
        )
    if summary.steadiness.window != "steady" or cut is None:
        return None
    if not cut.calls:
        return "--window steady found nothing to cut."
    return (
        f"The first {count(cut.calls, 'request')} ({number(cut.s)} s) count as warm-up, as "
        f"--window steady asked: {cut.why}."
    )


def found(summary: RunSummary) -> str:
    """The outcome in one or two sentences."""
    requests, ttft_ms = summary.requests, summary.metric("ttft_ms")
    if not requests.planned:
        return "No request was measured."
    if not requests.succeeded:
        return f"None of the {count(requests.planned, 'measured request')} succeeded."
    outcome = f"{number(requests.succeeded)} of {count(requests.planned, 'measured request')} succeeded"
    if requests.planned == 1:
        outcome = "The one measured request succeeded"
    elif requests.missed:
        outcome += f", {number(requests.missed)} did not"
    else:
        outcome = f"All {count(requests.planned, 'measured request')} succeeded"
    waited = f"half had their first token within {number(ttft_ms.p50)} ms" if ttft_ms.p50 is not None else ""
    if waited and ttft_ms.p99 is not None:
        waited += f" and 99% within {number(ttft_ms.p99)} ms"
    whole_ms = summary.metric("service_ms").p50
    if not waited and whole_ms is not None:
        waited = f"half of the answers arrived, in one piece, within {number(whole_ms)} ms"
    speed = summary.tokens_per_s_per_user
    read = f"; a typical user then read {number(speed)} tokens/s" if speed else ""
    return f"{outcome}; {waited}{read}." if waited else f"{outcome}."
