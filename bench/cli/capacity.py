"""`bench.py capacity`: find the highest rate that meets the objectives by running at one rate after another."""

from typing import TYPE_CHECKING, Any

import click

from bench import app
from bench.app.options import SearchOptions, names
from bench.cli import groups
from bench.cli.base import typed
from bench.cli.campaign import asked_of, say_ended
from bench.cli.options import ASKED, COSTS, SHOWN, options_of, out_option
from bench.cli.run import request_of
from bench.cli.settings import Measuring
from bench.exit_codes import EXIT_OBJECTIVE_MISSED

if TYPE_CHECKING:
    from bench.app.capacity import CapacitySearch

_HOW_FAR = ("precision", "repeats", "up_to", "max_time")


@click.command(cls=Measuring)
@groups.with_options(
    ASKED, COSTS,
    options_of(SearchOptions, groups.OBJECTIVES, {
        "attainment": "Share of requests that must meet all limits: 95%.  [each objective's own]",
    }),
    options_of(SearchOptions, groups.HOW_OFTEN, {
        "precision": "Width of the interval to narrow the answer down to.",
        "repeats": "Runs at each end of that interval, with different seeds.",
        "up_to": "Search no higher, in requests/s.  [8 times the closed loop's throughput]",
        "max_time": "Start no run that would end later than this, such as 30m.  [no limit]",
    }),
    options_of(SearchOptions, groups.LOAD, {
        "requests": "Requests per run.  [what the strictest objective needs, or 10 s worth]",
        "concurrency": "Requests in flight in the closed loop that runs first.  [4 times the scenario's]",
        "arrivals": "poisson, constant, or gamma:CV for bursts.  [poisson]",
        "max_in_flight": "At most this many requests in flight.  [1024]",
    }),
    out_option("Folder; that of an earlier search is continued."),
    SHOWN,
)  # fmt: skip
def capacity(**options: Any) -> int:
    """Find the highest rate that meets the objectives.

    \b
    bench.py capacity --slo 'ttft_ms:p99<500' --slo 'tpot_ms:p90<50'
    bench.py capacity --backend vllm --model mistral-7b-awq --slo 'ttft_ms:p95<1000' --out results/my-search
    Each run has its own folder in --out; with the same --out, an interrupted search continues.
    """
    from bench.cli import output, view

    as_json, quiet = options["as_json"], options["quiet"]
    search = _search(options)
    shows = view.TerminalView(view.progress_screen(quiet=quiet))
    found = app.capacity.find(search, app.campaign.Runs(shows), shows.say)
    if found.ended is not None:
        say_ended(found.ended, search.folder)
        return found.ended.code
    assert found.capacity is not None and found.document is not None, "nothing ended the search early"
    places = {"folder": search.folder, "page": search.page}
    screen = view.show_result(found.document, places, as_json=as_json, quiet=quiet)
    if (next_step := app.what_follows.after_capacity(search.request, search.folder, found.capacity)) is not None:
        output.show_fact(screen, "next", next_step.what)
        # On one line, to be pasted into a shell.
        screen.print(typed(*next_step.words), soft_wrap=True, highlight=False)
    return 0 if found.capacity.rate_per_s else EXIT_OBJECTIVE_MISSED


def _search(options: dict[str, Any]) -> "CapacitySearch":
    """The search that the options ask for; all but the load are options of a run."""
    ours = {name: options[name] for name in names(SearchOptions)}
    request = request_of({name: value for name, value in options.items() if name not in (*ours, "as_json", "quiet")})
    asked = asked_of(request, options, but=_HOW_FAR)
    return app.capacity.search_of(request, asked, SearchOptions(**ours), options["out"])
