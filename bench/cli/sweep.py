"""`bench.py sweep`: several contenders under several loads, one page; `bench.py init`: a study to begin with."""

from pathlib import Path
from typing import Any, Final

import click

from bench.cli import groups
from bench.cli.base import echo
from bench.cli.completion import names_of
from bench.cli.numeric import WHOLE
from bench.cli.options import ASKED, COSTS, OFFERED, SHOWN, out_option
from bench.cli.settings import Measuring

# Options of a run that a sweep takes lists of, or does not take.
_OWN: Final = ("backend", "concurrency", "rate")


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
    """Measure several contenders under several loads, and compare them on one page.

    STUDY.yaml has all settings (`bench.py init` writes one); the flags are for simple cases. Contenders take turns, and
    servers are launched once. Whatever ends it, the same command continues it; no cell is measured twice.

    \b
    bench.py init study.yaml && bench.py sweep study.yaml
    bench.py sweep --backend vllm,llamacpp --model tiny --concurrency 1,4,16 --repeats 2
    bench.py sweep study.yaml --dry-run
    Exit codes: 0 fine, 1 an objective missed, 2 nothing could begin, 3 a cell failed or is not to be trusted, 4 out of
    budget, 130 interrupted.
    """
    # Imported late: --help neither measures nor draws.
    from bench.cli import studies

    return studies.sweep(study, options)


@click.command()
@click.argument("path", type=click.Path(path_type=Path), default="study.yaml")
def init(path: Path) -> None:
    """Write a commented study to begin with.

    PATH defaults to study.yaml. Edit the file, and give it to `sweep`.

    \b
    bench.py init
    bench.py init my-study.yaml
    """
    from bench.app.sweep.study import write_template

    write_template(path)
    echo(f"{path}: edit it, then: bench.py sweep {path} --dry-run")
