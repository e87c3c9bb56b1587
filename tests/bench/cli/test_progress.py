import io
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench.cli import progress as progress_view
from bench.cli.progress import ProgressView, ShownLoad
from bench.load.controller import Progress
from bench.types import AT_ONCE, RECORDED, Load

ROOT = Path(__file__).parents[3]
CLOSED = ShownLoad(Load(8, None, "poisson", 200, None, 16, None, 8, "wait"), 216)
TIMED = ShownLoad(Load(8, None, "poisson", None, 60.0, None, 6.0, 8, "wait"), None)
OPEN = ShownLoad(Load(None, 4.0, "poisson", 200, None, 16, None, 1024, "drop"), 216)
SESSIONS = Load(8, None, "poisson", None, None, None, None, 8, "wait", sessions=50, warmup_sessions=4)


@dataclass
class Figures:
    ttft_ms_p50: float | None = None
    tokens_per_s_per_user: float | None = None
    looks: int = 0

    def look(self) -> None:
        self.looks += 1


def progress(elapsed_s: float = 10.0, done: int = 54, **counts: int) -> Progress:
    others = {"sent": done + 8, "failed": 0, "dropped": 0, "in_flight": 8, "waiting": 0}
    return Progress(elapsed_s=elapsed_s, done=done, **others | counts)


def terminal(columns: int = 80) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=columns, color_system="standard"), out


def block(state: Progress, load: ShownLoad, figures: Any) -> list[str]:
    """The lines of the live block as they stand on an 80-column terminal, without the bar."""
    out = io.StringIO()
    Console(file=out, width=80).print(progress_view.block(state, load, figures))
    return [line.strip("━╸╺ ") for line in out.getvalue().splitlines()]


def test_a_screen_that_nobody_reads_does_not_end_the_run() -> None:
    code = """
from bench.cli.output import Screen
import sys
screen = Screen()
sys.stdin.readline()
for line in "abc":
    screen.print(line)
print("went on", file=sys.stderr)
"""
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert process.communicate("\n")[1] == "went on\n"
    assert process.returncode == 0


# --- while load runs --------------------------------------------------------------------------------------------


def test_the_block_says_how_far_the_load_is_how_it_goes_and_how_the_server_answers() -> None:
    assert block(progress(), CLOSED, Figures(12.34, 182.3)) == [
        "54 of 216 requests in 10 s, 30 s left",
        "8 in flight, 5.40 req/s, 0 errors",
        "ttft p50 12.3 ms, 182 tok/s per stream",
    ]


def test_an_open_loop_shows_the_rate_achieved_against_the_one_wanted_and_what_it_could_not_send() -> None:
    position, flow, _ = block(progress(sent=39, waiting=3, dropped=2, failed=1), OPEN, Figures())
    assert position == "54 of 216 requests in 10 s, 44 s left"
    assert flow == "8 in flight, sent 3.90 of 4 req/s wanted, 3 waiting, 2 dropped, 1 error"


def test_a_timed_load_is_as_far_as_its_time() -> None:
    assert block(progress(), TIMED, Figures())[0] == "54 requests in 10 s, 56 s left"
    assert block(progress(elapsed_s=66.2), TIMED, Figures())[0] == "54 requests in 66 s, finishing"


def test_a_load_of_sessions_is_as_far_as_its_turns_and_has_no_rate_of_them_that_was_wanted() -> None:
    closed = ShownLoad(SESSIONS, 216, goes_on=True)
    assert block(progress(), closed, Figures())[0] == "54 of 216 requests in 10 s, 30 s left"
    opened = ShownLoad(replace(SESSIONS, concurrency=None, rate_per_s=4.0), 216, goes_on=True)
    assert block(progress(sent=39), opened, Figures())[:2] == [
        "54 of 216 requests in 10 s, 30 s left", "8 in flight, sent 3.90 req/s, 0 errors",
    ]  # fmt: skip


@given(
    st.sampled_from(["requests", "sessions", "duration_s"]), st.booleans(), st.booleans(),
    st.floats(-1, 1e5), st.integers(0, 500), st.sampled_from([AT_ONCE, RECORDED, "poisson"]),
)  # fmt: skip
def test_every_kind_of_load_can_be_drawn_at_every_moment(
    length: str, is_open: bool, goes_on: bool, elapsed_s: float, done: int, arrivals: str
) -> None:
    some: Any = {"sessions": None, length: 5}
    load = replace(SESSIONS, arrivals=arrivals, **some)
    if is_open:
        load = replace(load, concurrency=None, rate_per_s=None if arrivals == AT_ONCE else 4.0)
    calls = None if length == "duration_s" else 500
    assert len(block(progress(elapsed_s, done), ShownLoad(load, calls, goes_on), Figures())) <= 4


@pytest.mark.parametrize(("elapsed_s", "text"), [(119.4, "119 s"), (305, "5 min 05 s"), (36_000, "10 h 00 min")])
def test_long_times_have_minutes_and_hours(elapsed_s: float, text: str) -> None:
    assert block(progress(elapsed_s, done=0), CLOSED, Figures())[0] == f"0 of 216 requests in {text}"


def test_before_the_first_answer_nothing_is_made_up() -> None:
    assert block(progress(elapsed_s=-0.2, done=0), CLOSED, Figures()) == [
        "0 of 216 requests in 0 s",
        "8 in flight, 0 errors",
        "",
    ]


def test_the_block_fits_80_columns_when_everything_is_large() -> None:
    state = progress(
        elapsed_s=36_000,
        done=9_000_000,
        sent=9_001_024,
        failed=123_456,
        dropped=123_456,
        in_flight=1_024,
        waiting=9_999,
    )
    load = Load(None, 1234.5, "poisson", 10_000_000, None, 0, None, 1024, "drop")
    assert len(block(state, ShownLoad(load, 10_000_000), Figures(12_345.6, 1_234.5))) <= 4


def test_on_a_terminal_the_block_is_drawn_in_place_and_removed() -> None:
    console, out = terminal()
    figures: Any = Figures(12.3)
    with ProgressView(console, CLOSED, figures) as view:
        view.update(progress())
    assert "54 of 216" in out.getvalue()
    assert out.getvalue().endswith("\x1b[2K")
    assert figures.looks == 1


def test_elsewhere_plain_lines_come_every_five_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    figures: Any = Figures(12.34, 182.3)
    clock = iter([0.0, 1.0, 5.0, 6.0, 10.0])
    monkeypatch.setattr("bench.cli.progress.time.monotonic", lambda: next(clock))
    with ProgressView(Console(file=out), CLOSED, figures) as view:
        for done in (10, 54, 60, 108):
            view.update(progress(done=done))
    assert out.getvalue().splitlines() == [
        "54 of 216 requests in 10 s, 30 s left  8 in flight  5.40 req/s  0 errors  ttft p50 12.3 ms  "
        "182 tok/s per stream",
        "108 of 216 requests in 10 s, 10 s left  8 in flight  10.8 req/s  0 errors  ttft p50 12.3 ms  "
        "182 tok/s per stream",
    ]
    assert figures.looks == 2


def test_a_dumb_terminal_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(progress_view, "_PLAIN_LINE_EVERY_S", 0.0)
    out = io.StringIO()
    figures: Any = Figures()
    with ProgressView(Console(file=out, force_terminal=True), CLOSED, figures) as view:
        view.update(progress())
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().startswith("54 of 216")
