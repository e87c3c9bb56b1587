"""Numbers as people read them."""

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import wording


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"), (0, "0"), (0.0, "0"), (1234567, "1,234,567"), (151.4, "151"), (76.94, "76.9"), (9.9996, "10.0"),
        (9.054, "9.05"), (0.04, "0.04"), (0.012345, "0.0123"), (30.0, "30"), (2664.3, "2,664"), (3.2e-6, "3.2e-06"),
    ],
)  # fmt: skip
def test_a_number_has_three_digits_and_its_whole_part(value: float | None, text: str) -> None:
    assert wording.number(value) == text


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ([1.0, 2.5], "1–2.50"),
        ([1.0, None], "≥ 1"),
        ([None, 2.5], "≤ 2.50"),
        ([None, None], None),
        (None, None),
    ],
)
def test_an_interval_shows_the_ends_it_has(bounds: list[float | None] | None, text: str | None) -> None:
    assert wording.interval(bounds) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [(None, "–"), (0, "0%"), (1, "100%"), (0.9999, "> 99.9%"), (0.00001, "< 0.1%"), (0.985, "98.5%")],
)
def test_a_percentage_is_never_rounded_to_all_or_nothing(share: float | None, text: str) -> None:
    assert wording.percent(share) == text


AMOUNTS = st.decimals(-(10**6), 10**6, places=6)


@given(st.lists(AMOUNTS, min_size=2, max_size=4), st.sampled_from([None, 2]))
@settings(max_examples=100, deadline=None)
def test_amounts_beside_each_other_look_different_exactly_where_they_differ(
    amounts: list[Decimal], places: int | None
) -> None:
    said = wording.dollars_apart(*amounts, places=places)
    assert len(set(said)) == len({amount + 0 for amount in amounts})
    beside_nothing = wording.dollars_apart(*amounts, Decimal(0), places=places)
    assert all(
        bool(usd) == any(map(text.__contains__, "123456789"))
        for text, usd in zip(beside_nothing, amounts, strict=False)
    )
    assert set(wording.dollars_apart(0.1 + 0.2, 0.3, places=places)) == {"$0.30"}
