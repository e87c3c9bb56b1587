"""The page of a capacity search: its runs, the knee, and what a request costs on either side of it."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest

from analysis.capacity.search import Capacity
from analysis.present import to_html
from analysis.present.capacity_figures import FIGURES, sections
from analysis.present.figures import drawn
from analysis.present.of_capacity import CapacityResult, LoadPoint, document, usd_per_request
from tests.analysis.present.as_plotly import as_plotly
from tests.golden import same_as_before

EVIL = "<script>alert('x')</script>"
RUNS = (
    LoadPoint(1.0, "met", 0.99, 0.99, 120.0, 310.0),
    LoadPoint(2.0, "met", 1.98, 1.9, 160.0, 480.0),
    LoadPoint(2.0, "met", 1.97, 1.89, 166.0, None),
    LoadPoint(2.5, "missed", 2.4, 1.85, 190.0, 700.0),
    LoadPoint(4.0, "saturated", 2.6, 0.9, 2400.0, 9000.0),
)
FOUND = CapacityResult(RUNS, Capacity(2.0, 1.0, 2.5, "saturated above it"), Decimal("0.36"))


def draw(name: str, found: CapacityResult = FOUND) -> go.Figure:
    return as_plotly(FIGURES[name].draw(found))


def named(figure: go.Figure, name: str) -> go.Scatter:
    return next(trace for trace in figure.data if trace.name == name)


def page_of(found: CapacityResult, text: str = "words") -> str:
    return to_html.render(document(found, of=text, objectives=[text], figures=sections(found)))


def test_each_run_is_a_mark_at_its_rate_with_the_symbol_of_its_outcome() -> None:
    figure = draw("load")
    assert list(named(figure, "p50").x) == [1, 2, 2, 2.5, 4]
    assert list(named(figure, "p50").y) == [120, 160, 166, 190, 2400]
    assert list(named(figure, "within the objectives").y) == [0.99, 1.9, 1.89, 1.85, 0.9]
    symbols = ["circle", "circle", "circle", "circle-open", "x-thin-open"]
    assert list(named(figure, "completed").marker.symbol) == symbols


def test_a_run_that_lacks_a_value_is_left_out_of_that_line_alone() -> None:
    assert list(named(draw("load"), "p99").x) == [1, 2, 2.5, 4]


@pytest.mark.parametrize("name", FIGURES)
def test_the_capacity_and_its_interval_are_marked(name: str) -> None:
    figure = draw(name)
    interval, knee = figure.layout.shapes
    assert (interval.x0, interval.x1) == (1.0, 2.5)
    assert knee.x0 == knee.x1 == 2.0
    assert "the capacity, 2 requests/s, with its interval shaded, 1 to 2.50." in figure.layout.meta


def test_a_request_costs_its_share_of_the_hour_and_more_where_the_server_falls_behind() -> None:
    assert usd_per_request(Decimal("0.36"), RUNS[1]) == pytest.approx(0.36 / (3600 * 2.0))
    assert usd_per_request(Decimal("0.36"), RUNS[4]) == pytest.approx(0.36 / (3600 * 2.6))
    assert usd_per_request(Decimal("0.36"), RUNS[4]._replace(completed_per_s=0.0)) is None
    figure = draw("cost-by-load")
    assert list(named(figure, "met").y) == pytest.approx([0.0001, 0.00005, 0.00005])
    assert list(named(figure, "missed").y) == pytest.approx([0.00004])
    assert "At the capacity a request costs $0.0000500." in figure.layout.meta


def test_without_a_price_there_is_no_cost_and_without_runs_nothing() -> None:
    assert list(drawn(FIGURES, FOUND._replace(usd_per_hour=None))) == ["load"]
    assert drawn(FIGURES, FOUND._replace(runs=())) == {}
    assert "No data for: Latency and goodput, Cost of a request." in page_of(FOUND._replace(runs=()))


def test_a_search_that_found_no_capacity_marks_none() -> None:
    none = FOUND._replace(capacity=Capacity(0.0, 0.0, 1.0, "no rate down to 1/s meets the objectives"))
    for figure in drawn(FIGURES, none).values():
        assert "shapes" not in figure.layout
        assert "No rate met the objectives." in figure.layout["meta"]


def test_runs_without_a_first_token_leave_only_what_was_served() -> None:
    silent = [run._replace(ttft_ms_p50=None, ttft_ms_p99=None) for run in RUNS]
    assert {trace.name for trace in draw("load", FOUND._replace(runs=silent)).data} == {
        "as offered", "completed", "within the objectives",
    }  # fmt: skip


def test_the_table_has_every_run_by_rate() -> None:
    html = page_of(FOUND._replace(runs=RUNS[::-1]))
    assert html.index('saturated</td><td class="right">2.60</td>') > html.index(
        'missed</td><td class="right">2.40</td>'
    )
    assert html.count("<th scope=row") == len(RUNS)


def test_it_reads_as_before() -> None:
    same_as_before("capacity", document(FOUND, of="tiny on llamacpp", objectives=["ttft_ms:p99<500"]))


def test_text_from_outside_is_escaped() -> None:
    html = page_of(FOUND, EVIL)
    assert EVIL not in html and "&lt;script&gt;" in html


@pytest.mark.slow  # as the page beside whose library another test draws it
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_a_browser_draws_every_figure_alone(page: Any, tmp_path: Path, dark: bool) -> None:
    file = tmp_path / "capacity.html"
    file.write_text(page_of(FOUND), encoding="utf-8")
    page.open(file, 390 if dark else 1400, dark)
    assert page.drawn() == list(FIGURES)
    assert page.evaluate("document.documentElement.scrollWidth") == (390 if dark else 1400)
    assert page.errors == []
    assert page.requested == [file.as_uri()]
