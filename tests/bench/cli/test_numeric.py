"""Every number of a calculator is read by one mechanism: as it is printed, exactly, and within a range."""

from collections.abc import Iterator
from decimal import Decimal

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.app.options import USD
from bench.cli.breakeven import breakeven
from bench.cli.numeric import NumberWithin
from bench.cli.root import COMMANDS, command
from bench.types import UserError
from tests.commands import bench


def options(command: click.Command) -> Iterator[tuple[str, click.Option]]:
    for option in command.params:
        if isinstance(option, click.Option):
            yield f"{command.name} {option.opts[0]}", option
    for inner in getattr(command, "commands", {}).values():
        yield from options(inner)


OPTIONS = dict(options(breakeven))
EVERY = {name: option for command_name in COMMANDS for name, option in options(command(command_name))}
NUMBERS = {name: option for name, option in OPTIONS.items() if isinstance(option.type, NumberWithin)}


def test_no_command_reads_a_number_in_another_way() -> None:
    plain = (click.types.IntParamType, click.types.FloatParamType)
    assert not [name for name, option in EVERY.items() if isinstance(option.type, plain)]
    assert len(NUMBERS) > 25


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "-1", "1e30", "1e999999", "9" * 400, "", "ten", "0x10", "%"])
def test_what_is_no_number_or_out_of_range_is_refused_in_one_line(name: str, text: str) -> None:
    option = NUMBERS[name]
    with pytest.raises(UserError) as error:
        option.type.convert(text, option, None)
    assert str(error.value).startswith(option.opts[0])
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


@given(st.decimals(Decimal("1e-12"), 10**6, places=12))
def test_a_number_is_as_exact_as_it_is_written(number: Decimal) -> None:
    if number:
        assert NumberWithin(USD).convert(f"{number:f}", None, None) == number


GONE = ("--backend", "openai", "--model", "m", "--url", "http://127.0.0.1:9", "--dry-run")


def test_a_number_is_a_number_in_every_option_that_has_one_inside() -> None:
    plain, written = (
        bench("run", *GONE, *options.split())
        for options in (
            "--rate 2000 --requests 2000 --warmup 1000 --arrivals gamma:0.5 --timeout 305s --temperature 0.7 "
            "--slo ttft_ms:p99<2000 --slo service_ms<120000 --goodput ttft:2000 tpot:50",
            "--rate 2,000 --requests 2e3 --warmup 1k --arrivals gamma:50% --timeout 5m05s --temperature 70% "
            "--slo ttft_ms:p99<2,000 --slo service_ms<2min --goodput ttft:2,000 tpot:50",
        )
    )
    assert (plain.returncode, plain.stderr, written.returncode, written.stderr) == (0, "", 0, "")
    # An arrival process has the name that it was given.
    same = [line for line in plain.stdout.splitlines() if "arrivals" not in line and "hash" not in line]
    assert [line for line in written.stdout.splitlines() if line in same] == same


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("run", *GONE, "--concurrency", "1,4"), "expected a whole number, got '1,4'"),
        (("sweep", *GONE, "--concurrency", "1,024"), "--concurrency 1,024: expected numbers with commas between them"),
        (("run", *GONE, "--slo", "ttft_ms:p99<5%"), "is not an objective: write METRIC:pNN<LIMIT"),
        (("run", *GONE, "--goodput", "ttft:5 apples"), "--goodput 'ttft:5 apples': expected NAME:MILLISECONDS"),
    ],
)
def test_what_is_no_number_in_one_is_refused_in_a_line(arguments: tuple[str, ...], says: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1
