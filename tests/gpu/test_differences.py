"""What is held beside what, on series of which the differences are known."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.run.window import Window
from tests.gpu.differences import (
    ALLOWED,
    NEAR_NS,
    Difference,
    GpuObservation,
    at_the_same_moments,
    differences,
    integral,
)
from tests.gpu.smi import COLUMNS, REASONS, SmiAnswer, SmiDialect

SECOND = 1_000_000_000
GIB = 2**30
DIALECT = SmiDialect("power.draw.instant", {reason: f"clocks_event_reasons.{end}" for reason, end in REASONS.items()})
IDLE, BEFORE, AFTER, BUSY = (Window(start * SECOND, end * SECOND) for start, end in ((1, 6), (6, 8), (8, 10), (12, 17)))
END_S = 18
Course = Callable[[float], float | None]
"""A quantity at each second; None where it is not told."""
Card = dict[str, Course]
"""Each quantity of a card, by telemetry's name of it."""


def constant(value: float | None) -> Course:
    return lambda _: value


def until(end_s: float, course: Course) -> Course:
    return lambda t: course(t) if t < end_s else None


def true_card() -> Card:
    """A card that does what the load asks of it."""
    return {
        "util_pct": lambda t: 100.0 * (t >= 10.5),
        "memory_used_bytes": lambda t: GIB * (1.0 + 0.5 * (t >= 6) + 2 * (t >= 8)),
        "power_w": lambda t: 700.0 if t >= 10.5 else 70.0,
        "energy_j": lambda t: 5000 + 70 * t + 630 * max(0.0, t - 10.5),
        "sm_clock_mhz": lambda t: 1980.0 if t >= 10.5 else 345.0,
        "mem_clock_mhz": lambda _: 2619.0,
        "temperature_c": lambda t: 30 + 2 * t,
        "throttle_reasons": lambda t: 4.0 if t >= 10.5 else 1.0,
    }


def sampled(cards: Sequence[Card]) -> pa.Table:
    """Telemetry of them, ten times a second."""
    t_s = np.arange(0, END_S, 0.1)
    rows = [
        (int(t * SECOND), f"gpu{i}", name, float(value))
        for i, card in enumerate(cards)
        for name, at in card.items()
        for t in t_s
        if (value := at(t)) is not None
    ]
    return pa.table({name: [row[i] for row in rows] for i, name in enumerate(("t_ns", "source", "name", "value"))})


def answers(cards: Sequence[Card], start_ns: int) -> list[SmiAnswer]:
    """What nvidia-smi says of them each second, in its own words."""
    found = []
    for second in range(END_S):
        t = second + 0.5
        said = {}
        for i, card in enumerate(cards):
            told = {name: at(t) for name, at in card.items()}
            if (used := told.get("memory_used_bytes")) is not None:
                told["memory_used_bytes"] = used / 2**20
            values = {field: told.get(name) for name, field in COLUMNS.items()}
            fields = {field: "[N/A]" if value is None else f"{value:.2f}" for field, value in values.items()}
            mask = told.get("throttle_reasons")
            bits = {"idle": 1, "software power cap": 4, "software thermal slowdown": 0x20}
            for reason, field in DIALECT.reasons.items():
                active = mask is not None and int(mask) & bits.get(reason, 0)
                fields[field] = "[N/A]" if mask is None else "Active" if active else "Not Active"
            said[i] = fields | {"index": str(i), "power.draw.instant": fields["power.draw"]}
        found.append(SmiAnswer(start_ns + int((t - 0.05) * SECOND), start_ns + int((t + 0.05) * SECOND), said))
    return found


def observation(ours: Sequence[Card], theirs: Sequence[Card], loaded: int = 0) -> GpuObservation:
    """A whole observation of cards of which telemetry says `ours` and nvidia-smi `theirs`."""
    start_ns = 77 * SECOND
    return GpuObservation(
        telemetry=sampled(ours),
        answers=answers(theirs, start_ns),
        dialect=DIALECT,
        start_ns=start_ns,
        stretches={"idle": IDLE, "busy": BUSY},
        loaded=loaded,
        allocated_bytes=2 * GIB,
        before=BEFORE,
        after=AFTER,
    )


def failed(seen: GpuObservation) -> set[tuple[str, str, str]]:
    return {(row.card, row.what, row.verdict) for row in differences(seen) if row.failed}


def test_where_both_tell_the_truth_all_is_within_bounds_and_all_is_compared() -> None:
    rows = differences(observation([true_card()], [true_card()]))
    assert {row.verdict for row in rows} == {"ok"}
    whats = {(row.stretch, row.what) for row in rows}
    for stretch in ("idle", "busy"):
        assert {(stretch, what) for what in (*COLUMNS, "energy_j", "samples", "answers", "software power cap")} <= whats
    assert {("idle", "idle"), ("step", "memory_used_bytes")} <= whats


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("util_pct", lambda right: 0.9 * right),
        ("memory_used_bytes", lambda right: right + 100 * 2**20),
        ("power_w", lambda right: 1.05 * right),
        ("sm_clock_mhz", lambda right: 1.05 * right),
        ("mem_clock_mhz", lambda right: right - 50),
        ("temperature_c", lambda right: right + 3),
        ("energy_j", lambda right: 1.07 * right),
    ],
)
def test_a_column_that_is_wrong_is_told_by_name(name: str, wrong: Callable[[float], float]) -> None:
    right = true_card()
    ours = right | {name: lambda t: wrong(right[name](t) or 0.0)}
    found = failed(observation([ours], [right]))
    assert ("gpu0", name, "FAILED") in found
    # The energy is held beside the power, so that one that is wrong makes the other doubtful.
    assert {what for _, what, _ in found} <= {name, "energy_j"}


def test_a_reason_that_we_name_otherwise_is_told() -> None:
    ours = true_card() | {"throttle_reasons": lambda t: 0x20 if t >= 10.5 else 1.0}
    reasons = {"software power cap", "software thermal slowdown"}
    assert failed(observation([ours], [true_card()])) == {("gpu0", reason, "FAILED") for reason in reasons}


@pytest.mark.parametrize("name", [*COLUMNS, "throttle_reasons"])
def test_what_we_lack_though_it_is_told_is_missing_and_what_no_one_tells_is_not(name: str) -> None:
    lacking = {key: at for key, at in true_card().items() if key != name}
    whats = {"throttle_reasons": {"idle", "software power cap"}}.get(name, {name})
    assert {(what, verdict) for _, what, verdict in failed(observation([lacking], [true_card()]))} == {
        (what, "MISSING") for what in whats
    }
    assert failed(observation([lacking], [lacking])) == set()


def test_what_only_we_tell_is_no_fault() -> None:
    little = {name: at for name, at in true_card().items() if name == "temperature_c"}
    rows = differences(observation([true_card()], [little]))
    assert not any(row.failed for row in rows)
    assert {row.what for row in rows if row.verdict == "not told"} >= {"util_pct", "power_w", "energy_j"}


def test_cards_that_are_mistaken_for_each_other_are_told() -> None:
    at_rest = {name: at(0.0) for name, at in true_card().items()}
    left_alone: Card = {name: constant(value) for name, value in at_rest.items()}
    left_alone["energy_j"] = lambda t: 70 * t
    both = [left_alone, true_card()]
    assert failed(observation(both, both, loaded=1)) == set()
    cards = {card for card, _, _ in failed(observation(both[::-1], both, loaded=1))}
    assert cards == {"gpu0", "gpu1"}


def test_a_card_that_was_not_idle_or_not_kept_busy_proves_nothing() -> None:
    lazy = true_card() | {"util_pct": lambda t: 50.0}
    assert failed(observation([lazy], [lazy])) == {("gpu0", "util_pct", "FAILED")}


def test_memory_that_the_column_does_not_follow_is_told_though_both_agree() -> None:
    still = true_card() | {"memory_used_bytes": lambda t: float(GIB)}
    assert failed(observation([still], [still])) == {("gpu0", "memory_used_bytes", "FAILED")}


def test_a_counter_that_begins_anew_is_not_taken_for_energy() -> None:
    counted = true_card()["energy_j"]
    ours = true_card() | {"energy_j": lambda t: counted(t if t < 14 else t - 14)}
    seen = observation([ours], [true_card()])
    assert failed(seen) == set()
    sources = [row.beside for row in differences(seen) if row.what == "energy_j" and row.stretch == "busy"]
    assert sources == ["integral of power.draw.instant"]  # of the power on both sides: there is no counter to hold


@pytest.mark.parametrize("until_s", [0.0, 14.0])
def test_a_sampler_that_stopped_is_told(until_s: float) -> None:
    ours: Card = {name: until(until_s, at) for name, at in true_card().items()}
    found = failed(observation([ours], [true_card()]))
    assert ("gpu0", "samples", "FAILED" if until_s else "MISSING") in found


def test_an_nvidia_smi_that_stopped_answering_proves_nothing() -> None:
    seen = observation([true_card()], [true_card()])
    assert ("gpu0", "answers", "FAILED") in failed(replace(seen, answers=seen.answers[:8]))


# --- two series -------------------------------------------------------------------------------------------------


@given(
    values=st.lists(st.floats(0, 1e6), min_size=30, max_size=30),
    off=st.floats(-1e3, 1e3),
    told=st.lists(st.booleans(), min_size=3, max_size=3),
)
@settings(max_examples=50, deadline=None)
def test_a_constant_difference_is_found_whatever_the_series_and_whatever_is_not_told(
    values: list[float], off: float, told: list[bool]
) -> None:
    t_ns, ours = np.arange(30) * SECOND / 10, np.array(values)
    at = [5, 15, 25]
    near = [ours[i - 1 : i + 2].mean() for i in at]
    theirs = [
        (int(t_ns[i]), int(t_ns[i]), float(value + off) if is_told else None)
        for i, value, is_told in zip(at, near, told, strict=True)
    ]
    mine, other = at_the_same_moments((t_ns, ours), theirs)
    if not any(told):
        assert (mine, other) == (None, None)
    else:
        assert mine is not None and other is not None
        assert other - mine == pytest.approx(off, abs=1e-6)


def test_points_far_from_any_of_our_samples_are_left_out() -> None:
    ours = np.array([0.0, SECOND]), np.array([1.0, 2.0])
    far = SECOND + NEAR_NS + 1
    assert at_the_same_moments(ours, [(SECOND, SECOND, 5.0), (far, far, 99.0)]) == (2.0, 5.0)
    assert at_the_same_moments(ours, [(far, far, 99.0)]) == (None, 99.0)
    assert at_the_same_moments((np.empty(0), np.empty(0)), [(0, 0, 99.0)]) == (None, 99.0)


@given(st.floats(0, 1e3), st.floats(-10, 10))
@settings(max_examples=50, deadline=None)
def test_the_integral_of_a_line_is_exact_between_its_points_and_needs_two(level: float, slope: float) -> None:
    points = [(second * SECOND, second * SECOND, level + slope * second) for second in range(10)]
    span = Window(2 * SECOND, 7 * SECOND + SECOND // 2)
    expected = 5.5 * level + slope * (7.5**2 - 2**2) / 2
    assert integral(points, span) == pytest.approx(expected, abs=1e-6)
    assert integral([(0, 0, 1.0), (SECOND, SECOND, None)], span) is None


@pytest.mark.parametrize(
    ("ours", "theirs", "verdict"),
    [
        (103.0, 100.0, "ok"),
        (103.1, 100.0, "FAILED"),
        (96.9, 100.0, "FAILED"),
        (1030.0, 1000.0, "ok"),
        (float("nan"), 100.0, "FAILED"),
        (None, 100.0, "MISSING"),
        (100.0, None, "not told"),
        (None, None, "not told"),
    ],
)
def test_the_larger_of_both_bounds_holds(ours: float | None, theirs: float | None, verdict: str) -> None:
    row = Difference("gpu0", "idle", "power_w", ours, "nvidia-smi", theirs, ALLOWED["power_w"])
    assert (row.verdict, row.failed) == (verdict, verdict in ("FAILED", "MISSING"))
