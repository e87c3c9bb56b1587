"""Progress of a load on the terminal: a live block, or plain lines elsewhere."""

import time
from typing import NamedTuple

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from analysis.wording import number
from bench.app.view import LiveFigures, Progress
from bench.types import Load

_PLAIN_LINE_EVERY_S = 5.0
_BAR_COLUMNS = 20


class ShownLoad(NamedTuple):
    """What is offered: `calls`, None if only time ends the load; with `goes_on` they are turns of sessions."""

    load: Load
    calls: int | None
    goes_on: bool = False


class ProgressView:
    """Shows the progress of a load; use as a context around `offer` and give it every Progress."""

    def __init__(self, console: Console, load: ShownLoad, figures: LiveFigures) -> None:
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

    def update(self, progress: Progress) -> None:
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


def block(progress: Progress, load: ShownLoad, figures: LiveFigures) -> Group:
    """Three lines: how far the load is, at what rate, and how the server answers."""
    bar = Table.grid(padding=(0, 2))
    bar.add_row(ProgressBar(1.0, _fraction(progress, load), _BAR_COLUMNS), _position(progress, load))
    flow = Text(", ".join(_flow(progress, load)), "red" if progress.failed else "")
    return Group(bar, flow, Text(", ".join(_latency(figures)), "bold"))


def _position(progress: Progress, load: ShownLoad) -> str:
    elapsed_s, total, left_s = _elapsed_s(progress), load.calls, _left_s(progress, load)
    left = "" if left_s is None else f", {duration_text(left_s)} left" if left_s >= 1 else ", finishing"
    return f"{progress.done:,}{f' of {total:,}' if total else ''} requests in {duration_text(elapsed_s)}{left}"


def _flow(progress: Progress, shown: ShownLoad) -> list[str]:
    elapsed_s, load = _elapsed_s(progress), shown.load
    parts = [f"{progress.in_flight:,} in flight"]
    if elapsed_s >= 0.5:
        sends = load.is_open and not load.is_at_once
        rate = number((progress.sent if sends else progress.done - progress.failed) / elapsed_s)
        wanted = f" of {load.rate_per_s:,g}" if sends and load.is_stationary and not shown.goes_on else ""
        parts.append(f"sent {rate}{wanted} req/s{wanted and ' wanted'}" if sends else f"{rate} req/s")
    held_back = {
        "waiting": progress.waiting,
        "backing off": progress.backing_off,
        "dropped": progress.dropped,
    }
    parts += [f"{count:,} {name}" for name, count in held_back.items() if count]
    return [*parts, f"{progress.failed:,} error{'' if progress.failed == 1 else 's'}"]


def _latency(figures: LiveFigures) -> list[str]:
    parts = []
    if (ttft_ms := figures.ttft_ms_p50) is not None:
        parts.append(f"ttft p50 {number(ttft_ms)} ms")
    if (tokens_per_s := figures.tokens_per_s_per_user) is not None:
        parts.append(f"{number(tokens_per_s)} tok/s per stream")
    return parts


def _fraction(progress: Progress, load: ShownLoad) -> float:
    if load.calls is not None:
        return progress.done / max(1, load.calls)
    return min(1.0, _elapsed_s(progress) / _length_s(load.load))


def _left_s(progress: Progress, load: ShownLoad) -> float | None:
    elapsed_s, total, rate_per_s = _elapsed_s(progress), load.calls, load.load.rate_per_s
    if total is None:
        return _length_s(load.load) - elapsed_s
    if rate_per_s is not None and not load.goes_on:
        return total / rate_per_s - elapsed_s
    return elapsed_s * (total - progress.done) / progress.done if progress.done else None


def _elapsed_s(progress: Progress) -> float:
    return max(progress.elapsed_s or 0.0, 0.0)


def _length_s(load: Load) -> float:
    return (load.duration_s or 0.0) + (load.warmup_s or 0.0)


def duration_text(seconds: float) -> str:
    """An elapsed time, as `12 s`, `5 min 05 s`, `10 h 00 min`."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes} min {seconds:02d} s" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"
