"""What the commands that make several runs share: what was asked, and what is said where a run ends them early."""

from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.app.options import plain
from bench.cli.base import echo, fail_as_json, shown

if TYPE_CHECKING:
    from bench.app.campaign import Outcome
    from bench.app.request import RunRequest


MAY_DIFFER = ("max_usd", "out", "port", "ready_timeout", "locust_web", "as_json", "quiet")
"""What a command may ask otherwise when it goes on: none of it changes what is measured."""


def say_ended(outcome: "Outcome", folder: Path, so_far: str = "") -> None:
    """Say which run ended the command and why, and how to go on; raises UserError where the user has something to mend.

    `so_far` is what is known by then. Where JSON is still owed, this is what it says.
    """
    lines = [] if outcome.never_began else [f"{outcome.name} {outcome.problem}"]
    if folder.exists():
        lines.append(f"{so_far and f'{so_far}; '}it can go on: the same command with --out {folder}")
    for line in lines:
        echo(line, err=True)
    outcome.raise_if_it_never_began()
    fail_as_json("; ".join(lines), outcome.code)


def asked_of(request: "RunRequest", options: Mapping[str, Any], but: Collection[str] = ()) -> dict[str, Any]:
    """Give all that was asked, by the names of the flags: whoever goes on must ask the same, `but` for these."""
    asked = {name: value for name, value in options.items() if name not in (*MAY_DIFFER, *but)}
    asked |= {
        "server_args": asked.pop("server_arg"),
        "url": request.url and shown(request.url),
        "lengths": asdict(request.workload.scenario),
        "options": dict(request.wording),
        "pricing": request.costs.asked(),
    }
    return {name: plain(value, shown) for name, value in asked.items()}
