"""The reductions that the plots stand on, against slow and obvious versions of themselves."""

import numpy as np
import pytest

from analysis.present.series import bin_edges, decimate, ecdf, mean_in_flight, rate_per_s, ticks_1_2_5
from analysis.stats.pool import Ordered


def test_a_small_cumulative_curve_has_every_value() -> None:
    x, share = ecdf(Ordered.of(np.array([1.0, 2.0, 3.0])))
    assert x.tolist() == [1, 2, 3]
    assert share.tolist() == pytest.approx([1 / 3, 2 / 3, 1])


def test_a_cumulative_curve_ends_below_one_by_the_share_that_failed() -> None:
    _, share = ecdf(Ordered.of(np.ones(9)), never=1)
    assert share[-1] == pytest.approx(0.9)


def test_a_large_cumulative_curve_stays_on_the_exact_one_and_keeps_the_maximum() -> None:
    values = np.sort(np.random.default_rng(1).lognormal(size=50_000))
    x, share = ecdf(Ordered.of(values))
    assert len(x) <= 500
    assert x[-1] == values.max()
    exact = np.searchsorted(values, x, side="right") / len(values)
    assert share == pytest.approx(exact)


def test_decimation_keeps_the_extremes_and_the_order() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0, 60, 50_000), rng.exponential(size=50_000)
    y[1234] = 1e6
    kept = decimate(x, y, limit=1000, spans=100)
    assert len(kept) <= 1000
    assert len(set(kept.tolist())) == len(kept)
    assert 1234 in kept and y.argmin() in kept
    assert (np.diff(x[kept]) >= 0).all()


def test_decimation_leaves_a_small_series_whole() -> None:
    kept = decimate(np.array([2.0, 1.0, 3.0]), np.array([0.0, 0.0, 0.0]), limit=10, spans=2)
    assert kept.tolist() == [1, 0, 2]


@pytest.mark.parametrize(("end_s", "width"), [(60.0, 0.5), (61.0, 1.0), (7.0, 0.1), (3600.0, 50.0)])
def test_bins_have_round_widths_and_reach_the_end(end_s: float, width: float) -> None:
    edges = bin_edges(end_s, 120)
    assert edges[1] == pytest.approx(width)
    assert len(edges) <= 121
    assert edges[0] == 0 and edges[-1] >= end_s - 1e-9


def test_rates_times_widths_give_back_the_weights() -> None:
    t_s, weights = np.array([0.1, 0.2, 1.5]), np.array([2, 3, 5])
    assert rate_per_s(t_s, np.array([0.0, 0.5, 2.0]), weights).tolist() == pytest.approx([10, 5 / 1.5])


def test_mean_in_flight_is_exact_within_a_bin() -> None:
    sent_s, end_s = np.array([0.0, 0.5, 1.0]), np.array([1.0, 2.5, 1.5])
    in_flight = mean_in_flight(sent_s, end_s, np.array([0.0, 1.0, 2.0, 3.0]))
    assert in_flight.tolist() == pytest.approx([1.5, 1.5, 0.5])


def test_logarithmic_labels_thin_out_over_many_decades() -> None:
    assert list(ticks_1_2_5(15, 90)) == pytest.approx([10, 20, 50, 100, 200, 500])
    assert list(ticks_1_2_5(0.01, 90)) == pytest.approx([0.01, 0.1, 1, 10, 100])
