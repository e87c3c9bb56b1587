"""Who gets which core, and what a load did to the client's cores."""

import os

import pytest

from bench.app.selftest import measure
from bench.app.selftest.measure import Cores, choose_cores


@pytest.mark.parametrize(
    ("allowed", "workers", "cores"),
    [
        ({0, 1}, 1, Cores((0,), 1)),
        ({0, 1}, 2, Cores((0,), 1)),
        ({3, 5, 7, 9}, 2, Cores((3, 5), 7)),
        ({4}, 1, Cores((4,), 4)),
    ],
)
def test_each_load_process_gets_a_core_and_the_server_another_as_far_as_there_are_any(
    monkeypatch: pytest.MonkeyPatch, allowed: set[int], workers: int, cores: Cores
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: allowed, raising=False)
    assert choose_cores(workers) == cores
    assert cores.shared == (len(allowed) == 1)


def test_shares_are_of_the_window_and_others_are_what_neither_loads_nor_server_used() -> None:
    own = [os.getpid()]
    watch = measure._CoreSampler(cores=(0, 1), loads=own * 2, beside=own, limit_s=9.0)
    # Seconds: two cores' busy time, two load processes, the server beside them. The window is the third second.
    watch.samples = [(0.0, 0.0, 0.0, 0.0, 0.0), (2.0, 1.0, 0.4, 0.2, 0.1), (4.0, 4.4, 1.6, 0.8, 0.9)]
    busiest, busy, others = watch.shares(2.0, 3.0)
    assert busiest == pytest.approx(0.6)
    assert busy == pytest.approx(1.7 / 2)
    assert others == pytest.approx((1.7 - 0.6 - 0.3 - 0.4) / 2)


def test_a_load_is_ended_when_it_takes_too_long() -> None:
    watch = measure._CoreSampler(cores=(0,), loads=[os.getpid()], beside=[], limit_s=9.0)
    assert watch.should_stop() is None
    watch.elapsed_s = 8.0
    assert watch.should_stop() is None
    watch.elapsed_s = 9.5
    assert watch.should_stop() == "the client was too slow"
