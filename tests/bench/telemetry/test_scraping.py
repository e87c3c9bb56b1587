"""Exporters that are slow, dead, off in time or begin anew: what telemetry has of them is true, or is not there."""

import re
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.present import to_markdown
from analysis.present.of_run import document
from analysis.run.gpu import gpus
from analysis.run.nodes import nodes
from analysis.run.window import Window
from bench.telemetry.clock_offset import OffsetBounds, date_s, narrowed
from bench.telemetry.scraping import together
from tests.bench.telemetry.fake_exporters import RECORDED, SECOND, Course, FakeExporter
from tests.summaries import manifest_of, typed

RUN = manifest_of({})
GPU_TEXTS = ("dcgm-l4", "dcgm-a800-mig", "amd-mi300x")
TEXTS = (*GPU_TEXTS, "node")
STEADY = Course(400.0, 0.0, 0.0, 60.0)
COURSES = st.builds(
    Course,
    base_w=st.floats(100, 700),
    ramp_w_per_s=st.floats(0, 0.5),
    swing_w=st.floats(0, 20),
    period_s=st.floats(40, 400),
)


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text(encoding="utf-8")


def observed(exporter: FakeExporter, seconds: float, start_s: float = 5.0) -> Any:
    """What the summary says of its cards, or its machine, over a window, and the energy each of them took."""
    end_s = start_s + seconds
    _, table = exporter.observed(end_s + 4)
    truth_j = exporter.course.energy_j(end_s) - exporter.course.energy_j(start_s)
    span = Window(int(start_s * SECOND), int(end_s * SECOND))
    return gpus({}, table, span) + nodes(RUN, table, span), truth_j


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(TEXTS),
    course=COURSES,
    ahead_s=st.sampled_from([0.0, 3.0, -3.0]) | st.floats(-5000, 5000),
    stamped=st.booleans(),
    lacks=st.sampled_from([(), ("power_w",), ("energy_j",)]),
    takes_s=st.floats(0.001, 1.5),
    slow_s=st.floats(-3, 200),
    dead_s=st.none() | st.floats(-3, 260),
    anew_s=st.none() | st.floats(-3, 260),
    start_s=st.floats(1, 6),
)
def test_energy_is_the_known_one_within_one_percent(
    name: str, course: Course, ahead_s: float, stamped: bool, lacks: tuple[str, ...], takes_s: float, slow_s: float,
    dead_s: float | None, anew_s: float | None, start_s: float,
) -> None:  # fmt: skip
    lacks = lacks if name in GPU_TEXTS else ()
    exporter = FakeExporter(
        recorded(name), course, ahead_s, stamped=stamped, lacks=lacks, takes_s=takes_s, slow=(slow_s, slow_s + 6),
        dead=(0, 0) if dead_s is None else (dead_s, dead_s + 20), anew_s=anew_s,
    )  # fmt: skip
    cards, truth_j = observed(exporter, 300, start_s)
    assert cards
    for card in cards:
        assert card.energy_coverage >= 0.9
        assert card.energy_j == pytest.approx(truth_j, rel=0.01)


@settings(max_examples=12, deadline=None)
@given(
    name=st.sampled_from(TEXTS),
    lacks=st.sampled_from([(), ("power_w",), ("energy_j",)]),
    dead_s=st.floats(6, 40),
    dead_for_s=st.floats(8, 60),
    seconds=st.floats(55, 70),
)
def test_energy_is_not_known_where_a_tenth_of_the_window_was_not_watched(
    name: str, lacks: tuple[str, ...], dead_s: float, dead_for_s: float, seconds: float
) -> None:
    lacks = lacks if name in GPU_TEXTS else ()
    exporter = FakeExporter(recorded(name), STEADY, lacks=lacks, dead=(dead_s, dead_s + dead_for_s))
    cards, _ = observed(exporter, seconds)
    assert cards
    for card in cards:
        assert card.energy_j is None
        assert 0.0 <= card.energy_coverage < 0.9


def test_values_that_are_no_numbers_are_a_gap_like_any_other() -> None:
    exporter = FakeExporter(recorded("dcgm-l4"), STEADY, nan=(20, 40))
    (card,), truth_j = observed(exporter, 300)
    assert card.energy_j == pytest.approx(truth_j, rel=0.01)
    (card,), _ = observed(exporter, 60)
    assert card.energy_j is None and card.energy_coverage == pytest.approx(40 / 60, abs=0.05)


def test_a_machine_has_its_row_on_the_page_and_a_counter_that_it_lacks_is_no_zero(synthetic_run: Any) -> None:
    exporter = FakeExporter(recorded("node"), STEADY)
    _, told = exporter.observed(40)
    run, requests, telemetry = synthetic_run(requests=40)
    run |= {"telemetry": {"sources": [{"url": "http://gpu:9100/metrics", "tells": ["node"]}]}}
    manifest, summary = typed(run, requests, pa.concat_tables([telemetry, told.cast(telemetry.schema)]))
    (machine,) = summary.nodes
    assert summary.window.seconds is not None
    assert machine.energy_j == pytest.approx(400 * summary.window.seconds, rel=0.01)
    (row,) = re.findall(r"\| 0 \| http://gpu:9100/metrics .*", to_markdown.render(document(manifest, summary)))
    assert "J | 100%" in row
    untold = told.filter(pc.not_equal(told["name"], "energy_j"))
    (machine,) = nodes(manifest, untold, Window(0, 30 * SECOND))
    assert (machine.energy_j, machine.energy_coverage) == (None, None)
    assert machine.memory_used_bytes_max is not None


def test_cards_of_which_one_has_no_counter_are_each_read_by_what_they_have() -> None:
    text = recorded("dcgm-a800-mig")
    without = "\n".join(line for line in text.splitlines() if not ("ENERGY" in line and 'gpu="1"' in line))
    cards, truth_j = observed(FakeExporter(without, Course(300, 0.2, 10, 100)), 120)
    assert [card.energy_source for card in cards] == ["counter", "power", "counter"]
    assert [card.energy_j for card in cards] == [pytest.approx(truth_j, rel=0.01)] * 3


@pytest.mark.parametrize(("seconds", "is_known"), [(600, True), (100, False)])
def test_an_exporter_that_renews_its_values_each_half_minute_is_for_long_windows(
    seconds: float, is_known: bool
) -> None:
    (card,), truth_j = observed(FakeExporter(recorded("dcgm-l4"), STEADY, renews_s=30), seconds, start_s=40)
    assert card.energy_j == (pytest.approx(truth_j, rel=0.01) if is_known else None)


# --- clocks -------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    ahead_s=st.floats(-1e6, 1e6),
    scrapes=st.lists(st.tuples(st.floats(0.5, 3), st.floats(0.001, 2), st.floats(0, 1)), min_size=1, max_size=60),
)
def test_the_offset_of_a_clock_lies_within_what_its_answers_leave(
    ahead_s: float, scrapes: list[tuple[float, float, float]]
) -> None:
    known, now_s = None, 1.79e9
    for wait_s, takes_s, written in scrapes:
        now_s += wait_s
        date = int(now_s + written * takes_s + ahead_s)
        known = narrowed(known, now_s, now_s + takes_s, date)
        now_s += takes_s
    assert known is not None
    assert known.low_s - 1e-6 <= ahead_s <= known.high_s + 1e-6
    assert known.within_s <= (1 + max(takes_s for _, takes_s, _ in scrapes)) / 2 + 1e-6


def test_a_clock_three_seconds_off_is_known_to_a_tenth_after_a_minute() -> None:
    exporter, _ = replace(FakeExporter(recorded("dcgm-l4"), STEADY), ahead_s=3.0, takes_s=0.027).observed(60)
    assert exporter.offset is not None
    account = exporter.account()
    assert account["clock_offset_s"] == pytest.approx(3.0, abs=account["clock_offset_within_s"] + 1e-6)
    assert account["scrapes"] == 63


def test_a_clock_that_is_set_meanwhile_is_followed() -> None:
    before = narrowed(None, 10.0, 10.1, 13)
    after = narrowed(before, 20.0, 20.1, 20)
    assert after == OffsetBounds(pytest.approx(-0.1), 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize("header", [None, "", "yesterday", "Thu, 99 Foo 2026 00:00:00 GMT"])
def test_a_date_that_cannot_be_read_says_nothing(header: str | None) -> None:
    assert date_s(header) is None
    assert narrowed(None, 1.0, 2.0, None) is None


def test_stamped_values_stand_where_their_own_clock_puts_them() -> None:
    """Its values are renewed each 5 s: asked each second, they are told five times and count once."""
    exporter = FakeExporter(recorded("dcgm-l4"), STEADY, ahead_s=3.0, stamped=True, renews_s=5.0, takes_s=0.03)
    _, table = exporter.observed(100)
    at_s = [row["t_ns"] / SECOND for row in table.to_pylist() if row["name"] == "power_w"]
    assert len(at_s) == 21
    assert all(abs(t - 5 * round(t / 5)) < 0.55 for t in at_s)


def test_what_several_engines_say_is_of_all_of_them_or_not_there() -> None:
    one, two = {"queue": 2.0, "kv_use_fraction": 0.2, "running": 1.0}, {"queue": 3.0, "kv_use_fraction": 0.6}
    assert together([one, two]) == {"queue": 5.0, "kv_use_fraction": pytest.approx(0.4)}
