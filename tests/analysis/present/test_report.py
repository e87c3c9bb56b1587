"""The HTML report: what it says, that it is sound HTML, and that a browser draws it without asking anyone."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from analysis.present.plots import FIGURES
from analysis.present.report import render
from tests.summaries import typed

EVIL = "<script>alert('x')</script>"
VOID = {"meta", "link", "img", "br", "hr", "input"}


@pytest.fixture
def report(synthetic_run: Any) -> Callable[..., str]:
    def build(without_telemetry: bool = False, **options: Any) -> str:
        run, requests, telemetry = synthetic_run(**options)
        given = None if without_telemetry else telemetry
        return render(*typed(run, requests, given), requests, given)

    return build


class Outline(HTMLParser):
    """What a page is made of: its tags, ids, references to ids, headings, visible words, and unbalanced tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.references: set[str] = set()
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        assert not self._open, self._open

    @property
    def levels(self) -> list[int]:
        """The levels of the headings, in order."""
        return [int(tag[1]) for tag, _ in self.tags if re.fullmatch("h[1-6]", tag)]

    @property
    def text(self) -> str:
        """Everything outside scripts and styles, in one line."""
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        assert len(values) == len(attrs), f"an attribute twice in {tag}"
        self.tags.append((tag, values))
        self.ids += [name for key, name in attrs if key == "id" and name]
        for name in ("aria-labelledby", "aria-describedby"):
            self.references |= set((values.get(name) or "").split())
        if (values.get("href") or "").startswith("#"):
            self.references.add(str(values["href"])[1:])
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.words.append(data)


def test_the_page_says_what_was_asked_and_found(report: Callable[..., str]) -> None:
    text = Outline(report(requests=200, warmup=16, jitter=0, ttft_ms=80, itl_ms=10, failed=[20])).text
    assert "llamacpp served tiny, scenario chat: 8 requests in flight (closed loop)" in text
    assert "199 of 200 measured requests succeeded, 1 did not; half had their first token within 80 ms" in text
    assert "Valid: all checks passed." in text
    assert "the time at which the kernel received each segment" in text
    assert "http_500 1 0 synthetic" in text


def test_an_interrupted_run_says_so_with_its_reasons_before_anything_else(report: Callable[..., str]) -> None:
    text = Outline(report(requests=20, interrupted=True)).text
    banner = text.index("Interrupted: the run was stopped before its end. Suspect: use these numbers with care.")
    assert banner < text.index("few_samples") < text.index("llamacpp served")


def test_a_percentile_that_the_sample_cannot_carry_is_a_dash_with_the_reason(report: Callable[..., str]) -> None:
    text = Outline(report(requests=20)).text
    assert "–: too few values for this percentile (p99 needs 100)." in text


def test_a_run_without_a_success_has_a_report(report: Callable[..., str]) -> None:
    text = Outline(report(requests=10, failed=range(10), gpus=0)).text
    assert "Invalid: do not use these numbers." in text
    assert "None of the 10 measured requests succeeded." in text
    assert "No data for: Time to first token, Time per output token, Inter-token latency." in text


def test_a_run_that_sent_nothing_has_a_report(report: Callable[..., str]) -> None:
    text = Outline(report(requests=4, dropped=range(4), without_telemetry=True)).text
    assert "dropped 4 0" in text


def test_a_run_without_telemetry_has_a_report(report: Callable[..., str]) -> None:
    text = Outline(report(requests=20, without_telemetry=True)).text
    assert "No data for: Machine and engine." in text


def test_text_from_outside_is_escaped_wherever_it_shows(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=20, failed=[3], model=EVIL)
    run |= {"notes": [EVIL], "argv": [EVIL], "git_commit": EVIL, "url": EVIL}
    run["server"]["settings"] = {EVIL: EVIL}
    column = requests.schema.get_field_index("error_message")
    requests = requests.set_column(column, "error_message", pa.array([EVIL] * 20))
    page = render(*typed(run, requests, telemetry), requests, telemetry)
    assert EVIL not in page
    assert "alert(" not in "".join(re.findall(r"<script.*?</script>", page, re.S))
    assert Outline(page).text.count(EVIL) > 8


def test_the_html_is_sound(report: Callable[..., str]) -> None:
    page = Outline(report(warmup=8, failed=[20], slo=["ttft_ms:p99<500"]))
    assert len(set(page.ids)) == len(page.ids)
    assert page.references <= set(page.ids)
    assert page.levels.count(1) == 1 and page.levels[0] == 1
    assert all(after - before <= 1 for before, after in zip(page.levels, page.levels[1:], strict=False))
    assert all(attrs.get("scope") in ("col", "row") for tag, attrs in page.tags if tag == "th")


def test_the_page_names_no_other_file(report: Callable[..., str]) -> None:
    page = Outline(report())
    assert not [tag for tag, attrs in page.tags if "src" in attrs or tag == "link"]
    assert all((attrs.get("href") or "#").startswith("#") for _, attrs in page.tags)


INK = "getComputedStyle(document.querySelector('.xtick text')).fill"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "dark"),
    [(390, True), pytest.param(1400, False, marks=pytest.mark.slow)],
    ids=["narrow and dark", "wide and light"],
)
def test_a_browser_draws_every_chart_alone(
    page: Any, report: Callable[..., str], tmp_path: Path, width: int, dark: bool
) -> None:
    file = tmp_path / "report.html"
    file.write_text(report(warmup=8, failed=[20], slo=["ttft_ms:p99<500"]), encoding="utf-8")
    page.open(file, width, dark)
    assert page.drawn() == [name for name in FIGURES if name != "turns"]  # it has none
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(INK) == ("rgb(231, 234, 237)" if dark else "rgb(28, 35, 41)")
    assert page.errors == []
    assert page.requested == [file.as_uri()]


@pytest.mark.slow
def test_charts_follow_the_colour_scheme_the_scale_button_and_the_printer(
    page: Any, report: Callable[..., str], tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    file.write_text(report(), encoding="utf-8")
    page.open(file, 1000)
    page.evaluate("document.querySelector('button[data-chart=ttft]').click()")
    page.media(dark=True)
    page.until(f"{INK} === 'rgb(231, 234, 237)'")
    assert page.evaluate("document.getElementById('ttft').layout.xaxis.type") == "log"
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(INK) == "rgb(28, 35, 41)"
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.until(f"{INK} === 'rgb(231, 234, 237)'")
    assert page.errors == []
