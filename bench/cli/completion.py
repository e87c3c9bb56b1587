"""What a shell completes besides flags: names and, if none fits, files. Click writes its script (docs/scripts.md)."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import click
from click.shell_completion import CompletionItem, FishComplete, add_completion_class, shell_complete

from bench import app

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@add_completion_class
class _FishCompletion(FishComplete):
    """Click's script, corrected for values that contain commas: `vllm,llamacpp`."""

    source_template = FishComplete.source_template.replace('string split ","', 'string split --max 1 ","')


def names_of(
    what: Literal["backends", "gpus", "measures", "models", "objectives", "runs", "scenarios"],
) -> Complete:
    """Complete these names, also several separated by commas."""

    def complete(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        before, comma, last = incomplete.rpartition(",")
        known = app.compare.MEASURES if what == "measures" else app.completing.NAMES[what]()
        found = [CompletionItem(f"{before}{comma}{name}") for name in known if name.startswith(last)]
        return found or [CompletionItem(incomplete, type="file")]

    return complete


def files(_ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a file or folder, for an option that also takes other text."""
    return [CompletionItem(incomplete, type="file")]


def complete_for_shell(command: click.Command) -> bool:
    """Answer a shell that asks (by click's variable) for its script or for completions; returns whether it did."""
    program = Path(sys.argv[0]).name
    variable = f"_{program}_COMPLETE".replace("-", "_").replace(".", "_").upper()
    instruction = os.environ.get(variable)
    if not instruction:
        return False
    shell_complete(command, {}, program, variable, instruction)
    return True
