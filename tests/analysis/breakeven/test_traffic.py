import pytest

from analysis.breakeven.traffic import trace, weights
from bench.types import UserError


def test_prefixes_are_known_where_every_request_names_one() -> None:
    assert trace([3 * 10**9, 10**9], [None, None]).prefixes is None
    assert trace([3 * 10**9, 10**9], [1, None]).prefixes is None
    found = trace([3 * 10**9, 10**9], [1, 0])
    assert found.prefixes is not None
    assert (found.arrivals_s.tolist(), found.prefixes.tolist()) == ([3.0, 1.0], [1, 0])


def test_weights_are_separated_by_anything_and_exact() -> None:
    assert [float(weight) for weight in weights("1, 0.5\n2 3")] == [1, 0.5, 2, 3]


@pytest.mark.parametrize("text", ["1 x", "nan", "inf", "-1"])
def test_a_weight_that_is_no_number_or_negative_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--traffic-profile"):
        weights(text)
