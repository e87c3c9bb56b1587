"""What the commands that make several runs share: the question, and the message when a run ends them early."""

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
"""Options that may change when a command continues, because none of them changes what is measured."""


def say_ended(outcome: "Outcome", folder: Path, so_far: str = "") -> None:
    """Report which run ended the command and why, and how to continue.

    Raises UserError if the user must fix something first. `so_far` is the result by then. If JSON is still owed, the
    message goes there.
    """
    lines = [] if outcome.never_began else [f"{outcome.name} {outcome.problem}"]
    if folder.exists():
        lines.append(f"{so_far and f'{so_far}; '}to continue, repeat the command with --out {folder}")
    for line in lines:
        echo(line, err=True)
    outcome.raise_if_it_never_began()
    fail_as_json("; ".join(lines), outcome.code)


def asked_of(request: "RunRequest", options: Mapping[str, Any], but: Collection[str] = ()) -> dict[str, Any]:
    """The whole question, by flag name: a command that continues must ask the same, except for `but`."""
    asked = {name: value for name, value in options.items() if name not in (*MAY_DIFFER, *but)}
    asked |= {
        "server_args": asked.pop("server_arg"),
        "url": request.url and shown(request.url),
        "lengths": asdict(request.workload.scenario),
        "options": dict(request.wording),
        "pricing": request.costs.asked(),
    }
    return {name: plain(value, shown) for name, value in asked.items()}
