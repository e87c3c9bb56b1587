from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.plan.portable import exponential, logarithm


@given(st.floats(-690, 0))
def test_exponentials_are_exact_to_some_units_in_the_last_place(x: float) -> None:
    assert float(exponential(np.array([x]))[0]) == pytest.approx(float(Decimal(x).exp()), rel=1e-15)


def test_the_logarithm_is_exact_to_the_last_bits() -> None:
    x = np.concatenate([1 - np.random.default_rng(1).random(2000), 2.0 ** -np.arange(54), [1 - 2.0**-53, 2.0**-53]])
    exact = [float(Decimal(value).ln()) for value in x.tolist()]
    assert logarithm(x) == pytest.approx(exact, rel=1e-15, abs=0)
    assert logarithm(np.ones(1)).tolist() == [0.0]


def test_a_gap_of_the_least_draw_is_the_longest_there_can_be() -> None:
    assert -logarithm(np.array([2.0**-53]))[0] == pytest.approx(36.7368, rel=1e-6)
