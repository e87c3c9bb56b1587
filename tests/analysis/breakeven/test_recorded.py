import numpy as np
import pytest

from analysis.breakeven.recorded import trace, weights
from bench.types import UserError

NOON_S = 1_763_683_200


def test_times_are_unix_seconds_one_a_line_blank_lines_left_out() -> None:
    found = trace(f"{NOON_S}\n\n{NOON_S + 1.5}\n")
    assert found.arrivals_s.tolist() == [NOON_S, NOON_S + 1.5]
    assert found.prefixes is None


@pytest.mark.parametrize(
    "written", ["2025-11-21T00:00:00Z", "2025-11-21T00:00:00", "2025-11-21 01:00:00+01:00", "1763683200.0"]
)
def test_iso_8601_is_utc_where_it_names_no_zone(written: str) -> None:
    assert trace(written).arrivals_s.tolist() == [NOON_S]


def test_a_column_of_other_numbers_is_not_taken_for_times_where_one_is_named() -> None:
    assert trace(f"id,Timestamp\n1,{NOON_S}\n2,{NOON_S + 9}\n").arrivals_s.tolist() == [NOON_S, NOON_S + 9]


def test_the_first_column_with_times_is_taken_whatever_it_is_called() -> None:
    found = trace(f'user,"when, exactly",tokens\nann,{NOON_S},512\nbob,{NOON_S + 9},7\n')
    assert found.arrivals_s.tolist() == [NOON_S, NOON_S + 9]


def test_a_column_named_prefix_says_which_requests_share_one() -> None:
    found = trace(f"at, Prefix\n{NOON_S},a\n{NOON_S},b\n{NOON_S}\n")
    assert found.prefixes is not None
    assert found.prefixes.tolist() == ["a", "b", ""]


def test_times_stay_in_the_order_of_the_file() -> None:
    assert np.all(np.diff(trace("3\n2\n1").arrivals_s) == -1)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "--traffic has no arrival times"),
        ("at\n", "--traffic has no arrival times"),
        ("1\n2\nsoon", "--traffic: line 3: expected a time in Unix seconds or ISO 8601, got 'soon'"),
        ("-1", "--traffic: line 1: expected Unix seconds, got -1"),
        ("at\n1763683200000", "--traffic: line 2: expected Unix seconds, got 1763683200000: is it in milliseconds?"),
        ("at,b\n1,2\n\n,7", "--traffic: line 4: expected a time in Unix seconds or ISO 8601, got ''"),
        ("1\nnan", "--traffic: line 2: expected a time"),
    ],
)
def test_a_line_that_holds_no_time_is_named(text: str, reason: str) -> None:
    with pytest.raises(UserError) as problem:
        trace(text)
    assert str(problem.value).startswith(reason)


def test_weights_are_separated_by_anything_and_exact() -> None:
    assert [float(weight) for weight in weights("1, 0.5\n2 3")] == [1, 0.5, 2, 3]


@pytest.mark.parametrize("text", ["1 x", "nan", "inf", "-1"])
def test_a_weight_that_is_no_number_or_negative_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="--profile"):
        weights(text)
