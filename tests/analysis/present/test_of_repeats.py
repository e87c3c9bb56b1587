from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.compare.comparison import Run
from analysis.present import to_html
from analysis.present.of_repeats import document
from analysis.present.repeats_figures import FIGURES, sections
from analysis.repeats import summarize
from tests.analysis.present.as_plotly import as_plotly
from tests.conftest import build_run
from tests.golden import same_as_before
from tests.summaries import typed

EVIL = "<script>alert('x')</script>"


@pytest.fixture(scope="module")
def runs() -> tuple[Run, ...]:
    """Five runs, the fourth cut short."""
    found = []
    for number, ttft_ms in enumerate((80.0, 90.0, 85.0, 900.0, 95.0), 1):
        run, requests, _ = build_run(requests=120, ttft_ms=ttft_ms, jitter=0, interrupted=number == 4, model=EVIL)
        found.append(Run(f"{number:02}", *typed(run, requests, None)))
    return tuple(found)


def page_of(runs: Sequence[Run]) -> str:
    found = summarize(runs, 5, keep_server=False)
    return to_html.render(document(found, runs, sections(found, runs)))


def test_the_page_has_the_verdict_the_means_and_the_way_to_every_run(runs: Sequence[Run]) -> None:
    html = page_of(runs)
    assert '<section class="banner warn"' in html
    assert "4 of 5 runs finished" in html
    assert "4 of 5 runs, without 04, cut short; 480 of 480 requests succeeded" in html
    assert '>87.3<span class="interval">77.6–98.2</span></td>' in html
    assert [f'<a href="0{number}/report.html">' in html for number in range(1, 7)] == [True] * 5 + [False]
    assert '>suspect<span class="interval">interrupted</span></td>' in html


def test_it_reads_as_before(runs: Sequence[Run]) -> None:
    same_as_before("repeats", document(summarize(runs, 5, keep_server=False), runs))


def test_text_from_outside_is_escaped(runs: Sequence[Run]) -> None:
    html = page_of(runs)
    assert EVIL not in html and "&lt;script&gt;" in html


def test_a_figure_has_the_whole_runs_in_their_order_with_mean_and_interval(runs: Sequence[Run]) -> None:
    whole = [run for run in runs if run.name != "04"]
    figure = as_plotly(FIGURES["ttft_ms-p50"].draw(whole))
    assert list(figure.data[0].y) == pytest.approx([80, 90, 85, 95])
    assert list(figure.data[0].text) == ["01", "02", "03", "05"]
    shade, mean = figure.layout.shapes
    assert (shade.y0, mean.y0, shade.y1) == pytest.approx((77.6, 87.3, 98.2), rel=1e-2)
    assert "The shaded band is its 95% interval." in figure.layout.meta
    two = as_plotly(FIGURES["ttft_ms-p50"].draw(whole[:2]))
    assert len(two.layout.shapes) == 1 and "shade" not in two.layout.meta
    assert FIGURES["ttft_ms-p50"].draw([]) is None


def test_a_measure_that_a_run_does_not_know_is_not_drawn(runs: Sequence[Run]) -> None:
    summary = runs[1].summary
    metrics = summary.metrics | {"tpot_ms": replace(summary.metric("tpot_ms"), p50=None)}  # type: ignore[operator]
    unknown = runs[1]._replace(summary=replace(summary, metrics=metrics))
    assert "No data for: tpot_ms:p50." in page_of([runs[0], unknown, *runs[2:]])


@pytest.mark.parametrize("dark", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["light", "dark"])
def test_a_browser_draws_every_figure_alone(page: Any, runs: Sequence[Run], tmp_path: Path, dark: bool) -> None:
    file = tmp_path / "repeats.html"
    file.write_text(page_of(runs), encoding="utf-8")
    page.open(file, 390 if dark else 1400, dark)
    assert page.drawn() == list(FIGURES)
    assert page.evaluate("document.documentElement.scrollWidth") == (390 if dark else 1400)
    assert page.errors == []
    assert page.requested == [file.as_uri()]
