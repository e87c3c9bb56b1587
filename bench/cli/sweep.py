"""`bench.py sweep`: several contenders under several loads, one page; `bench.py init`: a study to begin with."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from bench import app
from bench.cli import groups
from bench.cli.base import echo, fail_as_json, keep_secret, print_dry
from bench.cli.completion import names_of
from bench.cli.numeric import WHOLE
from bench.cli.options import ASKED, COSTS, OFFERED, SHOWN, out_option
from bench.cli.settings import Measuring, settings
from bench.durations import expected
from bench.process.places import as_typed
from bench.types import UserError

if TYPE_CHECKING:
    from bench.app.campaign import Outcome
    from bench.app.sweep.cells import PlannedCell
    from bench.app.sweep.running import CellRequests, SweepPosition
    from bench.app.sweep.study import Study

# Options of a run of which a sweep takes several, or none.
_OWN = ("backend", "concurrency", "rate")


@click.command(cls=Measuring)
@click.argument("study", required=False, metavar="[STUDY.yaml|FOLDER]", shell_complete=names_of("runs"))
@groups.with_options(
    groups.under(groups.WHOM, {
        "backends": click.option(
            "--backend",
            "backends",
            shell_complete=names_of("backends"),
            help="Several with commas: vllm,llamacpp,claude:claude-haiku-4-5.",
        ),
    }),
    groups.under(groups.LOAD, {
        "concurrencies": click.option("--concurrency", "concurrencies", help="Several with commas: 1,4,16,64."),
        "rates": click.option("--rate", "rates", help="Several with commas, in requests/s: 1,2,4."),
        "find_capacity": click.option(
            "--find-capacity", is_flag=True, help="Also find the highest rate that meets the objectives."
        ),
    }),
    groups.under(groups.HOW_OFTEN, {
        "repeats": click.option("--repeats", type=WHOLE, help="Runs per cell.  [1, or as the study says]"),
        "dry_run": click.option("--dry-run", is_flag=True, help="Print cells, time and cost; send nothing."),
    }),
    groups.under(groups.COST, {
        "requests_per_month": click.option("--requests-per-month", type=WHOLE, help="Your volume, for the bills."),
        "versus": click.option(
            "--versus", multiple=True, metavar="MODEL", help="Another API for the bills; repeatable."
        ),
    }),
    {name: option for name, option in {**ASKED, **COSTS, **OFFERED}.items() if name not in _OWN},
    out_option("Folder; that of an earlier sweep is continued."),
    SHOWN,
)  # fmt: skip
def sweep(study: str | None, **options: Any) -> int:
    """Measure several contenders under several loads, and write one page that settles it.

    STUDY.yaml has all of it (`bench.py init` writes one); the flags are for simple cases. Contenders take turns, and
    servers are launched once. Whatever ends it, the same command goes on; no cell is measured twice.

    \b
    bench.py init study.yaml && bench.py sweep study.yaml
    bench.py sweep --backend vllm,llamacpp --model tiny --concurrency 1,4,16 --repeats 2
    bench.py sweep study.yaml --dry-run
    Exit codes: 0 fine, 1 an objective missed, 2 nothing could begin, 3 a cell failed or is not to be trusted, 4 out of
    budget, 130 interrupted.
    """
    from bench.app.sweep.running import requests_of
    from bench.app.sweep.study import slug

    out, as_json, quiet, dry = (options.pop(name) for name in ("out", "as_json", "quiet", "dry_run"))
    asked, folder = _study(study, options)
    if folder is None:
        name = Path(study).stem if study else "-".join(slug(each.name) for each in asked.contenders)[:60]
        folder = out or Path("results") / f"sweep-{name}"
    elif out is not None:
        raise UserError(f"--out {out}: {study} is a sweep's folder already; leave --out out")
    folder = folder.absolute()
    requests = requests_of(asked, folder, tuple(sys.argv), settings())
    keep_secret(secret for _, request in requests.values() for secret in request.access.secrets)
    if dry:
        from bench.app.sweep.dry import dry_sweep, lines

        found = dry_sweep(asked, folder, requests, settings())
        print_dry(app.dry.document(found), lines(found), as_json=as_json)
        return 0
    return _sweep(asked, folder, requests, as_json=as_json, quiet=quiet)


def _study(given: str | None, options: dict[str, Any]) -> "tuple[Study, Path | None]":
    """The study, and the folder where it was named by that."""
    from dataclasses import replace

    from bench.app.sweep import study as studies

    own = {name: options.pop(name) for name in ("backends", "concurrencies", "rates", "find_capacity", "repeats")}
    more = {name: options.pop(name) for name in ("requests_per_month", "versus")}
    if given is None:
        if own["backends"] is None:
            raise UserError("give a study (`bench.py init` writes one), or --backend with names and commas between")
        backends, concurrencies, rates = (own[name] for name in ("backends", "concurrencies", "rates"))
        changed = {name: value for name, value in options.items() if _is_given(name)}
        found = studies.of_flags(
            backends, concurrencies, rates, changed, find_capacity=own["find_capacity"],
            repeats=own["repeats"] or 1, versus=list(more["versus"]), requests_per_month=more["requests_per_month"],
        )  # fmt: skip
        return found, None
    if wrong := [name for name in (*own, *options) if name != "repeats" and _is_given(name, by_flag=True)]:
        raise UserError(f"--{wrong[0].replace('_', '-')}: {given} says what is measured; write it there")
    path = Path(app.listing.folder_of(given, "sweep", is_concluded=False))
    folder = path if path.is_dir() else None
    found = studies.read_folder(path) if folder else studies.read(path)
    changes = {name: value for name, value in {**more, "repeats": own["repeats"]}.items() if value}
    return replace(found, **changes), folder


def _is_given(name: str, *, by_flag: bool = False) -> bool:
    """Whether somebody said it; what variables and files say of runs is not meant for a study, which has its own."""
    source = click.get_current_context().get_parameter_source(name)
    if by_flag:
        return source is click.core.ParameterSource.COMMANDLINE
    return source is not click.core.ParameterSource.DEFAULT


def _sweep(study: "Study", folder: Path, requests: "CellRequests", *, as_json: bool, quiet: bool) -> int:
    from bench.app.campaign import Runs
    from bench.app.sweep import results, running
    from bench.cli.view import show_result

    view = _View(quiet=quiet)
    shown: list[Any] = []
    makers = Runs(view), Runs(view, with_report=False)
    swept = running.sweep(study, folder, requests, makers, view, lambda: shown.append(results.conclude(study, folder)))
    if shown:
        show_result(shown[-1], {"page": as_typed(results.page_of(folder))}, as_json=as_json, quiet=quiet)
    if any(outcome.problem is not None for outcome in swept.outcomes):
        again = f"what is missing is tried again by: bench.py sweep {as_typed(folder)}"
        echo(again, err=True)
        fail_as_json(again, swept.code)
    return swept.code


def report_study(folder: Path, form: Literal["html", "markdown", "json", "csv"], alone: Path | None) -> None:
    """Write the page of a study again, or print what its cells say."""
    from analysis.present import to_html
    from bench.app.sweep import results, study
    from bench.cli.output import deliver

    asked = study.read_folder(folder)
    if form != "html":
        deliver(results.described(asked, folder), "csv" if form == "csv" else "markdown", as_json=form == "json")
    elif alone is not None:
        app.compare.write("--html", alone, to_html.render(results.described(asked, folder)).encode())
        echo(str(alone))
    else:
        results.conclude(asked, folder)
        echo(str(results.page_of(folder)))


class _View:
    """Shows a sweep: a line for each cell before and after it, its load live in between."""

    def __init__(self, *, quiet: bool) -> None:
        from bench.cli.view import TerminalView, progress_screen

        self._inner = TerminalView(progress_screen(quiet=quiet))
        self.load = self._inner.load

    def say(self, line: str) -> None:
        """A run's own lines are in its folder."""

    def begin(self, cell: "PlannedCell", position: "SweepPosition") -> None:
        """Say how far it is, how long it may take yet, and what was spent."""
        left = "" if position.left_s is None else f", about {expected(position.left_s)} left"
        spent = f", ${position.spent_usd:.2f} spent" if position.spent_usd else ""
        failed = f", {position.failed} failed" if position.failed else ""
        self._inner.say(f"{position.done} of {position.cells} cells done{failed}{left}{spent}; now {cell.name}")

    def end(self, cell: "PlannedCell", outcome: "Outcome") -> None:
        """Say what became of a cell that failed."""
        if outcome.problem is not None:
            self._inner.say(f"{cell.name} {outcome.problem}")


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default="study.yaml")
def init(path: Path) -> None:
    """Write a commented study to begin with.

    PATH is study.yaml unless it is given. Change the file, and give it to `sweep`.

    \b
    bench.py init
    bench.py init my-study.yaml
    """
    from bench.app.compare import check_folder_of
    from bench.app.sweep.study import TEMPLATE

    check_folder_of("PATH", path)
    if path.exists():
        raise UserError(f"{path}: is there already; choose another name")
    path.write_text(TEMPLATE, encoding="utf-8")
    echo(f"{path}: change it, then: bench.py sweep {path} --dry-run")
