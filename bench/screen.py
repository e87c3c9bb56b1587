"""What a run says on the terminal: one live line block while load runs (plain lines elsewhere), a table afterwards."""

import time
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from bench.live import LiveFigures
from bench.offer import Progress
from bench.types import Load

_PLAIN_LINE_EVERY_S = 5.0
_SHOWN = (
    ("ttft_ms", "ttft", "ms"),
    ("tpot_ms", "tpot", "ms"),
    ("itl_ms", "itl", "ms"),
    ("service_ms", "service", "ms"),
    ("response_ms", "response", "ms"),
    ("lateness_ms", "lateness", "ms"),
    ("prompt_tokens", "prompt", "tokens"),
    ("output_tokens", "output", "tokens"),
)
_COLUMNS = ("mean", "p50", "p90", "p99", "count")
_STYLES = {"valid": "green", "suspect": "yellow", "invalid": "red bold"}


class ProgressView:
    """Shows where the load stands; use as a context around `offer` and give it every Progress."""

    def __init__(self, console: Console, load: Load, figures: LiveFigures) -> None:
        self._console = console
        self._load = load
        self._figures = figures
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._next_line_s = 0.0

    def __enter__(self) -> "ProgressView":
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, progress: Progress) -> None:
        """Draw this state of the load."""
        now = time.monotonic()
        if self._live is None and now < self._next_line_s:
            return
        self._next_line_s = now + _PLAIN_LINE_EVERY_S
        self._figures.look()
        parts = _describe(progress, self._load, self._figures)
        if self._live is None:
            self._console.print("  ".join(parts), highlight=False, soft_wrap=True)
        else:
            self._live.update(Text("  ".join(parts)), refresh=True)


def _describe(progress: Progress, load: Load, figures: LiveFigures) -> list[str]:
    elapsed_s = max(progress.elapsed_s or 0.0, 0.0)
    total = None if load.requests is None else load.requests + (load.warmup_requests or 0)
    parts = [
        f"{elapsed_s:6.1f} s",
        f"done {progress.done}" + (f"/{total}" if total else ""),
        f"in flight {progress.in_flight}",
        _rate(progress, load, elapsed_s),
    ]
    if (ttft := figures.ttft_ms_p50) is not None:
        parts.append(f"ttft p50 {ttft:.1f} ms")
    if (speed := figures.tokens_per_s_per_user) is not None:
        parts.append(f"{speed:.0f} tok/s each")
    if progress.waiting:
        parts.append(f"waiting {progress.waiting}")
    if progress.dropped:
        parts.append(f"dropped {progress.dropped}")
    parts.append(f"errors {progress.failed}")
    if (left_s := _left_s(progress, load, total, elapsed_s)) is not None:
        parts.append(f"{left_s:.0f} s left")
    return parts


def _rate(progress: Progress, load: Load, elapsed_s: float) -> str:
    if elapsed_s < 0.5:
        return "starting"
    if load.rate_per_s is not None:
        return f"sent {progress.sent / elapsed_s:.1f} of {load.rate_per_s:g} req/s"
    return f"{progress.done / elapsed_s:.1f} req/s"


def _left_s(progress: Progress, load: Load, total: int | None, elapsed_s: float) -> float | None:
    if load.duration_s is not None:
        return max(0.0, load.duration_s + (load.warmup_s or 0.0) - elapsed_s)
    if total is None or not progress.done:
        return None
    return elapsed_s * (total - progress.done) / progress.done


def print_summary(console: Console, summary: Mapping[str, Any]) -> None:
    """Print the verdict, the metrics and the throughput of a finished run."""
    verdict = summary["verdict"]
    console.print()
    console.print(Text.assemble("verdict  ", (verdict["status"], _STYLES[verdict["status"]])))
    for reason in verdict["reasons"]:
        console.print(Text(f"  {reason['code']}: {reason['message']}"), soft_wrap=True)
    console.print(_metrics_table(summary["metrics"]))
    for line in _lines(summary):
        console.print(Text(line), soft_wrap=True)


def _metrics_table(metrics: Mapping[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    table.add_column("unit", style="dim")
    for name, label, unit in _SHOWN:
        values = metrics[name]
        table.add_row(label, *(_number(values[column]) for column in _COLUMNS), unit)
    return table


def _lines(summary: Mapping[str, Any]) -> list[str]:
    requests, throughput, client = summary["requests"], summary["throughput"], summary["client"]
    lines = [
        f"requests   {requests['succeeded']} of {requests['planned']} succeeded"
        + "".join(f", {count} {code}" for code, count in sorted(requests["by_error"].items())),
        f"throughput {_number(throughput['requests_per_s'])} req/s, "
        f"{_number(throughput['output_tokens_per_s'])} output tok/s, "
        f"{_number(throughput['total_tokens_per_s'])} tok/s with prompts, over {summary['window']['seconds']:.1f} s",
        f"client     {client['stamps']} stamps, lag p99 {_number(client['lag_ms']['p99'])} ms, "
        f"{_number(client['token_events_per_s'])} token events/s, cpu {_percent(client['cpu_fraction'])}",
    ]
    for objective in summary["slo"]:
        met = {True: "met", False: "NOT met", None: "undecided"}[objective["met"]]
        lines.append(f"slo        {objective['objective']}: {met}")
    for gpu in summary["gpu"]:
        lines.append(
            f"gpu{gpu['index']}       {gpu['name']}: {_number(gpu['util_pct_mean'])} % busy, "
            f"{_number(gpu['power_w_mean'])} W, {_number(gpu['energy_j'])} J"
        )
    return lines


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}" if abs(value) < 100 else f"{value:.1f}"


def _percent(fraction: float | None) -> str:
    return "-" if fraction is None else f"{fraction:.0%}"
