"""A sweep on a terminal: the study from flags or a file, its cells as they are measured, its page."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from analysis.present.document import Document
from bench.app import dry
from bench.app.campaign import Outcome, Runs
from bench.app.listing import folder_of
from bench.app.options import flag_of
from bench.app.sweep import dry as dry_sweeps
from bench.app.sweep import results, running
from bench.app.sweep import study as study_files
from bench.app.sweep.cells import PlannedCell
from bench.app.sweep.running import SweepPosition
from bench.app.sweep.study import Study, slug
from bench.cli.base import echo, fail_as_json, keep_secret, print_dry
from bench.cli.settings import settings
from bench.cli.view import TerminalView, progress_screen, show_result
from bench.durations import expected
from bench.process.places import as_typed
from bench.types import UserError


def sweep(given: str | None, options: dict[str, Any]) -> int:
    """Measure what is missing of a study, and write its page; returns the exit code."""
    out, as_json, quiet, is_dry = (options.pop(name) for name in ("out", "as_json", "quiet", "dry_run"))
    study, folder = _study(given, options)
    if folder is None:
        name = Path(given).stem if given else "-".join(slug(each.name) for each in study.contenders)[:60]
        folder = out or Path("results") / f"sweep-{name}"
    elif out is not None:
        raise UserError(f"--out {out}: {given} is already a sweep's folder; leave out --out")
    folder = folder.absolute()
    requests = running.requests_of(study, folder, tuple(sys.argv), settings())
    keep_secret(secret for _, request in requests.values() for secret in request.access.secrets)
    if is_dry:
        found = dry_sweeps.dry_sweep(study, folder, requests, settings())
        print_dry(dry.document(found), dry_sweeps.lines(found), as_json=as_json)
        return 0
    view, shown = _StudyView(progress_screen(quiet=quiet)), list[Document]()
    makers = Runs(view), Runs(view, with_report=False)
    swept = running.sweep(study, folder, requests, makers, view, lambda: shown.append(results.conclude(study, folder)))
    if shown:
        show_result(shown[-1], {"page": as_typed(results.page_of(folder))}, as_json=as_json, quiet=quiet)
    if any(outcome.problem is not None for outcome in swept.outcomes):
        again = f"to try again what is missing: bench.py sweep {as_typed(folder)}"
        echo(again, err=True)
        fail_as_json(again, swept.code)
    return swept.code


def _study(given: str | None, options: dict[str, Any]) -> tuple[Study, Path | None]:
    """The study, and the folder if it was given as one."""
    own = {name: options.pop(name) for name in ("backends", "concurrencies", "rates", "find_capacity", "repeats")}
    more = {name: options.pop(name) for name in ("requests_per_month", "versus")}
    if given is None:
        if own["backends"] is None:
            raise UserError(
                "expected a study (`bench.py init` writes one), or --backend with names separated by commas"
            )
        changed = {name: value for name, value in options.items() if _source(name) is not ParameterSource.DEFAULT}
        of_flags = {**own, **more, "repeats": own["repeats"] or 1, "versus": list(more["versus"])}
        return study_files.of_flags(common=changed, **of_flags), None
    # Settings for runs do not apply to a study, which has its own.
    typed = (name for name in (*own, *options) if _source(name) is ParameterSource.COMMANDLINE)
    if wrong := next((name for name in typed if name != "repeats"), None):
        raise UserError(f"{flag_of(wrong)}: the study {given} decides what is measured; set it there")
    path = Path(folder_of(given, "sweep", is_concluded=False))
    folder = path if path.is_dir() else None
    found = study_files.read_folder(path) if folder else study_files.read(path)
    changes = {name: value for name, value in {**more, "repeats": own["repeats"]}.items() if value}
    return replace(found, **changes), folder


def _source(name: str) -> ParameterSource | None:
    return click.get_current_context().get_parameter_source(name)


class _StudyView(TerminalView):
    """Shows a sweep: a line before and after each cell, with its load live in between."""

    def say(self, line: str) -> None:
        """A run's own lines are in its folder."""

    def begin(self, cell: PlannedCell, position: SweepPosition) -> None:
        """Show how far the sweep is, how long it may still take, and what was spent."""
        left = "" if position.left_s is None else f", about {expected(position.left_s)} left"
        spent = f", ${position.spent_usd:.2f} spent" if position.spent_usd else ""
        failed = f", {position.failed} failed" if position.failed else ""
        super().say(f"{position.done} of {position.cells} cells done{failed}{left}{spent}; now {cell.name}")

    def end(self, cell: PlannedCell, outcome: Outcome) -> None:
        """Report a cell that failed."""
        if outcome.problem is not None:
            super().say(f"{cell.name} {outcome.problem}")
