"""What a run says on the terminal: a live block while load runs (plain lines elsewhere), a table afterwards."""

import math
import sys
import textwrap
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.types import Load

if TYPE_CHECKING:
    from bench.load.controller import Progress
    from bench.runs.live import LiveFigures

_PLAIN_LINE_EVERY_S = 5.0
_BAR_COLUMNS = 20
_LABEL_COLUMNS = 12
_METRICS = (
    ("ttft_ms", "ttft", "ms"),
    ("tpot_ms", "tpot", "ms"),
    ("itl_ms", "itl", "ms"),
    ("service_ms", "service", "ms"),
    ("response_ms", "response", "ms"),
    ("lateness_ms", "lateness", "ms"),
    ("prompt_tokens", "prompt", "tokens"),
    ("output_tokens", "output", "tokens"),
)
_PERCENTILES = ("p50", "p90", "p99")
_COLUMNS = ("mean", *_PERCENTILES, "count")
_STYLES = {"valid": "green", "suspect": "yellow", "invalid": "red bold"}


# --- while load runs --------------------------------------------------------------------------------------------


class ProgressView:
    """Shows where the load stands; use as a context around `offer` and give it every Progress."""

    def __init__(self, console: Console, load: Load, figures: "LiveFigures") -> None:
        self._console = console
        self._load = load
        self._figures = figures
        draws = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(console=console, auto_refresh=False, transient=True) if draws else None
        self._next_line_s = time.monotonic() + _PLAIN_LINE_EVERY_S

    def __enter__(self) -> "ProgressView":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, progress: "Progress") -> None:
        """Draw this state of the load."""
        now_s = time.monotonic()
        if self._live is None and now_s < self._next_line_s:
            return
        self._next_line_s = now_s + _PLAIN_LINE_EVERY_S
        self._figures.look()
        if self._live is not None:
            self._live.update(block(progress, self._load, self._figures), refresh=True)
        else:
            parts = [_position(progress, self._load), *_flow(progress, self._load), *_latency(self._figures)]
            self._console.print("  ".join(parts), highlight=False, soft_wrap=True)


def block(progress: "Progress", load: Load, figures: "LiveFigures") -> Group:
    """Three lines: how far the load is, how it goes, how the server answers."""
    bar = Table.grid(padding=(0, 2))
    bar.add_row(ProgressBar(1.0, _fraction(progress, load), _BAR_COLUMNS), _position(progress, load))
    flow = Text(", ".join(_flow(progress, load)), "red" if progress.failed else "")
    return Group(bar, flow, Text(", ".join(_latency(figures)), "bold"))


def _position(progress: "Progress", load: Load) -> str:
    elapsed_s, total = _elapsed_s(progress), _total(load)
    left_s = _left_s(progress, load)
    left = "" if left_s is None else f", {_time(left_s)} left" if left_s >= 1 else ", finishing"
    return f"{progress.done:,}{f' of {total:,}' if total else ''} requests in {_time(elapsed_s)}{left}"


def _flow(progress: "Progress", load: Load) -> list[str]:
    elapsed_s = _elapsed_s(progress)
    parts = [f"{progress.in_flight:,} in flight"]
    if elapsed_s >= 0.5:
        achieved = progress.done - progress.failed if load.rate_per_s is None else progress.sent
        rate = number(achieved / elapsed_s)
        parts.append(
            f"{rate} req/s" if load.rate_per_s is None else f"sent {rate} of {load.rate_per_s:,g} req/s wanted"
        )
    held_back = {
        "waiting": progress.waiting,
        "backing off": progress.backing_off,
        "dropped": progress.dropped,
    }
    parts += [f"{count:,} {name}" for name, count in held_back.items() if count]
    return [*parts, f"{progress.failed:,} error{'' if progress.failed == 1 else 's'}"]


def _latency(figures: "LiveFigures") -> list[str]:
    parts = []
    if (ttft_ms := figures.ttft_ms_p50) is not None:
        parts.append(f"ttft p50 {number(ttft_ms)} ms")
    if (tokens_per_s := figures.tokens_per_s_per_user) is not None:
        parts.append(f"{number(tokens_per_s)} tok/s per stream")
    return parts


def _fraction(progress: "Progress", load: Load) -> float:
    if (total := _total(load)) is not None:
        return progress.done / total
    return min(1.0, _elapsed_s(progress) / _length_s(load))


def _left_s(progress: "Progress", load: Load) -> float | None:
    elapsed_s, total = _elapsed_s(progress), _total(load)
    if total is None:
        return _length_s(load) - elapsed_s
    if load.rate_per_s is not None:
        return total / load.rate_per_s - elapsed_s
    return elapsed_s * (total - progress.done) / progress.done if progress.done else None


def _elapsed_s(progress: "Progress") -> float:
    return max(progress.elapsed_s or 0.0, 0.0)


def _total(load: Load) -> int | None:
    return None if load.requests is None else load.requests + (load.warmup_requests or 0)


def _length_s(load: Load) -> float:
    return (load.duration_s or 0.0) + (load.warmup_s or 0.0)


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"


# --- afterwards -------------------------------------------------------------------------------------------------


def print_summary(console: Console, summary: Mapping[str, Any]) -> None:
    """Print the verdict on a finished run with its reasons, then the metrics, the throughput and what else is known."""
    console.print()
    print_verdict(console, summary["verdict"])
    shown = [row for row in _METRICS if summary["metrics"][row[0]]["count"]]
    if shown:
        console.print()
        console.print(_table(summary["metrics"], shown))
    if any(summary["metrics"][name][p] is None for name, _, _ in shown for p in _PERCENTILES):
        console.print(Text("- where there are too few values for the percentile", "dim"))
    console.print()
    for label, text in _facts(summary):
        print_fact(console, label, text)


def print_verdict(console: Console, verdict: Mapping[str, Any]) -> None:
    """Print a verdict with its reasons."""
    print_fact(console, "verdict", verdict["status"], _STYLES[verdict["status"]])
    for reason in verdict["reasons"]:
        print_fact(console, "", f"{reason['code']}: {reason['message']}")


def print_fact(console: Console, label: str, text: str, style: str = "") -> None:
    """Print a labelled line, which on a terminal is wrapped under itself; elsewhere it stays one line."""
    columns = console.width if console.is_terminal else sys.maxsize
    indent = " " * _LABEL_COLUMNS
    wrapped = textwrap.fill(text, columns, initial_indent=indent, subsequent_indent=indent, break_long_words=False)
    line = Text.assemble(label.ljust(_LABEL_COLUMNS), (wrapped.removeprefix(indent), style))
    console.print(line, soft_wrap=True)


def _table(metrics: Mapping[str, Any], shown: list[tuple[str, str, str]]) -> Text:
    """The metrics a row each, the statistics a column each with its decimal points under each other."""
    columns = [_column(name, [metrics[metric][name] for metric, _, _ in shown]) for name in _COLUMNS]
    lines = [Text(" " * _LABEL_COLUMNS + "   ".join(column[0] for column in columns), "bold")]
    for (_, label, unit), *cells in zip(shown, *(column[1:] for column in columns), strict=True):
        lines.append(Text.assemble(label.ljust(_LABEL_COLUMNS), "   ".join(cells), (f"   {unit}", "dim")))
    return Text("\n").join(lines)


def _column(header: str, values: list[float | None]) -> list[str]:
    numbers = [number(value) for value in values]
    decimals = [len(text) - text.find(".") if "." in text else 0 for text in numbers]
    cells = [header, *(text + " " * (max(decimals) - places) for text, places in zip(numbers, decimals, strict=True))]
    return [cell.rjust(max(map(len, cells))) for cell in cells]


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    requests, client = summary["requests"], summary["client"]
    errors = ", ".join(f"{count:,} {code}" for code, count in requests["by_error"].items())
    facts = [
        ("requests", f"{requests['succeeded']:,} of {requests['planned']:,} succeeded{errors and f'; {errors}'}"),
        ("throughput", _throughput(summary)),
        (
            "client",
            f"{_stamps(client['stamps'])}, lag p99 {number(client['lag_ms']['p99'])} ms, "
            f"{number(client['token_events_per_s'])} token events/s, {_percent(client['cpu_fraction'])} of a core; "
            f"{_selftest(client.get('selftest'))}",
        ),
    ]
    if (waited := _waited(summary["backoff"])) is not None:
        facts.append(("backoff", waited))
    if (window := _window(summary["steadiness"])) is not None:
        facts.append(("window", window))
    cache, cost = summary["cache"], summary["cost"]
    if cache["hit_rate"] is not None:
        facts.append(("cache", f"{_percent(cache['hit_rate'])} of prompt tokens out of the server's prefix cache"))
    facts += [
        ("rate limit", f"{limit['name']}: at least {limit['remaining_min']:,g} of {limit['limit']:,g} left")
        for limit in summary["rate_limits"][:1]
    ]
    if cost is not None and cost["usd_per_request"] is not None:
        paid = f"{_usd(cost['api_usd'])} in all, " if cost["api_usd"] is not None else ""
        per_million = _usd(cost["usd_per_million_output_tokens"])
        per_request = f"{_usd(1000 * cost['usd_per_request'])} per 1,000 requests"
        facts.append(("cost", f"{paid}{per_request}, {per_million} per million output tokens"))
    for objective in summary["slo"]:
        met = {True: "met", False: "MISSED", None: "cannot be decided"}[objective["met"]]
        facts.append(("objective", f"{objective['objective']} {met}{_seen(objective)}"))
    for gpu in summary["gpu"]:
        busy, power_w, energy_j = (number(gpu[name]) for name in ("util_pct_mean", "power_w_mean", "energy_j"))
        facts.append((f"gpu{gpu['index']}", f"{gpu['name']}: {busy} % busy, {power_w} W, {energy_j} J"))
    return facts


def _throughput(summary: Mapping[str, Any]) -> str:
    """What was served per second, or why that is not known."""
    served = summary["throughput"]
    if served.get("rates_unknown"):
        return f"not known: {served['rates_unknown']}"
    if served["requests_per_s"] is None:
        return "not known: nothing was measured for any time"
    seconds = number(summary["window"]["seconds"])
    if served.get("tokens_unknown"):
        return (
            f"{number(served['requests_per_s'])} req/s, over {seconds} s; tokens not known: {served['tokens_unknown']}"
        )
    return (
        f"{number(served['requests_per_s'])} req/s, {number(served['output_tokens_per_s'])} output tok/s, "
        f"{number(served['total_tokens_per_s'])} with prompts, over {seconds} s"
    )


def _stamps(whose: str | None) -> str:
    return "nothing arrived" if whose is None else f"{whose} stamps"


def _seen(objective: Mapping[str, Any]) -> str:
    """What was seen of an objective, and how many requests keep it."""
    value, kept = objective["value"], _percent(objective["attainment"])
    if objective.get("unit") == "share":
        return "" if value is None else f"; {_percent(value)} of requests failed"
    seen, service = "" if value is None else f" at {number(value)} ms", objective.get("service_value")
    if value is not None and service is not None and not objective["from_sending"]:
        seen += f" from due, {number(service)} ms from sent"
    return f"{seen}; {kept} of requests keep it"


def _selftest(found: Mapping[str, Any] | None) -> str:
    """What this machine's selftest says of the client's error under such a load."""
    if found is None:
        return "its error here is not known: bench.py selftest"
    error_ms = found["error_ms"]
    return "beyond what selftest saw" if error_ms is None else f"error p99 {number(error_ms)} ms by selftest"


def _waited(backoff: Mapping[str, Any]) -> str | None:
    """How long slots waited after refusals; None where none did, or nobody knows."""
    if not backoff["waits"]:
        return None
    share = "" if backoff["share"] is None else f", {_percent(backoff['share'])} of their time"
    refusals = f"{backoff['waits']:,} refusal{'' if backoff['waits'] == 1 else 's'}"
    return f"slots waited {number(backoff['seat_s'])} s after {refusals}{share}; --backoff off asks again at once"


def _window(steady: Mapping[str, Any]) -> str | None:
    """What was cut of the run's start, or is proposed to be; None where nothing is to be said of it."""
    proposed, cut = steady["proposed"], steady["cut"]
    if proposed is not None:
        return (
            f"not steady for the first {proposed['cut_calls']:,} requests, {number(proposed['cut_s'])} s "
            f"({proposed['why']}): --window steady cuts them"
        )
    if steady["window"] == "planned":
        return None
    why = f" ({cut['why']})" if cut["calls"] else ""
    return f"steady, {cut['calls']:,} requests and {number(cut['s'])} s cut at the start{why}"


def number(value: float | None) -> str:
    """Three significant digits, whole parts never shortened; a dash for unknown."""
    if value is None:
        return "-"
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def _usd(amount: float | None) -> str:
    """Dollars to three digits and at least to the cent, never as a power of ten."""
    if not amount:
        return "-" if amount is None else "$0"
    return f"${amount:,.{max(2, 2 - math.floor(math.log10(abs(amount))))}f}"


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.0%}"
