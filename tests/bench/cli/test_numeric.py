"""Every number of a calculator is read by one mechanism: as it is printed, exactly, and within a range."""

from collections.abc import Iterator
from decimal import Decimal

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.app.numeric import read
from bench.cli.breakeven import breakeven
from bench.cli.numeric import USD, Within
from bench.types import UserError


def options(command: click.Command) -> Iterator[tuple[str, click.Option]]:
    for option in command.params:
        if isinstance(option, click.Option):
            yield f"{command.name} {option.opts[0]}", option
    for inner in getattr(command, "commands", {}).values():
        yield from options(inner)


OPTIONS = dict(options(breakeven))
NUMBERS = {name: option for name, option in OPTIONS.items() if isinstance(option.type, Within)}


def test_no_calculator_reads_a_number_in_another_way() -> None:
    plain = (click.types.IntParamType, click.types.FloatParamType)
    assert not [name for name, option in OPTIONS.items() if isinstance(option.type, plain)]
    assert len(NUMBERS) > 25


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1", "1e30", "1e999999", "9" * 400, "", "ten", "0x10", "%"])
def test_what_is_no_number_or_out_of_range_is_refused_in_one_line(name: str, text: str) -> None:
    option = NUMBERS[name]
    with pytest.raises(UserError) as error:
        option.type.convert(text, option, None)
    assert str(error.value).startswith(option.opts[0])
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


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


@given(st.decimals(Decimal("1e-12"), 10**6, places=12))
def test_a_number_is_as_exact_as_it_is_written(number: Decimal) -> None:
    if number:
        assert USD.convert(f"{number:f}", None, None) == number
