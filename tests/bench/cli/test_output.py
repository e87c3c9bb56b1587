"""What a terminal, and a file in its place, is given of a Document."""

import errno
import io
import re
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from analysis.present.document import Align, Column, Document, Headline, Note, Row, Table, row
from analysis.present.of_run import document
from bench.cli.output import Screen, show, show_fact, table_lines
from bench.process import streams as outputs
from tests.golden import on_terminal
from tests.summaries import typed

TABLE = Table(
    (
        Column("name", "left"),
        Column("value", "decimal"),
        Column("where", "left", 1, wraps=True),
        Column("also", drop=2),
    ),
    (
        row("a/long/path-with-hyphens", "1.25", "words that may be broken between them", "7"),
        row("b", "12.5", "x", "8"),
    ),
    "a caption",
)


def terminal(columns: int = 80) -> tuple[Console, io.StringIO]:
    out = io.StringIO()
    return Console(file=out, force_terminal=True, width=columns, color_system="standard"), out


def lines(width: int, table: Table = TABLE) -> list[str]:
    return [line.plain for line in table_lines(table, width)]


# --- tables -----------------------------------------------------------------------------------------------------


def test_a_table_has_points_under_points_and_all_columns_where_there_is_room() -> None:
    assert lines(100) == [
        "a caption",
        "name                      value  where                                  also",
        "a/long/path-with-hyphens   1.25  words that may be broken between them     7",
        "b                         12.5   x                                         8",
    ]


def test_a_narrow_terminal_breaks_words_apart_then_drops_columns_and_says_which() -> None:
    assert lines(60)[1:] == [
        "name                      value  where                  also",
        "a/long/path-with-hyphens   1.25  words that may be         7",
        "                                 broken between them",
        "b                         12.5   x                         8",
    ]
    assert lines(50)[1:] == [
        "name                      value  also",
        "a/long/path-with-hyphens   1.25     7",
        "b                         12.5      8",
        "not shown for want of room: where",
    ]


def test_a_name_that_leaves_no_room_stands_on_a_line_of_its_own() -> None:
    assert lines(30)[1:] == [
        "name",
        "  value  also",
        "a/long/path-with-hyphens",
        "   1.25     7",
        "b",
        "  12.5      8",
        "not shown for want of room:",
        "where",
    ]


ALIGN: st.SearchStrategy[Align] = st.sampled_from(("left", "right", "decimal"))
WORD = st.sampled_from(
    ["1,234.5", "/a/path/of-some/length/report.html", "ttft_ms", "模型", "x", "meta-llama/Llama-3.1-8B"]
)
WORDS = st.lists(WORD, min_size=1, max_size=6).map(" ".join)


@st.composite
def tables(draw: st.DrawFn) -> Table:
    wraps = draw(st.lists(st.booleans(), min_size=1, max_size=7))
    columns = (Column(draw(WORD), draw(ALIGN), draw(st.integers(0, 2)), wraps=each) for each in wraps)
    rows = (row(*(draw(WORDS if each else WORD) for each in wraps)) for _ in range(draw(st.integers(0, 3))))
    return Table(tuple(columns), tuple(rows), draw(WORDS))


@settings(deadline=None, max_examples=150)
@given(tables(), st.integers(40, 200))
def test_no_table_breaks_a_word_and_none_is_wider_than_the_terminal(table: Table, width: int) -> None:
    whole = {word for line in lines(10_000, table) for word in line.split()}
    said = "not shown for want of room: " + ", ".join(column.name for column in table.columns)
    for line in lines(width, table):
        assert set(line.split()) <= whole | {*said.split(), table.columns[-1].name, *(c.name for c in table.columns)}
        assert cell_len(line) <= width


@settings(deadline=None, max_examples=150)
@given(st.lists(st.text("ab/.-1模", min_size=1, max_size=60)), st.text("label ", max_size=14), st.integers(40, 200))
def test_no_fact_breaks_a_word_and_only_a_longer_word_is_wider_than_the_terminal(
    words: list[str], label: str, width: int
) -> None:
    console, out = terminal(width)
    show_fact(console, label.strip(), " ".join(words))
    assert out.getvalue().split() == [*label.split(), *words]
    assert all(cell_len(line) <= width or line in words for line in out.getvalue().splitlines())


def test_wide_letters_take_their_room() -> None:
    table = Table((Column("名", "left"), Column("n")), (row("模型", "1"), row("m", "22")))
    assert {cell_len(line) for line in lines(80, table)} == {8}


def test_a_table_of_no_rows_has_its_names() -> None:
    assert lines(80, Table(TABLE.columns, ())) == ["name  value  where  also"]


# --- documents --------------------------------------------------------------------------------------------------


def of_run(synthetic_run: Callable[..., Any], **how: Any) -> Document:
    run, *rest = synthetic_run(**how)
    return document(*typed(run, *rest))


def printed(shown: Document, columns: int = 80) -> str:
    return on_terminal(shown, columns)


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_nothing_is_wider_than_the_terminal(columns: int, synthetic_run: Callable[..., Any]) -> None:
    shown = of_run(
        synthetic_run,
        failed=[3, 4],
        slo=["ttft_ms:p99<500", "itl_ms:p99<1"],
        tokens=512,
        concurrency=200,
        interrupted=True,
    )
    assert max(map(len, printed(shown, columns).splitlines())) <= columns


def test_elsewhere_nothing_is_coloured_or_wrapped(synthetic_run: Callable[..., Any]) -> None:
    shown = of_run(synthetic_run, requests=20, interrupted=True)
    out = io.StringIO()
    show(Console(file=out), shown)
    assert "\x1b" not in out.getvalue()
    assert shown.headline is not None
    for reason in shown.headline.reasons:
        assert f"{reason.about}: {reason.text}\n" in out.getvalue()


def test_no_color_is_respected(synthetic_run: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    console, out = terminal()
    show(console, of_run(synthetic_run))
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]", out.getvalue())


def test_the_verdict_with_its_reasons_comes_before_every_number() -> None:
    shown = Document(
        title="a run",
        headline=Headline("suspect", "Suspect: use these numbers with care.", (Note("20 calls", "few_samples"),)),
        warnings=(Note("beware"),),
        blocks=(TABLE,),
    )
    assert printed(shown).splitlines()[:4] == [
        "a run",
        "verdict     Suspect: use these numbers with care.",
        "            few_samples: 20 calls",
        "note        beware",
    ]


def test_a_tone_is_a_colour_only_where_there_are_some() -> None:
    console, out = terminal()
    show(console, Document(title="", headline=Headline("invalid", "Invalid.")))
    assert out.getvalue() == "verdict     \x1b[1;31mInvalid.\x1b[0m\n"
    console, out = terminal()
    show(console, Document(title="", blocks=(Table((Column("a", "left"),), (Row(row("b").cells, "good"),)),)))
    assert "\x1b[32mb\x1b[0m" in out.getvalue()


def test_text_from_outside_is_printed_as_it_is() -> None:
    console, out = terminal()
    show_fact(console, "report", "/tmp/[bold]a b[/]/report.html")
    assert out.getvalue() == "report      /tmp/[bold]a b[/]/report.html\n"


def test_long_facts_wrap_under_themselves_and_unbreakable_ones_not_at_all() -> None:
    console, out = terminal(30)
    show_fact(console, "verdict", "one two three four five")
    show_fact(console, "report", "/a/path/that/is/longer-than/thirty/columns")
    assert out.getvalue().splitlines() == [
        "verdict     one two three four",
        "            five",
        "report",
        "/a/path/that/is/longer-than/thirty/columns",
    ]


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
    show_fact(drawn_on, "label", "text")
    assert outputs.lost() == "No space left on device"
