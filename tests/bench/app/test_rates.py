import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.app import rates
from bench.types import RateSegment, UserError


@pytest.mark.parametrize(
    ("text", "pace"),
    [
        ("4", 4.0),
        ("2,000", 2000.0),
        ("1k", 1000.0),
        ("inf", math.inf),
        ("1..10:5m", (RateSegment(300.0, 1.0, 10.0),)),
        ("2:1m,10:30s", (RateSegment(60.0, 2.0, 2.0), RateSegment(30.0, 10.0, 10.0))),
        ("2:1m,20:10s,2:1m", (RateSegment(60.0, 2.0, 2.0), RateSegment(10.0, 20.0, 20.0), RateSegment(60.0, 2.0, 2.0))),
        ("0.5..1.5:500ms,1,000:1h", (RateSegment(0.5, 0.5, 1.5), RateSegment(3600.0, 1000.0, 1000.0))),
    ],
)
def test_a_rate_is_a_number_a_course_or_everything_at_once(text: str, pace: object) -> None:
    assert rates.of(text, None) == {"rate": pace}


@pytest.mark.parametrize(
    "text",
    ["", "x", "-1", "1..", "..2:5m", "1..2", "1..2:", "1..2:5", "1..2..3:5m", "1:5m,", ",1:5m", "2,3:1m", "1:5m;2:5m",
     "nan", "1:5m,2", "inf..2:5m", "1:0s", "1:-5s"],
)  # fmt: skip
def test_a_rate_that_is_none_is_one_line_that_names_the_flag(text: str) -> None:
    with pytest.raises(UserError, match=r"^--rate") as wrong:
        rates.of(text, None)
    assert "\n" not in str(wrong.value)


@settings(deadline=None, max_examples=200)
@given(st.text("0123456789.,:kmsh-infe ", max_size=24))
def test_whatever_is_written_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        found = rates.of(text, None)["rate"]
    except UserError as problem:
        assert str(problem).startswith("--rate")
    else:
        assert found == math.inf or found >= 0 if isinstance(found, float) else all(part.seconds > 0 for part in found)


@pytest.mark.parametrize("hours", [24, 168])
def test_a_profile_is_that_of_breakeven_of_a_day_or_a_week(tmp_path: Path, hours: int) -> None:
    file = tmp_path / "hours.txt"
    file.write_text("\n".join(str(hour % 24) for hour in range(hours)))
    found = rates.of("5", f"profile:{file}")
    assert found["arrivals"] is None and len(found["profile"]) == hours and found["rate"] == 5.0
    assert list(rates.profile(file)) == list(found["profile"])
    assert rates.of("5", f"gamma:2,profile:{file}") == {**found, "arrivals": "gamma:2"}


@pytest.mark.parametrize("content", ["", "1 2 3", "0 " * 24, "-1 " * 24, "x " * 24, b"\xff\xfe\xff"])
def test_a_profile_that_is_none_is_one_line(tmp_path: Path, content: str | bytes) -> None:
    file = tmp_path / "hours.txt"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=r"^--arrivals profile"):
        rates.of("5", f"profile:{file}")
    with pytest.raises(UserError, match=r"^--arrivals profile"):
        rates.of("5", "profile:no-such-file")
