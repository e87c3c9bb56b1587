"""Help in groups, in the order in which a person needs them."""

import re

import click
import pytest

from bench.cli import groups
from bench.cli.root import command

LARGE = ("run", "capacity", "sweep", "ab", "breakeven", "compare", "gate", "size")


@pytest.mark.parametrize("name", LARGE)
def test_each_option_of_a_large_command_stands_in_one_group(name: str) -> None:
    found = command(name)
    context = click.Context(found, info_name=name)
    options = [option for option in found.get_params(context) if isinstance(option, click.Option)]
    others = [option.opts for option in options if groups.group_of(option) not in groups.ORDER]
    assert len(others) == 1 and "--help" in others[0]
    shown = re.findall(r"^  (?:-h, )?(--[\w-]+)", found.get_help(context), re.MULTILINE)
    assert sorted(shown) == sorted("--help" if "--help" in option.opts else option.opts[0] for option in options)


@pytest.mark.parametrize("name", LARGE)
def test_groups_are_in_their_order_and_begin_with_what_is_asked_or_compared(name: str) -> None:
    found = command(name)
    lines = found.get_help(click.Context(found, info_name=name)).splitlines()
    titles = [line.removesuffix(":") for line in lines if line.removesuffix(":") in groups.ORDER]
    assert titles == [title for title in groups.ORDER if title in titles]
    assert titles[0] in (groups.SIDES, groups.WHOM) or name == "compare"  # its sides are arguments


def test_a_group_has_its_commands_below_its_options() -> None:
    found = command("breakeven")
    text = found.get_help(click.Context(found, info_name="breakeven"))
    assert text.index(groups.ROUTING) < text.index("\nCommands:\n  batch ")
