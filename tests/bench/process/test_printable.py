"""Nothing from outside acts on a terminal, a page or a document, whatever the text."""

import io
import json
import re
import unicodedata
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.table import Table
from rich.text import Text

from analysis.present.pages import shown
from analysis.present.to_junit import as_xml
from analysis.present.to_markdown import plain
from bench.cli.output import Screen, show_fact
from bench.process.printable import ENCODING_ERRORS, printable
from tests.commands import bench

ROOT = Path(__file__).parents[3]
ANYTHING = st.text(st.characters(codec=None, categories=None), max_size=40)
HOSTILE = {
    "a colour": "\x1b[31mred",
    "a window's title": "\x1b]0;mine\x07",
    "a link": "\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\",
    "the clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "the same in C1": "\x9d52;c;ZXZpbA==\x9c",
    "right to left": "model\u202etxt.exe\u2066",
    "a new line's start": "all is well\r\x00error",
    "a tag": "\U000e0041",
    "half a pair": "\ud83d",
}
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufffe\uffff]")


@settings(max_examples=300, deadline=None)
@given(ANYTHING)
@example("\x1b]52;c;AA\x07\x9b31m\u202e\ud800\U000e0041\uffff\U0001fffe")
def test_what_is_shown_holds_nothing_that_acts_and_can_be_written(text: str) -> None:
    shown_text = printable(text)
    assert not ACTS.search(shown_text)
    assert all(unicodedata.category(character) != "Cs" for character in shown_text)
    assert printable(shown_text) == shown_text
    shown_text.encode()


@given(ANYTHING)
def test_letters_spaces_and_line_feeds_stay_as_they_are(text: str) -> None:
    kept = "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] in "LNPSM" or c == " ")
    assert printable(kept) == kept


@settings(deadline=None)
@given(st.dictionaries(ANYTHING.map(lambda text: text.encode("utf-8", "replace").decode()), st.text(max_size=10)))
def test_a_json_document_stays_the_same_document(content: dict[str, str]) -> None:
    assert json.loads(printable(json.dumps(content, ensure_ascii=False))) == content


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_nothing_that_is_drawn_on_a_screen_acts_on_the_terminal(text: str) -> None:
    screen = Screen(file=io.StringIO(), force_terminal=True, color_system=None, width=200)
    table = Table(text)
    table.add_row(text)
    screen.print(text, markup=False)
    screen.print(Text(text), table)
    show_fact(screen, "server", text)
    assert not ACTS.search(screen.file.getvalue())  # type: ignore[attr-defined]


def test_what_steers_the_terminal_is_kept_where_it_is_our_own() -> None:
    screen = Screen(file=io.StringIO(), force_terminal=True, color_system="standard", width=80)
    screen.print(Text("fine", "red"))
    screen.show_cursor(False)
    assert screen.file.getvalue() == "\x1b[31mfine\x1b[0m\n\x1b[?25l"  # type: ignore[attr-defined]


@settings(deadline=None)
@given(ANYTHING)
def test_markdown_and_pages_have_it_as_text(text: str) -> None:
    line = plain(text)
    assert not ACTS.search(line) and "\n" not in line
    assert not re.search(r"(?<!\\)[<>`|*_\[\]]", line.replace("\\\\", ""))
    assert not ACTS.search(shown(text))


@settings(deadline=None)
@given(ANYTHING, ANYTHING)
def test_a_junit_document_can_be_read_whatever_is_in_it(name: str, text: str) -> None:
    suites = ElementTree.Element("testsuites", {"name": name})
    ElementTree.SubElement(suites, "system-out").text = text
    read = ElementTree.fromstring(as_xml(suites))
    assert not ACTS.search("".join(read.itertext()) + read.attrib["name"])


@settings(deadline=None)
@given(ANYTHING, st.sampled_from(["ascii", "latin-1", "cp1252", "utf-8", "koi8-r"]))
def test_every_text_can_be_written_in_every_encoding(text: str, encoding: str) -> None:
    written = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors=ENCODING_ERRORS)
    written.write(printable(text))
    written.flush()


def test_a_terminal_of_few_letters_is_given_those_that_come_nearest() -> None:
    assert "2 × 3 … “ü” 😀".encode("ascii", ENCODING_ERRORS) == b'2 x 3 ... "\\u00fc" \\ud83d\\ude00'


def test_every_command_prints_by_echo_or_on_a_screen() -> None:
    for path in (ROOT / "bench" / "cli").rglob("*.py"):
        # Those of the gate print to their parent process; what all others print by stands in two places.
        if path.name in ("base.py", "output.py") or path.parent.name == "gate":
            continue
        assert not re.search(
            r"click\.s?echo|[^.\w]print\(|sys\.std(out|err)\.write|[^.\w]Console\(", path.read_text()
        ), path


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_an_error_is_one_line_of_text(text: str) -> None:
    done = bench("size", text)
    assert done.returncode == 2 and done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not ACTS.search(done.stderr.rstrip("\n"))
