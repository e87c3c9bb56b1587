from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest

from analysis.run.sections import Stalls
from analysis.run.stalls import stalls

MS = 1_000_000


def answer(seq: int, *arrivals_ms: float, error: str | None = None, end_ms: float = 20_000) -> dict[str, Any]:
    arrivals_ns = [round(t_ms * MS) for t_ms in arrivals_ms]
    instants = {"first_token_ns": arrivals_ns[0], "last_token_ns": arrivals_ns[-1]} if arrivals_ns else {}
    row = {"seq": seq, "phase": "measured", "error": error, "end_ns": round(end_ms * MS), "arrivals_ns": arrivals_ns}
    return row | instants


@pytest.fixture
def found(requests_table: Callable[[list[dict[str, Any]]], pa.Table]) -> Callable[..., Stalls]:
    return lambda *rows, usual_gap_ms=10.0: stalls(requests_table(list(rows)), usual_gap_ms)


def test_the_longest_gap_inside_an_answer_is_told_with_its_request(found: Any) -> None:
    rows = answer(0, 100, 110, 120), answer(7, 5000, 5010, 5400, 5410), answer(8, 9000)
    assert found(*rows) == Stalls(1000.0, 0, 390.0, 7)


def test_answers_are_counted_once_however_often_they_stood_still(found: Any) -> None:
    rows = answer(0, 100, 110), answer(1, 100, 1200, 2400), answer(2, 100, 3100, 3110)
    assert found(*rows) == Stalls(1000.0, 2, 3000.0, 2)


@pytest.mark.parametrize(("gap_ms", "answers"), [(3000, 0), (9000, 1)])
def test_where_gaps_are_long_anyway_a_stall_is_a_hundred_of_them(found: Any, gap_ms: int, answers: int) -> None:
    rows = found(answer(0, 100, 100 + gap_ms), usual_gap_ms=50.0)
    assert (rows.limit_ms, rows.answers) == (5000.0, answers)


def test_a_call_given_up_for_its_silence_counts_once_its_output_had_begun(found: Any) -> None:
    rows = answer(4, 100, 110, error="stall", end_ms=610), answer(5, error="stall"), answer(6, 100, error="reset")
    assert found(*rows) == Stalls(1000.0, 1, 500.0, 4)


def test_what_the_warm_up_did_does_not_count(found: Any) -> None:
    assert found(answer(0, 100, 9000) | {"phase": "warmup"}).answers == 0


def test_without_a_gap_nothing_is_known(found: Any) -> None:
    unknown = Stalls(1000.0, 0, None, None)
    assert found(usual_gap_ms=None) == found(answer(0, 100), answer(1), usual_gap_ms=None) == unknown
