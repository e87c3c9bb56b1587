"""The figures hold the comparison's own numbers: the stairs, the lines, the break-evens, the chances."""

import math
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal

import numpy as np
import plotly.graph_objects as go
import pytest

from analysis.breakeven.comparison import CostComparison, Point
from analysis.breakeven.curves import lines
from analysis.breakeven.selfhost import SelfHost
from analysis.breakeven.states import PriceCurve
from analysis.breakeven.traffic import steady
from analysis.present.breakeven_figures import FIGURES, front
from analysis.present.breakeven_look import label_places
from tests.analysis.breakeven.months import exact_usd, month
from tests.analysis.present.as_plotly import as_plotly

EVIL = "<a href='x'>%{y}"
N1 = 1_226_400
Build = Callable[..., CostComparison]


def draw(name: str, comparison: CostComparison) -> go.Figure:
    return as_plotly(FIGURES[name].draw(comparison))


def named(figure: go.Figure, name: str) -> go.Scatter:
    return next(trace for trace in figure.data if trace.name == name)


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_a_caption_and_every_axis_that_has_numbers_a_title(name: str, comparison: Build) -> None:
    figure = draw(name, comparison())
    assert figure.layout.meta.endswith(".")
    axes = [figure.layout[axis] for axis in ("xaxis", "yaxis")]
    assert all(axis.title.text for axis in axes if axis.showticklabels is not False)


@pytest.mark.parametrize("name", FIGURES)
def test_there_is_no_figure_of_nothing(name: str, comparison: Build) -> None:
    nothing = replace(comparison(), alternatives=(), ranking=None, points=())
    assert FIGURES[name].draw(nothing) is None


def test_without_a_volume_only_the_hybrid_has_nothing_to_show(comparison: Build) -> None:
    drawn = {name for name, plot in FIGURES.items() if plot.draw(comparison(requests_per_month=None)) is not None}
    assert drawn == FIGURES.keys() - {"hybrid"}


# --- cost -------------------------------------------------------------------------------------------------------


def test_the_stairs_rise_exactly_after_each_full_replica(comparison: Build) -> None:
    stairs = named(draw("cost", comparison(measured=False)), "self-hosting")
    usd = dict(zip(stairs.x, stairs.y, strict=True))
    for k in range(1, 9):
        assert usd[k * N1] == pytest.approx(50 + k * 248.2)
        assert usd[k * N1 + 1] == pytest.approx(50 + (k + 1) * 248.2)
    rises = stairs.x[1:][np.diff(stairs.y) > 0]
    assert rises.tolist() == [k * N1 + 1 for k in range(1, 9)]


def test_its_lines_are_the_curves_of_the_answers(comparison: Build) -> None:
    given = comparison()
    figure = draw("cost", given)
    for alternative in given.alternatives:
        drawn = named(figure, alternative.name)
        assert drawn.y == pytest.approx(lines(alternative.pairing, alternative.states, drawn.x).api_usd)
    stairs = named(figure, "self-hosting")
    assert stairs.y == pytest.approx(
        lines(given.alternatives[0].pairing, given.alternatives[0].states, stairs.x).self_usd
    )


def test_break_evens_stand_on_the_api_s_line_at_the_answer_s_own_volumes(comparison: Build) -> None:
    given = comparison(volumes=np.geomspace(1_000, 1e8, 80), measured=False)
    dear, middle, cheap = given.alternatives
    figure = draw("cost", given)
    marks = {trace.x[0]: trace for trace in figure.data if trace.mode == "markers+text"}
    assert set(marks) == {dear.found.answer.first, middle.found.answer.first, middle.found.answer.permanent}
    assert marks[66_267].y[0] == pytest.approx(66_267 * 0.0045)
    assert marks[middle.found.answer.permanent].marker.symbol == "diamond"
    assert not cheap.found.answer.spans
    assert "Without a dot: cheap, where self-hosting does not surely pay at any volume." in figure.layout.meta


def test_the_ground_is_the_cheapest_way_s_from_break_even_to_break_even(comparison: Build) -> None:
    figure = draw("cost", comparison(("dear", "0.0045"), measured=False))
    ours, theirs = (named(figure, f"cheapest: {color}") for color in ("blue", "amber"))
    assert np.nanmin(ours.x) == 66_267
    assert np.nanmax(theirs.x) == 66_267


def test_the_broad_stretch_is_the_interval_of_the_first_break_even(comparison: Build) -> None:
    given = comparison(("dear", "0.0045"))
    stretch = named(draw("cost", given), "break-even with dear")
    first = given.alternatives[0].found.first
    assert (stretch.x[0], stretch.x[-1]) == first.ci95


def test_a_measured_price_has_its_interval_along_its_line(comparison: Build) -> None:
    given = comparison(("dear", "0.0045"))
    figure = draw("cost", given)
    band, api = named(figure, "price of dear"), named(figure, "dear")
    half = len(band.y) // 2
    assert band.y[:half] == pytest.approx(api.y * 1.08) and band.y[half:] == pytest.approx(api.y[::-1] * 0.92)
    exact = replace(given, alternatives=(replace(given.alternatives[0], usd_ci95=(None, None)),))
    assert "price of dear" not in {trace.name for trace in draw("cost", exact).data}


def test_a_price_that_depends_on_the_volume_bends_its_line(comparison: Build) -> None:
    given = comparison(("cached", "0.0045"))
    falling = PriceCurve(lambda volumes: 0.002 + 0.0025 * np.exp(-volumes / 1e5), 4_000_000, Decimal("0.002"))
    states = replace(given.alternatives[0].states, curve=falling)
    given = replace(given, alternatives=(replace(given.alternatives[0], states=states),))
    drawn = named(draw("cost", given), "cached")
    assert drawn.y == pytest.approx(drawn.x * falling.usd_per_request(drawn.x))


def test_what_was_measured_of_the_capacity_has_a_band_around_what_is_to_be_expected(comparison: Build) -> None:
    given = comparison(("dear", "0.0045"))
    band = named(draw("cost", given), "eight of ten states")
    stairs = named(draw("cost", given), "self-hosting")
    half = len(band.x) // 2
    assert np.all(band.y[:half] >= stairs.y - 1e-9) or np.all(band.y[:half] >= band.y[half:][::-1])
    assert "eight of ten states" not in {trace.name for trace in draw("cost", comparison(measured=False)).data}


def test_where_the_api_serves_the_rest_self_hosting_has_a_line_for_each(comparison: Build) -> None:
    given = comparison(("one", "0.0045"), ("two", "0.001"), pairing={"offered_share": Decimal("0.7")})
    figure = draw("cost", given)
    for alternative in given.alternatives:
        drawn = named(figure, f"self-hosting, the rest at {alternative.name}")
        assert drawn.y == pytest.approx(lines(alternative.pairing, alternative.states, drawn.x).self_usd)
    assert 1 + math.floor(N1 / 0.7) in drawn.x


def test_good_answers_that_differ_move_the_line_and_not_the_break_even(comparison: Build) -> None:
    host = SelfHost(Decimal("248.20"), 2.0, Decimal(50), 0.7, steady(3), good_share=0.8)
    given = comparison(("better", "0.0045"), host=host, measured=False)
    figure = draw("cost", given)
    api, stairs = named(figure, "better"), named(figure, "self-hosting")
    first = given.alternatives[0].found.answer.first
    wins = api.y >= stairs.y
    assert api.x[wins][0] == first
    assert "for the number of good requests" in figure.layout.meta


def test_servers_that_keep_the_objectives_at_no_rate_have_no_line(comparison: Build) -> None:
    host = SelfHost(Decimal("248.20"), 0)
    figure = draw("cost", comparison(("api", "0.0045"), host=host))
    assert np.isnan(named(figure, "self-hosting").y).all()
    assert {trace.name for trace in figure.data if str(trace.name).startswith("cheapest")} == {"cheapest: amber"}
    assert FIGURES["hybrid"].draw(comparison(("api", "0.0045"), host=host)) is None


# --- certainty --------------------------------------------------------------------------------------------------


def test_the_chances_are_the_uncertainty_s_and_the_user_s_volume_is_marked(comparison: Build) -> None:
    given = comparison()
    figure = draw("chance", given)
    for alternative in given.alternatives:
        drawn = named(figure, alternative.name)
        assert drawn.x.tolist() == given.volumes.tolist()
        assert drawn.y.tolist() == alternative.p_cheaper.tolist()
    levels = [shape.y0 for shape in figure.layout.shapes if shape.xref == "paper"]
    assert levels == pytest.approx([0.95, 0.05])
    assert [shape.x0 for shape in figure.layout.shapes if shape.yref == "paper"] == [100_000]
    assert "At 100,000 requests/month it is 100.0% against dear, 0.0% against middle" in figure.layout.meta


def test_the_tornado_s_bars_span_what_each_input_does_to_the_month(comparison: Build) -> None:
    figure = draw("tornado", comparison())
    bar = named(figure, "operation")
    assert (bar.base[0], bar.x[0]) == pytest.approx((450 - 748.2, 500))
    assert [trace.name for trace in figure.data] == ["operation", "nothing"]
    said = [note.text for note in figure.layout.annotations]
    assert " -$298 <i>(high)</i> " in said and " $152 <i>(low or high)</i> " in said
    assert "turn a saving into a loss: operation." in figure.layout.meta


def test_an_end_that_nothing_can_serve_is_said_on_its_bar(comparison: Build) -> None:
    given = comparison()
    main = given.alternatives[0]
    bars = (main.tornado[0]._replace(savings_usd=(Decimal("-Infinity"), main.tornado[0].savings_usd[1])),)
    figure = draw("tornado", replace(given, alternatives=(replace(main, tornado=bars),)))
    assert " no capacity <i>(low)</i> " in [note.text for note in figure.layout.annotations]
    assert np.isfinite([figure.data[0].base[0], figure.data[0].x[0]]).all()


def test_no_and_all_shares_of_a_hybrid_are_the_pure_cases(comparison: Build) -> None:
    given = comparison()
    figure = draw("hybrid", given)
    for alternative in given.alternatives:
        drawn = named(figure, alternative.name)
        assert (drawn.x[0], drawn.x[-1]) == (0, 1)
        assert drawn.y[0] == pytest.approx(100_000 * float(alternative.pairing.usd_per_request))
        assert drawn.y[-1] == pytest.approx(float(exact_usd(alternative.pairing.host, 100_000)))
        at = np.searchsorted(drawn.x, 0.7)
        shared = replace(alternative.pairing, offered_share=Decimal("0.7"))
        assert drawn.y[at] == pytest.approx(float(month(shared, 100_000).mixed_usd))
    assert "100% with dear ($298.20), 0% with middle ($21.00)" in figure.layout.meta


# --- measured runs ----------------------------------------------------------------------------------------------


def test_the_front_joins_the_runs_that_no_other_beats(comparison: Build) -> None:
    figure = draw("pareto", comparison())
    line, runs = named(figure, "front"), named(figure, "runs")
    assert (line.x.tolist(), line.y.tolist()) == ([180, 240], pytest.approx([0.09, 0.047]))
    assert list(runs.marker.symbol) == ["circle", "circle", "circle", "circle-open"]
    assert "Hollow dots missed their objectives" in figure.layout.meta


def test_of_two_runs_that_are_alike_one_is_on_the_front() -> None:
    assert front(np.array([1.0, 1.0, 2.0]), np.array([5.0, 5.0, 5.0]), [True] * 3) == [0]
    assert front(np.array([1.0, 2.0]), np.array([5.0, 9.0]), [False, True]) == [1]


def test_runs_are_placed_by_the_latency_that_most_of_them_have(comparison: Build) -> None:
    points = (
        Point("a", 0.001, None, 900.0, None, True),
        Point("b", 0.002, None, 800.0, None, True),
        Point("c", 0.002, 50.0, None, None, True),
    )
    figure = draw("pareto", comparison(points=points))
    assert named(figure, "runs").x.tolist() == [800, 900]
    assert figure.layout.xaxis.title.text == "response time, p99, ms"
    assert "1 run without that latency or a price: not shown" in figure.layout.meta


def test_labels_of_runs_side_by_side_do_not_cover_one_another() -> None:
    places = label_places(np.array([100.0, 130.0, 890.0]), np.array([50.0, 50.0, 200.0]), ["a run"] * 3, 900)
    assert places[0] != "middle right"
    assert places[1:] == ["middle right", "middle left"]


@pytest.mark.parametrize("name", FIGURES)
def test_names_from_outside_are_escaped_in_labels(name: str, comparison: Build) -> None:
    given = comparison((EVIL, "0.0045"), points=(Point(EVIL, 0.001, 50.0, None, None, True),))
    bars = tuple(bar._replace(name=EVIL) for bar in given.alternatives[0].tornado)
    figure = draw(name, replace(given, alternatives=(replace(given.alternatives[0], tornado=bars),)))
    drawn = figure.update_layout(meta="").to_json()
    assert "<a " not in drawn and "\\u003ca " not in drawn
    assert "&lt;a href=" in drawn
