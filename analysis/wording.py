"""Numbers and names as people read them, the same wherever they stand."""

from collections.abc import Callable, Hashable, Iterable, Sequence
from decimal import ROUND_HALF_UP, Decimal
from itertools import combinations
from typing import Final, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

DASH: Final = "–"
# From here on a factor is easier to read than a percentage.
FACTOR_FROM: Final = 9

LABELS: Final = {
    "ttft_ms": "Time to first token (ttft)",
    "ttft_text_ms": "Time to first visible text",
    "itl_ms": "Inter-token latency (itl)",
    "chunk_gap_ms": "Gap between arrivals",
    "tpot_ms": "Time per output token (tpot)",
    "service_ms": "Service time (e2e)",
    "response_ms": "Response time",
    "lateness_ms": "Send lateness",
    "connect_ms": "Connection time",
    "retrieval_ms": "Retrieval time",
    "rag_response_ms": "Retrieval and response",
    "prompt_tokens": "Prompt tokens",
    "output_tokens": "Output tokens",
}


SERVICE: Final = "service_"
"""Before the name of a metric that an objective counts from when it was due: count it from sending."""
WAITED: Final = ("ttft_ms", "ttft_text_ms")
# Here and not in analysis.run.slo, whose own modules take a second to import: shells complete these.
LATENCIES: Final = (*(name for name in LABELS if name.endswith("_ms")), *(SERVICE + metric for metric in WAITED))
"""What an objective can bound, besides `error_share`."""
ERROR_SHARE: Final = "error_share"

VERDICTS: Final = {
    "valid": "Valid: all checks passed.",
    "suspect": "Suspect: use these numbers with care.",
    "not verifiable": "Not verifiable: another tool measured this, and its file does not say enough to check it.",
    "invalid": "Invalid: do not use these numbers.",
}
SEVERITY: Final = (*VERDICTS, "missing", "failed")
"""What may have become of a run, the worst last."""


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
        places = _places(size)
    return f"{'-' if amount < 0 else ''}${size.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):,f}"


def _places(size: Decimal) -> int:
    return 2 if size >= Decimal("0.1") or not size else 2 - size.adjusted()


def dollars_apart(*amounts: Decimal | float, places: int | None = None) -> tuple[str, ...]:
    """Amounts that stand beside each other, with so many more places that two that differ are seen to differ.

    What is nearer than a billionth of them, or of a dollar, is the same, and what no float tells apart.
    """
    exact = [each if isinstance(each, Decimal) else Decimal(str(each)) for each in amounts]
    least = [_places(abs(each)) if places is None else places for each in exact]
    said = tuple(map(dollars, exact, least))

    def look_alike(one: Decimal, other: Decimal, *texts: str) -> bool:
        # A loss that is shown as -$0.00 looks like nothing.
        apart, most = abs(abs(one) - abs(other)), max(abs(one), abs(other))
        near = max(min(Decimal(1), most) * Decimal("1e-9"), most * Decimal("1e-15"))
        return len({text.lstrip("-") for text in texts}) == 1 and apart > near

    pairs = list(combinations(range(len(exact)), 2))
    while any(look_alike(exact[i], exact[j], said[i], said[j]) for i, j in pairs):
        least = [each + 1 for each in least]
        said = tuple(map(dollars, exact, least))
    return said


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


def together(pairs: Iterable[tuple[K, V]]) -> dict[K, list[V]]:
    """What is to be said once of several: those of each key, in the order in which they came."""
    found: dict[K, list[V]] = {}
    for key, value in pairs:
        found.setdefault(key, []).append(value)
    return found


def cut(text: str, length: int) -> str:
    """A text's beginning, with an ellipsis where there is more."""
    return text if len(text) <= length else f"{text[:length]}…"


def count(n: float | None, noun: str) -> str:
    """`1 request`, `2,000 requests`."""
    return f"{number(n)} {noun}{'' if n == 1 else 's'}"
