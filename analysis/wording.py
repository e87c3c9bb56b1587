"""Numbers and sentences as people read them, the same in the HTML report and in markdown."""

from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

DASH: Final = "–"
# From here on a factor is easier to read than a percentage.
FACTOR_FROM: Final = 9

LABELS: Final = {
    "ttft_ms": "Time to first token (ttft)",
    "ttft_text_ms": "Time to first visible text",
    "tpot_ms": "Time per output token (tpot)",
    "itl_ms": "Inter-token latency (itl)",
    "chunk_gap_ms": "Gap between arrivals",
    "service_ms": "Service time (e2e)",
    "response_ms": "Response time",
    "lateness_ms": "Send lateness",
    "connect_ms": "Connection time",
    "prompt_tokens": "Prompt tokens",
    "output_tokens": "Output tokens",
}


VERDICTS: Final = {
    "valid": "Valid: every check of the measurement passed.",
    "suspect": "Suspect: use these numbers with care.",
    "invalid": "Invalid: do not use these numbers.",
}


def short(name: str) -> str:
    """A metric's name where there is little room: `ttft_ms` is ttft."""
    return {"service_ms": "service (e2e)"}.get(name, name.removesuffix("_ms").removesuffix("_tokens"))


def number(value: float | None, digits: int = 3) -> str:
    """About three significant digits, whole parts never shortened, thousands separated; a dash for unknown."""
    if value is None:
        return DASH
    if value == int(value):
        return f"{int(value):,}"
    rounded = abs(float(f"{value:.{digits}g}"))
    if rounded >= 1:
        return f"{value:,.{max(0, digits - len(str(int(rounded))))}f}"
    return f"{value:.{digits}g}" if rounded >= 1e-4 else f"{value:.1e}"


def dollars(usd: Decimal | float | None, places: int | None = None) -> str:
    """An amount rounded half up: to so many places, else to the cent, and to three digits below ten cents."""
    if usd is None:
        return DASH
    amount = usd if isinstance(usd, Decimal) else Decimal(str(usd))
    size = abs(amount)
    if places is None:
        places = 2 if size >= Decimal("0.1") or not size else 2 - size.adjusted()
    return f"{'-' if amount < 0 else ''}${size.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):,f}"


def moved(change: float | None, *, points: bool = False) -> str:
    """A relative change as `+12.3%`, a large one as a factor; of shares the difference in percentage points."""
    if change is None:
        return DASH
    if change >= FACTOR_FROM:
        return f"x{number(1 + change)}"
    return f"{100 * change:+.1f}{' pt' if points else '%'}"


def interval(bounds: Sequence[float | None] | None, written: Callable[[float | None], str] = number) -> str | None:
    """A 95% interval as `low–high`, or its one known end, as numbers are written; None when there is neither."""
    low, high = bounds or (None, None)
    if low is None and high is None:
        return None
    if low is None:
        return f"≤ {written(high)}"
    return f"≥ {written(low)}" if high is None else f"{written(low)}–{written(high)}"


def plus_minus(value: float | None, bounds: Sequence[float | None] | None) -> str:
    """A value with half the width of its interval, as `12.1 ±0.38`; alone where that is not known."""
    low, high = bounds or (None, None)
    return number(value) if low is None or high is None else f"{number(value)} ±{number((high - low) / 2, 2)}"


def percent(share: float | None) -> str:
    """A share as a percentage: never 100% or 0% unless it is exactly that."""
    if share is None:
        return DASH
    text = f"{100 * share:.1f}".removesuffix(".0")
    if text == "100" and share < 1:
        return "> 99.9%"
    return "< 0.1%" if text == "0" and share > 0 else f"{text}%"


def count(n: float, noun: str) -> str:
    """`1 request`, `2,000 requests`."""
    return f"{number(n)} {noun}{'' if n == 1 else 's'}"


def load(planned: Mapping[str, Any]) -> str:
    """A run's load in words, from run.json's `load`."""
    if planned["rate_per_s"] is not None:
        offered = f"{number(planned['rate_per_s'])} requests/s with {planned['arrivals']} arrivals (open loop)"
    else:
        offered = f"{count(planned['concurrency'], 'request')} in flight at all times (closed loop)"
    if planned["requests"] is not None:
        length = f"for {count(planned['requests'], 'request')}"
    else:
        length = f"for {number(planned['duration_s'])} s"
    warmup = ""
    if planned["warmup_s"]:
        warmup = f" after a warm-up of {number(planned['warmup_s'])} s"
    elif planned["warmup_requests"]:
        warmup = f" after {count(planned['warmup_requests'], 'warm-up request')}"
    return f"{offered}, {length}{warmup}"


def lengths(tokens: Mapping[str, Any]) -> str:
    """A distribution of token counts, from run.json's `scenario`."""
    low, high = number(tokens["low"]), number(tokens["high"])
    if tokens["kind"] == "fixed":
        return low
    if tokens["kind"] == "lognormal":
        return f"lognormal with median {number(tokens['median'])}, within {low}–{high}"
    return f"{tokens['kind']} on {low}–{high}"


def asked(run: Mapping[str, Any]) -> str:
    """What was asked of whom, in a sentence."""
    return f"{run['backend']} served {run['model']} under the scenario {run['scenario']['name']}: {load(run['load'])}."


def verdict(run: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    """What the verdict means for whoever wants to use the numbers."""
    interrupted = "Interrupted: the run was stopped before its end. " if run["interrupted"] else ""
    return interrupted + VERDICTS[summary["verdict"]["status"]]


def metric(summary: Mapping[str, Any], name: str, statistic: str) -> float | None:
    """One statistic of one metric of summary.json, None when unknown."""
    value: float | None = summary["metrics"].get(name, {}).get(statistic)
    return value


def tokens_per_s_per_user(summary: Mapping[str, Any]) -> float | None:
    """The speed the median request was read at: 1000 / tpot."""
    tpot_ms = metric(summary, "tpot_ms", "p50")
    return 1000 / tpot_ms if tpot_ms else None


def failures(summary: Mapping[str, Any]) -> int:
    """Measured calls that did not succeed, whatever became of them."""
    requests = summary["requests"]
    return int(requests["failed"] + requests["dropped"] + requests["unfinished"])


def steady_window(summary: Mapping[str, Any]) -> str | None:
    """What was cut of the run's start, or is proposed to be, in a sentence; None where there is nothing to say."""
    steady = summary["steadiness"]
    proposed, cut = steady.get("proposed"), steady.get("cut")
    if proposed:
        return (
            f"The first {count(proposed['cut_calls'], 'measured request')} ({number(proposed['cut_s'])} s) look like a "
            f"transient: {proposed['why']}. They are in the numbers; --window steady leaves them out."
        )
    if steady.get("window") != "steady":
        return None
    if not cut["calls"]:
        return "Of the steady window that was asked for nothing had to be cut."
    return (
        f"The first {count(cut['calls'], 'request')} ({number(cut['s'])} s) were cut and count as warm-up, as "
        f"--window steady asked: {cut['why']}."
    )


def found(summary: Mapping[str, Any]) -> str:
    """The outcome in one or two sentences."""
    requests = summary["requests"]
    if not requests["planned"]:
        return "No request was measured."
    if not requests["succeeded"]:
        return f"None of the {count(requests['planned'], 'measured request')} succeeded."
    missed = failures(summary)
    outcome = f"{number(requests['succeeded'])} of {count(requests['planned'], 'measured request')} succeeded"
    outcome = f"{outcome}, {number(missed)} did not" if missed else f"All {outcome.partition(' of ')[2]}"
    if requests["planned"] == 1:
        outcome = "The one measured request succeeded"
    p50, p99 = metric(summary, "ttft_ms", "p50"), metric(summary, "ttft_ms", "p99")
    waited = f"half of them had their first token within {number(p50)} ms" if p50 is not None else ""
    if waited and p99 is not None:
        waited += f" and 99% within {number(p99)} ms"
    speed = tokens_per_s_per_user(summary)
    read = f"; a typical user then read {number(speed)} tokens/s" if speed else ""
    return f"{outcome}; {waited}{read}." if waited else f"{outcome}."
