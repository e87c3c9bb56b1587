"""`bench.py capacity`: the highest rate at which objectives are met, found by running at one rate after another."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.base import with_options
from bench.cli.campaign import asked_of, say_ended
from bench.cli.options import ASKED, COSTS
from bench.cli.run import request_of
from bench.exit_codes import EXIT_OBJECTIVE_MISSED
from bench.types import UserError

if TYPE_CHECKING:
    from bench.app.capacity import CapacitySearch

MAX_REPEATS = 20
_LEAST_REQUESTS = 100
_HOW_FAR = ("precision", "repeats", "up_to")
_FINEST_PRECISION = 0.005  # rates have four digits


@click.command()
@with_options((*ASKED, *COSTS))
@click.option("--attainment", help="Share of requests that must keep all bounds: 95%.  [each objective's own]")
@click.option("--precision", default="5%", help="How narrow the answer is to be.  [5%]")
@click.option("--repeats", type=int, default=3, help="Runs at either end of it, with other seeds.  [3]")
@click.option("--requests", type=int, help="Of each run.  [what the strictest objective needs, or 10 s worth]")
@click.option("--concurrency", type=int, help="Of the closed loop that comes first.  [4 times the scenario's]")
@click.option("--max-in-flight", type=int, help="Limit of each run.  [1024]")
@click.option("--up-to", type=float, help="Look no higher, in requests/s.  [8 times what the closed loop completes]")
@click.option("--out", type=click.Path(path_type=Path), help="A folder; that of an earlier search goes on with it.")
def capacity(**options: Any) -> int:
    """Find the highest rate that meets the objectives.

    \b
    bench.py capacity --slo 'ttft_ms:p99<500' --slo 'tpot_ms:p90<50'
    bench.py capacity --backend vllm --model mistral-7b-awq --slo 'ttft_ms:p95<1000' --out results/my-search
    Each run has a folder of its own in --out; with the same --out an interrupted search goes on where it was.
    """
    from analysis.present.of_capacity import line
    from bench.app.campaign import Runs
    from bench.app.capacity import find
    from bench.cli.output import Screen, show, show_fact
    from bench.cli.view import TerminalView
    from bench.runs import folder as files

    search, screen = _search(options), Screen()
    view = TerminalView(screen)
    found = find(search, Runs(view), view.say, on_probe=lambda probe: view.say(line(probe)))
    if found.ended is not None:
        say_ended(screen, found.ended, search.folder)
        return found.ended.code
    assert found.capacity is not None and found.document is not None, "nothing ended the search before"
    show(screen, found.document)
    show_fact(screen, "folder", str(search.folder))
    show_fact(screen, "page", str(search.folder / files.CAPACITY_PAGE))
    return 0 if found.capacity.rate_per_s else EXIT_OBJECTIVE_MISSED


def _search(options: dict[str, Any]) -> "CapacitySearch":
    """The search that the options ask for."""
    from analysis.capacity.search import calls_needed
    from analysis.run import slo
    from bench.app.capacity import CapacitySearch
    from bench.app.options import LoadOptions, names
    from bench.plan.resolve import DEFAULT_MAX_IN_FLIGHT, MAX_CONCURRENCY, MAX_RATE_PER_S, MAX_REQUESTS, within

    if not options["slo"]:
        raise UserError("--slo: capacity is the rate at which objectives are met; give one, such as 'ttft_ms:p99<500'")
    # The name of the folder and all but the load are those of a run.
    ours = {"attainment", "precision", "repeats", "up_to", *names(LoadOptions)}
    request = request_of({name: value for name, value in options.items() if name not in ours})
    attainment = None if options["attainment"] is None else _share("--attainment", options["attainment"])
    wanted = [attainment] if attainment is not None else [slo.parse(text).share for text in options["slo"]]
    out = options["out"] or Path("results") / f"capacity-{request.out.name}"

    def given(name: str, low: float, high: float, default: Any) -> Any:
        flag = "--" + name.replace("_", "-")
        return default if options[name] is None else within(flag, options[name], low, high)

    return CapacitySearch(
        request=request,
        folder=out.absolute(),
        attainment=attainment,
        precision=within("--precision", _share("--precision", options["precision"]), _FINEST_PRECISION, 1.0),
        repeats=within("--repeats", options["repeats"], 1, MAX_REPEATS),
        requests=given("requests", 1, MAX_REQUESTS, None),
        least_requests=max(_LEAST_REQUESTS, calls_needed(wanted)),
        concurrency=given("concurrency", 1, MAX_CONCURRENCY, 4 * request.workload.scenario.concurrency),
        max_in_flight=given("max_in_flight", 1, MAX_CONCURRENCY, DEFAULT_MAX_IN_FLIGHT),
        up_to=given("up_to", 0.001, MAX_RATE_PER_S, None),
        asked=asked_of(request, options, but=_HOW_FAR),
    )


def _share(flag: str, text: str) -> float:
    """A share from `95%` or `0.95`."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise UserError(f"{flag}: expected a share between 0 and 1, such as 5% or 0.05, got {text!r}")
    return value
