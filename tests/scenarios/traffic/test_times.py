"""Times alone: one a line, or a column of CSV."""

from pathlib import Path

import pytest

from bench.types import UserError
from scenarios.traffic import read

NOON_S = 1_763_683_200
SECOND_NS = 10**9


def times_s(folder: Path, text: str) -> list[float]:
    (folder / "times").write_text(text)
    return [row.t_ns / SECOND_NS for row in read(folder / "times") if row.t_ns is not None]


def test_times_are_unix_seconds_one_a_line_blank_lines_left_out(tmp_path: Path) -> None:
    assert times_s(tmp_path, f"{NOON_S}\n\n{NOON_S + 1.5}\n") == [NOON_S, NOON_S + 1.5]


@pytest.mark.parametrize(
    "written", ["2025-11-21T00:00:00Z", "2025-11-21T00:00:00", "2025-11-21 01:00:00+01:00", "1763683200.0"]
)
def test_iso_8601_is_utc_where_it_names_no_zone(tmp_path: Path, written: str) -> None:
    assert times_s(tmp_path, written) == [NOON_S]


@pytest.mark.parametrize("unit", [10**3, 10**6, 10**9])
def test_a_number_too_large_for_seconds_counts_something_shorter(tmp_path: Path, unit: int) -> None:
    assert times_s(tmp_path, f"at\n{NOON_S * unit}") == [NOON_S]


def test_a_column_of_other_numbers_is_not_taken_for_times_where_one_is_named(tmp_path: Path) -> None:
    assert times_s(tmp_path, f"id,Timestamp\n1,{NOON_S}\n2,{NOON_S + 9}\n") == [NOON_S, NOON_S + 9]


def test_the_first_column_with_times_is_taken_whatever_it_is_called(tmp_path: Path) -> None:
    text = f'user,"when, exactly",tokens\nann,{NOON_S},512\nbob,{NOON_S + 9},7\n'
    assert times_s(tmp_path, text) == [NOON_S, NOON_S + 9]


def test_a_column_named_prefix_says_which_requests_share_one(tmp_path: Path) -> None:
    times_s(tmp_path, f"at, Prefix\n{NOON_S},a\n{NOON_S},b\n{NOON_S},a\n{NOON_S}\n")
    assert [row.blocks for row in read(tmp_path / "times")] == [(0,), (1,), (0,), (2,)]


def test_times_stay_in_the_order_of_the_file(tmp_path: Path) -> None:
    assert times_s(tmp_path, "3\n2\n1") == [3, 2, 1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("time\n", "no requests in it (read as times"),
        ("1\n2\nsoon", "times:3: time: expected a time in ISO 8601 or Unix seconds, got 'soon'"),
        ("1\n-1", "times:2: time: expected a time"),
        ("at,b\n1,2\n\n,7", "times:4: time: expected a time in ISO 8601 or Unix seconds, got ''"),
        ("1\nnan", "times:2: time: expected a time"),
    ],
)
def test_a_line_that_holds_no_time_is_named(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(UserError) as problem:
        times_s(tmp_path, text)
    assert reason in str(problem.value)
