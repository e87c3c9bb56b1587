from decimal import Decimal
from fractions import Fraction

import pytest

from analysis.money.numbers import at_least_zero, decimal, exact, monthly_usd, share
from analysis.wording import dollars
from bench.types import UserError


@pytest.mark.parametrize("number", [0.7, Decimal("0.7"), Fraction(7, 10)])
def test_a_number_is_what_it_is_written_as(number: Decimal) -> None:
    assert exact(number) == Fraction(7, 10)


def test_an_amount_whose_digits_end_is_exact_as_a_decimal() -> None:
    assert decimal(Fraction(2982, 10)) == Decimal("298.2")
    assert str(decimal(Fraction(1, 3))) == "0." + "3" * 28


# Worked example G9: T4, committed, Vast low and high, T4 with its host.
@pytest.mark.parametrize(
    ("usd_per_hour", "usd_per_month"),
    [(".35", "255.50"), (".16", "116.80"), (".24", "175.20"), (".60", "438.00"), (".54", "394.20")],
)
def test_a_month_is_730_hours(usd_per_hour: str, usd_per_month: str) -> None:
    assert monthly_usd(Decimal(usd_per_hour)) == Decimal(usd_per_month)


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        ("298.2", "$298.20"),
        ("1234567.895", "$1,234,567.90"),
        ("0.125", "$0.13"),
        ("0.0045", "$0.00450"),
        ("-0.00020238", "-$0.000202"),
        ("0", "$0.00"),
    ],
)
def test_amounts_are_rounded_half_up_and_small_ones_keep_three_digits(usd: str, text: str) -> None:
    assert dollars(Decimal(usd)) == text


@pytest.mark.parametrize(("amount", "text"), [("-3.5", "-$4"), ("1234567.4", "$1,234,567"), ("0.4", "$0")])
def test_an_amount_can_be_shown_to_so_many_places(amount: str, text: str) -> None:
    assert dollars(Decimal(amount), 0) == dollars(float(amount), 0) == text


@pytest.mark.parametrize("value", [None, -1, Decimal("-0.01"), float("nan"), float("inf")])
def test_an_amount_that_is_missing_negative_or_no_number_names_its_flag(value: float | None) -> None:
    with pytest.raises(UserError, match=r"^--usd-per-hour .*expected a number of at least 0$"):
        at_least_zero("--usd-per-hour", value)


@pytest.mark.parametrize(("value", "least"), [(0, None), (1.01, None), (-0.1, 0), (float("nan"), 0)])
def test_a_share_outside_its_bounds_names_its_flag(value: float, least: int | None) -> None:
    with pytest.raises(UserError, match=r"^--utilization .* expected a share"):
        share("--utilization", value, least)
