import errno
import io
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from analysis.summary import summarize
from bench.cli import screen
from bench.cli.output import Screen
from bench.cli.screen import ProgressView, number, print_fact, print_summary
from bench.load.controller import Progress
from bench.process import streams as outputs
from bench.types import Load

ROOT = Path(__file__).parents[3]
CLOSED = Load(8, None, "poisson", 200, None, 16, None, 8, "wait")
TIMED = Load(8, None, "poisson", None, 60.0, None, 6.0, 8, "wait")
OPEN = Load(None, 4.0, "poisson", 200, None, 16, None, 1024, "drop")


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


def block(state: Progress, load: Load, figures: Any) -> list[str]:
    """The lines of the live block as they stand on an 80-column terminal, without the bar."""
    out = io.StringIO()
    Console(file=out, width=80).print(screen.block(state, load, figures))
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
    assert len(block(state, load, Figures(12_345.6, 1_234.5))) <= 4


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
    monkeypatch.setattr("bench.cli.screen.time.monotonic", lambda: next(clock))
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
    monkeypatch.setattr(screen, "_PLAIN_LINE_EVERY_S", 0.0)
    out = io.StringIO()
    figures: Any = Figures()
    with ProgressView(Console(file=out, force_terminal=True), CLOSED, figures) as view:
        view.update(progress())
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().startswith("54 of 216")


# --- afterwards -------------------------------------------------------------------------------------------------


def summary(synthetic_run: Callable[..., Any], **how: Any) -> dict[str, Any]:
    return summarize(*synthetic_run(**how))


def printed(content: dict[str, Any], columns: int = 80) -> str:
    console, out = terminal(columns)
    print_summary(console, content)
    return re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())


def test_the_table_aligns_decimal_points_and_units(synthetic_run: Callable[..., Any]) -> None:
    lines = printed(summary(synthetic_run, jitter=0, ttft_ms=80.0, itl_ms=0.5)).splitlines()
    header = next(i for i, line in enumerate(lines) if "mean" in line)
    rows = {row.split()[0]: row for row in lines[header + 1 : header + 9]}
    assert lines[header].split() == ["mean", "p50", "p90", "p99", "count"]
    assert rows["ttft"].split() == ["ttft", "80", "80", "80", "80", "200", "ms"]
    assert rows["tpot"].split() == ["tpot", "0.500", "0.500", "0.500", "0.500", "200", "ms"]
    assert rows["ttft"].index("80") + 2 == rows["tpot"].index(".")
    assert len({row.rindex(" " + row.split()[-1]) for row in rows.values()}) == 1
    assert list(rows) == ["ttft", "tpot", "itl", "service", "response", "lateness", "prompt", "output"]


@pytest.mark.parametrize("columns", [80, 120])
def test_nothing_is_wider_than_the_terminal(columns: int, synthetic_run: Callable[..., Any]) -> None:
    content = summary(
        synthetic_run,
        failed=[3, 4],
        slo=["ttft_ms:p99<500", "itl_ms:p99<1"],
        tokens=512,
        concurrency=200,
        interrupted=True,
    )
    assert max(map(len, printed(content, columns).splitlines())) <= columns


def test_elsewhere_nothing_is_coloured_or_wrapped(synthetic_run: Callable[..., Any]) -> None:
    out = io.StringIO()
    content = summary(synthetic_run, requests=20, interrupted=True)
    print_summary(Console(file=out), content)
    assert "\x1b" not in out.getvalue()
    for reason in content["verdict"]["reasons"]:
        assert f"{reason['code']}: {reason['message']}\n" in out.getvalue()


def test_no_color_is_respected(synthetic_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console, out = terminal()
    print_summary(console, summary(synthetic_run))
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", out.getvalue())


def test_a_percentile_that_the_sample_cannot_carry_is_a_dash_with_its_reason(synthetic_run: Callable[..., Any]) -> None:
    few, enough = (printed(summary(synthetic_run, requests=requests)) for requests in (20, 200))
    assert "- where there are too few values for the percentile" in few
    assert re.search(r"ttft .* - +20 +ms", few)
    assert "too few values" not in enough


def test_a_run_without_a_success_has_a_verdict_and_no_table(synthetic_run: Callable[..., Any]) -> None:
    text = printed(summary(synthetic_run, requests=5, failed=range(5)))
    assert "ttft" not in text
    assert "requests    0 of 5 succeeded; 5 http_500" in text
    assert text.startswith("\nverdict     invalid\n            nothing_succeeded: ")


def test_the_verdict_with_its_reasons_comes_before_every_number(synthetic_run: Callable[..., Any]) -> None:
    sound = printed(summary(synthetic_run)).splitlines()
    assert sound[:3] == ["", "verdict     valid", ""]
    assert sound[3].split() == ["mean", "p50", "p90", "p99", "count"]
    doubtful = printed(summary(synthetic_run, requests=42))
    assert doubtful.index("few_samples: ") < doubtful.index("mean") < doubtful.index("requests  ")


@pytest.mark.parametrize(
    ("selftest", "words"),
    [
        (None, "of a core; its error here is not known: bench.py selftest"),
        ({"measured_at": "2026-11-21", "error_ms": 0.0123}, "of a core; error p99 0.012 ms by selftest"),
        ({"measured_at": "2026-11-21", "error_ms": None}, "of a core; beyond what selftest saw"),
    ],
)
def test_the_client_has_its_error_at_such_a_load_beside_its_lag(
    selftest: Any, words: str, synthetic_run: Callable[..., Any]
) -> None:
    content = summary(synthetic_run)
    content["client"]["selftest"] = selftest
    assert words in " ".join(printed(content).split())


def test_objectives_say_what_was_seen(synthetic_run: Callable[..., Any]) -> None:
    objectives = ["ttft_ms:p99<500", "tpot_ms<1", "ttft_ms:p99.99<500"]
    text = printed(summary(synthetic_run, jitter=0, slo=objectives))
    assert "objective   ttft_ms:p99<500 met at 80.0 ms from due, 80 ms from sent; 100% of" in text
    assert "objective   tpot_ms<1 MISSED at 10 ms; 0% of requests keep it" in text
    assert "objective   ttft_ms:p99.99<500 cannot be decided; 100% of requests keep it" in text


def test_text_from_outside_is_printed_as_it_is() -> None:
    console, out = terminal()
    print_fact(console, "report", "/tmp/[bold]a b[/]/report.html")
    assert out.getvalue() == "report      /tmp/[bold]a b[/]/report.html\n"


def test_long_facts_wrap_under_themselves_and_unbreakable_ones_not_at_all() -> None:
    console, out = terminal(30)
    print_fact(console, "verdict", "one two three four five")
    print_fact(console, "report", "/a/path/that/is/longer/than/thirty/columns")
    assert out.getvalue().splitlines() == [
        "verdict     one two three four",
        "            five",
        "report      /a/path/that/is/longer/than/thirty/columns",
    ]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0, "0"),
        (64.0, "64"),
        (0.38812, "0.388"),
        (2.846, "2.85"),
        (12.345, "12.3"),
        (204.72, "205"),
        (16_378.4, "16,378"),
        (-2.5, "-2.50"),
    ],
)
def test_numbers_have_three_digits_and_whole_parts_are_never_shortened(value: float | None, text: str) -> None:
    assert number(value) == text


def test_text_from_outside_is_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    Screen(width=200).print("[INST] [core.py:12] [/INST] [red]no[/red] :smile:")
    assert capsys.readouterr().out == "[INST] [core.py:12] [/INST] [red]no[/red] :smile:\n"


def test_a_full_disk_behind_the_output_ends_nothing_and_is_said_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(outputs, "_lost", [])
    drawn_on = Screen(file=Full())
    drawn_on.print("a line")
    print_fact(drawn_on, "label", "text")
    assert outputs.lost() == "No space left on device"
