"""The break-even page: answers in words, escaped text, and figures that a browser draws without asking anyone."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.breakeven.comparison import CostComparison, SelfHosted
from analysis.present import breakeven_page as pages
from analysis.present.breakeven_figures import FIGURES
from analysis.present.of_breakeven import document
from tests.golden import same_as_before

EVIL = "<script>alert('x')</script>"
Build = Callable[..., CostComparison]


def has_cells(html: str, *cells: str) -> bool:
    """Whether a row of a table has these cells in their order."""
    return bool(re.search("\\s*".join(f"<td[^>]*>{re.escape(cell)}</td>" for cell in cells), html))


@pytest.mark.parametrize("volume", [100_000, None], ids=["at-a-volume", "without-one"])
def test_it_reads_as_before(comparison: Build, volume: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.money.prices.version", lambda _: "0.2.3")
    given = comparison(requests_per_month=volume, warnings=("the price is 120 days old",))
    same_as_before(f"breakeven-{'at-a-volume' if volume else 'without-one'}", document(given))


def test_each_api_s_advice_and_warnings_come_before_the_figures(comparison: Build) -> None:
    given = comparison(warnings=("the price is 120 days old",))
    warned = replace(given.alternatives[0], warnings=("nothing is cached",))
    html = pages.render(replace(given, alternatives=(warned, *given.alternatives[1:])))
    body = html[html.index("<body>") : html.index('class="chart"')]
    for sentence in (*warned.advice, "Nothing is cached", "The price is 120 days old", "Against cheap: pay the API"):
        assert sentence in body


def test_the_table_has_the_month_and_the_break_evens_of_each_api(comparison: Build) -> None:
    given = comparison(("dear", "0.0045"))
    html = pages.render(given)
    found = given.alternatives[0].found
    assert found.decision is not None
    first, interval = f"{found.answer.first:,}", " to ".join(f"{end:,}" for end in found.first.ci95)
    assert has_cells(html, "$0.00450", "self-host", first, first, interval, "100.0%")
    assert has_cells(html, "$450.00", "$298.20", "$151.80", f"${found.decision.low_usd:,.2f}", "1", "none")


def test_an_interval_that_reaches_into_never_says_so_and_how_often(comparison: Build) -> None:
    given = comparison(("close", "0.00021"))
    first = given.alternatives[0].found.first
    low, high = first.ci95
    assert high is None
    assert f">{low:,} to never ({first.never_share:.0%} never)</td>" in pages.render(given)


def test_where_nothing_was_measured_no_probability_and_no_interval_are_shown(comparison: Build) -> None:
    html = pages.render(comparison(("dear", "0.0045"), measured=False))
    assert has_cells(html, "66,267", "66,267", "–", "–")
    assert "No data for: Probability that self-hosting is cheaper." in html


def test_what_is_not_known_is_a_dash_and_what_cannot_be_drawn_is_said(comparison: Build) -> None:
    html = pages.render(comparison(requests_per_month=None, points=()))
    assert "A month of" not in html
    assert "No data for: Cost by share served by our replicas." in html
    assert "No data for: Cost against latency." in html


def test_each_figure_of_the_page_has_a_page_of_its_own(comparison: Build) -> None:
    given = comparison(points=())
    alone = pages.figure_pages(given)
    assert list(alone) == [name for name in FIGURES if name != "pareto"]
    assert all(html.count('class="chart"') == 1 and f'id="{name}"' in html for name, html in alone.items())
    assert not any("No data for" in html for html in alone.values())


def test_text_from_outside_is_escaped_wherever_it_shows(comparison: Build) -> None:
    given = comparison((EVIL, "0.0045"), warnings=(EVIL,))
    evil = replace(given.alternatives[0], advice=(EVIL,), warnings=(EVIL,), servers=SelfHosted(EVIL))
    html = pages.render(replace(given, alternatives=(evil,)))
    assert EVIL not in html
    assert html.count("&lt;script&gt;alert(") > 6


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "dark"),
    [pytest.param(390, True, marks=pytest.mark.slow), (1400, False)],
    ids=["narrow and dark", "wide and light"],
)
def test_a_browser_draws_every_figure_alone(
    page: Any, comparison: Build, tmp_path: Path, width: int, dark: bool
) -> None:
    file = tmp_path / "breakeven.html"
    file.write_text(pages.render(comparison()), encoding="utf-8")
    page.open(file, width, dark)
    assert page.drawn() == list(FIGURES)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    ink = "getComputedStyle(document.querySelector('.xtick text')).fill"
    assert page.evaluate(ink) == ("rgb(231, 234, 237)" if dark else "rgb(28, 35, 41)")
    assert page.errors == []
    assert page.requested == [file.as_uri()]
