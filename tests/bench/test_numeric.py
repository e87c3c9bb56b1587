"""Numbers and times are read as users write them, and as everything here prints them."""

import math
from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from analysis.run.slo import parse
from analysis.wording import dollars, number, percent
from bench.app.familiar import goodput
from bench.cli.progress import duration_text
from bench.durations import expected, parse_duration
from bench.numeric import read, whole

MORE = st.floats(1e-9, 1e12)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2,000,000", "2000000"), ("2e6", "2000000"), ("2m", "2000000"), ("1.5k", "1500"), ("70%", "0.7"),
        ("$0.34", "0.34"), ("1b", "1000000000"), ("0.1", "0.1"),
    ],
)  # fmt: skip
def test_numbers_are_read_as_they_are_printed(text: str, number: str) -> None:
    assert read(text) == Decimal(number)


@given(st.text(max_size=80))
def test_any_text_is_a_number_or_none(text: str) -> None:
    found = read(text)
    assert found is None or isinstance(found, Decimal)


@pytest.mark.parametrize(
    "text", ["1,4", "0,5", "1,23,456", ",5", "1,,000", "1,4,16", "0x10", "nan", "1 2", "--1", "$", "."]
)
def test_a_list_and_a_comma_that_is_a_point_elsewhere_are_no_numbers(text: str) -> None:
    assert read(text) is None


@pytest.mark.parametrize("text", ["inf", "1e999999", "9e99999999999", "0.5", "50%", "-inf"])
def test_what_has_no_end_or_a_fraction_is_no_whole_number(text: str) -> None:
    assert whole(text) is None


@given(MORE)
def test_every_number_that_is_printed_is_read_back_to_its_last_digit(value: float) -> None:
    for text in (number(value), number(value, 2), f"{value:.12g}", str(value), f"{value:,.2f}"):
        found = read(text)
        assert found is not None
        assert math.isclose(found, value, rel_tol=0.05, abs_tol=0.005), text
        assert text != number(value) or read(number(float(found))) == found
    for text in (dollars(value), dollars(-value), dollars(Decimal(str(value)), 4)):
        found = read(text)
        assert found is not None
        assert math.isclose(abs(found), value, rel_tol=0.006, abs_tol=0.005), text


@given(st.floats(0, 1))
def test_every_share_that_is_printed_is_read_back_unless_it_is_a_bound(share: float) -> None:
    text = percent(share)
    assume(not text.startswith((">", "<")))
    found = read(text)
    assert found is not None and math.isclose(found, share, abs_tol=0.0006)


@given(st.floats(0, 1e6))
def test_every_time_that_is_printed_is_read_back(seconds: float) -> None:
    for text in (expected(seconds), duration_text(seconds)):
        assert math.isclose(parse_duration(text), seconds, rel_tol=0.02, abs_tol=30), text


@given(MORE)
def test_an_objective_takes_a_bound_as_a_report_prints_it(limit_ms: float) -> None:
    shown = number(limit_ms)
    bound = parse(f"ttft_ms<{shown}").limit
    assert math.isclose(bound, limit_ms, rel_tol=0.05)
    assert parse(f"ttft_ms:p99 < {shown} ms").limit == pytest.approx(bound)
    assert [parse(text).limit for text in goodput(f"ttft:{shown} tpot:{shown}, e2el:{shown}ms")] == [
        pytest.approx(bound)
    ] * 3
