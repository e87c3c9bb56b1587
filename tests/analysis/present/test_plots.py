"""Every plot draws what the run did, and nothing where there is nothing."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pytest

from analysis.present.palette import PALETTE, SERIES, Color
from analysis.present.plots import FIGURES, POINTS, POINTS_PER_GAUGE, Data
from analysis.run.sessions import sessions
from tests.analysis.present.as_plotly import as_plotly
from tests.analysis.run.test_sessions import table, turn
from tests.analysis.sample_pages import sampled
from tests.conftest import build_run
from tests.summaries import typed


@pytest.fixture(scope="module")
def data() -> Callable[..., Data]:
    """`data(**options of build_run)`, which is made once for the same options."""
    made = dict[str, Data]()

    def build(**options: Any) -> Data:
        if (asked := repr(options)) not in made:
            run, requests, telemetry = build_run(**options)
            made[asked] = Data(requests, telemetry, typed(run, requests, telemetry)[1])
        return made[asked]

    return build


def draw(name: str, data: Data) -> go.Figure:
    return as_plotly(FIGURES[name].draw(data))


def named(figure: go.Figure, name: str) -> go.Scatter:
    return next(trace for trace in figure.data if trace.name == name)


@pytest.mark.parametrize("name", sorted(FIGURES.keys() - {"turns"}))
def test_every_axis_has_a_title_and_every_figure_a_caption(name: str, data: Callable[..., Data]) -> None:
    figure = draw(name, data(warmup=8, failed=[20]))
    assert figure.layout.meta
    axes = [axis for axis in figure.layout if axis.startswith(("xaxis", "yaxis"))]
    assert all(figure.layout[axis].title.text for axis in axes)


def test_the_turns_of_sessions_have_their_wait_and_both_shares_of_the_cache(data: Callable[..., Data]) -> None:
    run = data()
    found = sessions(table(*(turn(n, t, 0.0) for n in range(30) for t in range(3))))
    figure = draw("turns", run._replace(summary=replace(run.summary, sessions=found)))
    assert figure.layout.meta and all(figure.layout[axis].title.text for axis in ("xaxis", "yaxis", "yaxis2"))
    assert list(named(figure, "ttft").y) == [100, 200, 300]
    assert list(named(figure, "cached, reported by the server").y) == [0, 45, 60]
    assert list(named(figure, "cacheable, by the plan").x) == [0, 1, 2]


@pytest.mark.parametrize("name", FIGURES)
def test_a_run_without_a_success_breaks_no_plot(name: str, data: Callable[..., Data]) -> None:
    figure = FIGURES[name].draw(data(requests=5, failed=range(5), gpus=0))
    assert figure is None or as_plotly(figure)


def test_the_cumulative_curve_ends_at_the_share_that_succeeded(data: Callable[..., Data]) -> None:
    figure = draw("ttft", data(requests=100, failed=range(10)))
    assert figure.data[0].y[-1] == pytest.approx(0.9)
    assert "10 requests failed" in figure.layout.meta


def test_percentiles_of_the_summary_lie_on_the_curve(data: Callable[..., Data]) -> None:
    run = data(requests=400)
    marks = draw("ttft", run).data[1]
    assert list(marks.text) == ["p50", "p90", "p99"]
    assert list(marks.x) == [getattr(run.summary.metric("ttft_ms"), name) for name in marks.text]
    assert list(marks.y) == pytest.approx([0.5, 0.9, 0.99])


def test_token_gaps_show_both_views_when_arrivals_bring_several_tokens(data: Callable[..., Data]) -> None:
    figure = draw("itl", data(tokens_per_arrival=4))
    assert [trace.name for trace in figure.data[:2]] == ["per token", "per arrival"]
    assert "several tokens" in figure.layout.meta


def test_failures_stand_at_their_end_beside_the_first_tokens(data: Callable[..., Data]) -> None:
    run = data(requests=50, warmup=5, failed=[10, 11], dropped=[12])
    figure = draw("ttft-over-time", run)
    assert [len(trace.x) for trace in figure.data] == [5, 47, 2]
    rows = run.requests.slice(10, 2).to_pylist()
    until_end_ms = [(row["end_ns"] - row["sent_ns"]) / 1e6 for row in rows]
    assert sorted(named(figure, "failed").y) == pytest.approx(sorted(until_end_ms), rel=1e-5)
    assert "1 request never sent or never ended" in figure.layout.meta


def test_a_large_scatter_is_thinned_and_says_so(data: Callable[..., Data]) -> None:
    run = data(requests=20_000, tokens=2, concurrency=256)
    figure = draw("ttft-over-time", run)
    drawn = len(figure.data[0].x)
    assert drawn <= POINTS
    assert f"{drawn:,} of 20,000 points are drawn" in figure.layout.meta
    slowest = run.summary.metric("ttft_ms").max
    assert max(figure.data[0].y) == pytest.approx(slowest, rel=1e-5)


def test_an_open_loop_shows_what_was_due_beside_what_was_completed(data: Callable[..., Data]) -> None:
    open_loop = data(requests=60, rate_per_s=20)
    due = named(draw("throughput", open_loop), "due")
    assert np.sum(np.diff(due.x) * due.y[:-1]) == pytest.approx(60)
    assert not [trace for trace in draw("throughput", data(requests=60)).data if trace.name == "due"]


def test_the_throughput_curve_holds_every_token(data: Callable[..., Data]) -> None:
    arrived = named(draw("throughput", data(requests=60, tokens=32)), "arrived")
    tokens = (np.asarray(arrived.y[:-1], float) * np.diff(np.asarray(arrived.x, float))).sum()
    assert tokens == pytest.approx(60 * 32, rel=1e-4)


def test_phases_are_shaded_where_they_were(data: Callable[..., Data]) -> None:
    run = data(requests=80, warmup=16)
    warmup, drain = draw("throughput", run).layout.shapes
    start_s, seconds = run.summary.window.start_s, run.summary.window.seconds
    assert start_s is not None and seconds is not None
    assert (warmup.x0, warmup.x1) == (0, start_s)
    assert drain.x0 == pytest.approx(start_s + seconds)


def test_telemetry_shows_only_what_exists(data: Callable[..., Data]) -> None:
    run = data(gpus=0)
    titles = [note.text for note in draw("telemetry", run).layout.annotations]
    assert any("CPU use" in title for title in titles)
    assert not any("GPU" in title for title in titles)
    assert FIGURES["telemetry"].draw(run._replace(telemetry=None)) is None


@pytest.mark.parametrize("gpus", [1, 4, 8, 20])
def test_the_lines_of_a_gauge_share_its_points(gpus: int, data: Callable[..., Data]) -> None:
    run = data(gpus=0)._replace(telemetry=sampled(gpus, seconds=100))
    figure = draw("telemetry", run)
    for axis in ("y", "y2", "y3", "y4"):
        lines = [trace for trace in figure.data if (trace.yaxis or "y") == axis]
        assert len(lines) == gpus
        assert sum(len(trace.x) for trace in lines) <= POINTS_PER_GAUGE
        assert all(len(trace.x) >= 100 for trace in lines)
    assert f"more than {min(800, 3200 // gpus)} samples" in figure.layout.meta


def test_names_from_outside_are_escaped_in_labels(data: Callable[..., Data]) -> None:
    run = data(gpus=0)
    assert run.telemetry is not None
    sources = pa.array(["<a href='x'>"] * run.telemetry.num_rows)
    telemetry = run.telemetry.set_column(1, "source", sources)
    labels = [note.text for note in draw("telemetry", run._replace(telemetry=telemetry)).layout.annotations]
    assert any("&lt;a href=" in label for label in labels)
    assert not any("<a " in label for label in labels)


def test_without_kernel_stamps_there_is_no_lag_to_draw(data: Callable[..., Data]) -> None:
    assert FIGURES["client-lag"].draw(data(stamps="user")) is None


def luminance(color: str) -> float:
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return float(np.dot([0.2126, 0.7152, 0.0722], linear))


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio."""
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", Color._fields)
@pytest.mark.parametrize("name", ["ink", "muted", "fail", "warn", *SERIES])
def test_every_colour_that_text_has_is_readable_on_every_ground_it_stands_on(name: str, scheme: str) -> None:
    grounds = {"fail": ("page", "fail-tint"), "warn": ("page", "warn-tint")}.get(name, ("page", "raised"))
    for ground in grounds:
        assert contrast(getattr(PALETTE[name], scheme), getattr(PALETTE[ground], scheme)) >= 4.5
