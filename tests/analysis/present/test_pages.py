"""What holds for every page: its weight, that it is alone, and the library that draws its figures."""

import re
import shutil
from pathlib import Path
from typing import Any

import plotly.offline
import pytest

from analysis.present import chart_library, pages, to_html
from analysis.present.document import Document
from analysis.present.pages import PagePlace
from bench.app.around import around, share_library
from tests.analysis.conftest import PAPER_PX
from tests.analysis.present.as_plotly import plotly_takes_all, specs
from tests.analysis.sample_pages import PAGES

MOST_BYTES = 1_600_000
# A page is the library, some 15 KB of frame, and what it says.
MOST_BYTES_OF_ITS_OWN = 400_000
TRACES_IN_THE_BUNDLE = {"bar", "pie", "scatter"}
LOADS = r"""\b(?:src|srcset|data|poster|action)\s*=|<link|<base|<iframe|<object|<embed|@import|url\("""


@pytest.fixture(scope="module", params=PAGES)
def html(request: pytest.FixtureRequest) -> str:
    return PAGES[request.param]()


def own(html: str) -> str:
    """A page without the library in it."""
    script = str(chart_library.script())
    assert script in html
    return html.replace(script, "")


def test_a_page_has_a_bounded_size(html: str) -> None:
    assert len(html.encode()) < MOST_BYTES
    assert len(own(html).encode()) < MOST_BYTES_OF_ITS_OWN


def test_nothing_in_a_page_is_loaded_from_elsewhere(html: str) -> None:
    assert re.findall(LOADS, own(html)) == []
    assert "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data: blob:" in html


def test_the_bundle_draws_every_trace_of_every_figure(html: str) -> None:
    drawn = {trace["type"] for spec in specs(html) for trace in spec["data"]}
    assert drawn and drawn <= TRACES_IN_THE_BUNDLE


def test_plotly_takes_every_figure_as_it_is(html: str) -> None:
    plotly_takes_all(html)


def test_the_vendored_library_is_the_one_that_the_figures_are_made_for() -> None:
    assert plotly.offline.get_plotlyjs_version() == chart_library.VERSION
    assert f"plotly.js (basic - minified) v{chart_library.VERSION}" in chart_library.BUNDLE.read_text("utf-8")[:200]


def test_the_library_has_no_end_of_script_in_it() -> None:
    assert "</script" not in chart_library.BUNDLE.read_text("utf-8").lower()


def test_many_pages_share_one_library_beside_them(page: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = chart_library.copy_to(tmp_path)
    render = pages.render
    monkeypatch.setattr(
        pages, "render", lambda *args, **values: render(*args, **values | {"place": PagePlace(library.name)})
    )
    file = tmp_path / "capacity.html"
    file.write_text(PAGES["capacity"](), encoding="utf-8")
    assert file.stat().st_size < 50_000
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [file.name, chart_library.BUNDLE.name, chart_library.LICENSE.name]
    )
    page.open(file, 1200)
    assert page.drawn() == ["load", "cost-by-load"]
    assert page.errors == []
    assert page.requested == [file.as_uri(), library.as_uri()]


def test_in_its_place_a_page_has_links_and_charts_and_a_copy_says_what_it_lacks(page: Any, tmp_path: Path) -> None:
    repeats = tmp_path / "it's 100% mine"
    (repeats / "01").mkdir(parents=True)
    for name in ("campaign.json", "repeats.json"):
        (repeats / name).touch()
    share_library(repeats)
    report = repeats / "01" / "report.html"
    report.write_text(to_html.render(Document(title="t"), around(report)), encoding="utf-8")
    shown = "[...document.querySelectorAll('nav.above, .missing')].map(e => e.className + getComputedStyle(e).display)"
    page.open(report, 1000)
    assert page.evaluate(shown) == ["aboveblock", "banner warn missingnone"]
    assert page.evaluate("typeof Plotly") == "object"
    assert page.errors == []
    copy = shutil.copy(report, tmp_path / "mailed.html")
    page.open(Path(copy), 1000)
    assert page.evaluate(shown) == ["abovenone", "banner warn missingblock"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=[] if kind == "report" else pytest.mark.slow)
        for kind in PAGES
        if kind != "largest report"
    ],
)
def test_paper_holds_every_page_in_its_width_with_nothing_to_click(page: Any, tmp_path: Path, kind: str) -> None:
    file = tmp_path / "page.html"
    file.write_text(PAGES[kind](), encoding="utf-8")
    page.open(file, 1000, dark=True)
    page.on_paper()
    assert page.evaluate("document.documentElement.scrollWidth") == PAPER_PX
    assert page.evaluate("[...document.querySelectorAll('button, nav')].filter(e => e.checkVisibility()).length") == 0
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"


@pytest.mark.slow
def test_paper_has_every_chart_however_soon_it_is_printed(page: Any, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text(PAGES["report"](), encoding="utf-8")
    page.open(file, 1000)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    widths = page.evaluate("[...document.querySelectorAll('.chart .main-svg:first-child')].map(svg => svg.clientWidth)")
    assert widths == [680] * page.evaluate("document.querySelectorAll('.chart').length")
