"""`bench.py capacity`: the highest rate at which objectives are met, found by running at one rate after another."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench import app
from bench.cli import groups
from bench.cli.base import typed, with_options
from bench.cli.campaign import asked_of, say_ended
from bench.cli.groups import grouped
from bench.cli.numeric import NUMBER, WHOLE
from bench.cli.options import ASKED, COSTS, SHOWN
from bench.cli.run import request_of
from bench.cli.settings import Measuring
from bench.exit_codes import EXIT_OBJECTIVE_MISSED

if TYPE_CHECKING:
    from bench.app.capacity import CapacitySearch

_HOW_FAR = ("precision", "repeats", "up_to", "max_time")
_OF_A_SEARCH = (*_HOW_FAR, "attainment", "arrivals", "requests", "concurrency", "max_in_flight")


@click.command(cls=Measuring)
@with_options((*ASKED, *COSTS))
@grouped(
    groups.OBJECTIVES,
    click.option("--attainment", help="Share of requests that must meet all limits: 95%.  [each objective's own]"),
)
@grouped(
    groups.HOW_OFTEN,
    click.option("--precision", default="5%", help="Width of the answer.  [5%]"),
    click.option("--repeats", type=WHOLE, default=3, help="Runs at each end of it, with different seeds.  [3]"),
    click.option(
        "--up-to", type=NUMBER, help="Search no higher, in requests/s.  [8 times the closed loop's throughput]"
    ),
    click.option("--max-time", help="Start no run that would end later than this, such as 30m.  [no limit]"),
)
@grouped(
    groups.LOAD,
    click.option(
        "--requests", type=WHOLE, help="Requests per run.  [what the strictest objective needs, or 10 s worth]"
    ),
    click.option("--concurrency", type=WHOLE, help="Of the closed loop that runs first.  [4 times the scenario's]"),
    click.option("--arrivals", help="poisson, constant, or gamma:CV for bursts.  [poisson]"),
    click.option("--max-in-flight", type=WHOLE, help="Most requests in flight.  [1024]"),
)
@grouped(
    groups.RESULT,
    click.option("--out", type=click.Path(path_type=Path), help="Folder; that of an earlier search is continued."),
)
@with_options(SHOWN)
def capacity(**options: Any) -> int:
    """Find the highest rate that meets the objectives.

    \b
    bench.py capacity --slo 'ttft_ms:p99<500' --slo 'tpot_ms:p90<50'
    bench.py capacity --backend vllm --model mistral-7b-awq --slo 'ttft_ms:p95<1000' --out results/my-search
    Each run has a folder of its own in --out; with the same --out an interrupted search goes on where it was.
    """
    from bench.cli import output, view

    as_json, quiet = options["as_json"], options["quiet"]
    search = _search(options)
    shows = view.TerminalView(view.progress_screen(quiet=quiet))
    found = app.capacity.find(search, app.campaign.Runs(shows), shows.say)
    if found.ended is not None:
        say_ended(found.ended, search.folder)
        return found.ended.code
    assert found.capacity is not None and found.document is not None, "nothing ended the search before"
    places = {"folder": search.folder, "page": search.page}
    screen = view.show_result(found.document, places, as_json=as_json, quiet=quiet)
    if (next_step := app.what_follows.after_capacity(search.request, search.folder, found.capacity)) is not None:
        output.show_fact(screen, "next", next_step.what)
        # In one line, as a shell takes it.
        screen.print(typed(*next_step.words), soft_wrap=True, highlight=False)
    return 0 if found.capacity.rate_per_s else EXIT_OBJECTIVE_MISSED


def _search(options: dict[str, Any]) -> "CapacitySearch":
    """The search that the options ask for; the name of the folder and all but the load are those of a run."""
    ours = (*_HOW_FAR, "attainment", "as_json", "quiet", *app.options.names(app.options.LoadOptions))
    request = request_of({name: value for name, value in options.items() if name not in ours})
    asked = asked_of(request, options, but=_HOW_FAR)
    return app.capacity.search_of(request, asked, options["out"], **{name: options[name] for name in _OF_A_SEARCH})
