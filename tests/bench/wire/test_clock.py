import time
from collections.abc import Iterator

import pytest

from bench.wire import clock


@pytest.mark.clock
def test_a_sample_maps_the_wall_clock_onto_the_monotonic_one() -> None:
    sample = clock.sample()
    wall_ns = time.time_ns()
    assert abs(wall_ns - sample.offset_ns - time.monotonic_ns()) < 50_000_000
    assert abs(sample.t_ns - time.monotonic_ns()) < 50_000_000


@pytest.mark.clock
def test_samples_agree_to_microseconds() -> None:
    offsets = sorted(clock.sample().offset_ns for _ in range(50))
    assert offsets[40] - offsets[10] < 20_000


def test_a_sample_is_the_tightest_of_its_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    # Each try reads before, wall, after; the third is interrupted the least.
    brackets = [(0, 40), (100, 130), (200, 210), (300, 390), (400, 430)]
    monotonic: Iterator[int] = iter([t for bracket in brackets for t in bracket])
    wall: Iterator[int] = iter([1020, 1101, 1206, 1300, 1400])
    monkeypatch.setattr(time, "monotonic_ns", lambda: next(monotonic))
    monkeypatch.setattr(time, "time_ns", lambda: next(wall))
    sample = clock.sample()
    monkeypatch.undo()
    assert sample == clock.ClockSample(t_ns=210, offset_ns=1206 - 205)
