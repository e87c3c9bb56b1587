"""`bench.py capacity`: the highest rate at which objectives are met, found by running at one rate after another."""

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.app.results import code_of_stop, summarise
from bench.app.run import observe
from bench.cli.base import shown, with_options
from bench.cli.options import ASKED, COSTS
from bench.cli.run import request_of
from bench.cli.view import TerminalView
from bench.exit_codes import EXIT_NOT_TO_BE_TRUSTED, EXIT_OBJECTIVE_MISSED
from bench.types import Load, UserError

if TYPE_CHECKING:
    from analysis.capacity.search import Capacity, Limits, Probe
    from analysis.present.document import Document
    from analysis.present.of_capacity import LoadPoint
    from bench.app.request import RunRequest
    from bench.cli.output import Screen
    from bench.load.controller import Progress
    from bench.server.launch import Server

CLOSED_LOOP = "closed-loop"
CAPACITY = "capacity.json"
PAGE = "capacity.html"
MAX_REPEATS = 20
FALLS_BEHIND = "the server falls behind"
"""Why a run of a search ends early, which is what it was to find out."""

_LEAST_REQUESTS = 100
# A run most of whose calls failed is no measurement of their times, and says all the same that its rate is too high.
_MISSES = {"nothing_succeeded", "mostly_failed"}
_HOW_FAR = {"precision", "repeats", "up_to", "max_usd", "out", "port", "ready_timeout"}
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
    from bench.app.run import launched
    from bench.cli.output import Screen, show, show_fact
    from bench.runs import folder as files

    search, screen = _search(options), Screen()
    _begin(search)
    with ExitStack() as stack:
        server = None
        if search.request.url is None:
            log = search.folder / files.SERVER_LOG
            # With as many slots as its closed loop has requests in flight.
            request = search.request
            request = replace(request, workload=replace(request.workload, load=_closed_loop(search)))
            server = stack.enter_context(launched(request, TerminalView(screen).say, log))
        code = _look(search, screen, server)
    if code:
        screen.print(f"the search can go on: the same command with --out {search.folder}", soft_wrap=True)
        return code
    found = _write(search)
    show(screen, _write_page(search, found))
    show_fact(screen, "folder", str(search.folder))
    show_fact(screen, "page", str(search.folder / PAGE))
    return 0 if found.rate_per_s else EXIT_OBJECTIVE_MISSED


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for, and the folder of its runs, in which everything that was found is kept."""

    request: "RunRequest"
    folder: Path
    attainment: float | None
    precision: float
    repeats: int
    requests: int | None
    least_requests: int
    concurrency: int
    max_in_flight: int
    up_to: float | None
    asked: Mapping[str, Any]


def _search(options: dict[str, Any]) -> Search:
    from analysis.capacity.search import calls_needed
    from analysis.run import slo
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

    return Search(
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
        asked=_asked(request, options),
    )


def _begin(search: Search) -> None:
    """Make the folder, or find that of the same search."""
    from bench.runs import folder as files

    try:
        search.folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f"--out {search.folder}: {problem.strerror}; choose a folder that can be written") from None
    path = search.folder / CAPACITY
    if path.exists():
        before, now = files.read_json(search.folder, CAPACITY).get("asked", {}), search.asked
        if differing := sorted(name for name in {*before, *now} if before.get(name) != now.get(name)):
            raise UserError(f"--out {search.folder}: holds a search with other {', '.join(differing)}; choose another")
    elif any(search.folder.iterdir()):
        raise UserError(f"--out {search.folder}: expected a new or empty folder, or one of an earlier search")
    else:
        files.write_json(path, {"schema": files.SCHEMA, "asked": search.asked})


def _asked(request: "RunRequest", options: dict[str, Any]) -> dict[str, Any]:
    """Give all that was asked, as capacity.json holds it: runs that were asked for otherwise are of another search.

    But for how far a search goes, which can be asked of one that is there already.
    """
    pricing = {name: value for name, value in (request.costs.section or {}).items() if name != "max_usd"}
    asked = {name: value for name, value in options.items() if name not in _HOW_FAR}
    asked |= {
        "server_args": asked.pop("server_arg"),
        "url": request.url and shown(request.url),
        "lengths": asdict(request.workload.scenario),
        "options": dict(request.wording),
        "pricing": pricing,
    }
    plain: dict[str, Any] = _plain(asked)
    return plain


def _plain(value: Any) -> Any:
    """Give what JSON holds of a value and gives back the same, without secrets."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return list(map(_plain, value))
    return value if value is None or isinstance(value, bool | int | float) else shown(str(value))


def _look(search: Search, screen: "Screen", server: "Server | None") -> int:
    """Run until the answer is found; returns the exit code of a search that ended before."""
    from analysis.capacity.search import next_probe, requests_for, service_seen_s
    from analysis.present.of_capacity import line
    from bench.plan.resolve import resolve_load

    scenario = search.request.workload.scenario
    if code := _doubted(search, screen):
        return code
    if code := _run(search, CLOSED_LOOP, _closed_loop(search), 0, screen, server):
        return code
    limits, probes = _limits(search), _probes(search)
    while wanted := next_probe(probes, limits):
        rate, repeat = wanted
        service_s = service_seen_s(probes, limits.service_s)
        requests = search.requests or requests_for(rate, search.least_requests, service_s)
        load = resolve_load(scenario, rate=rate, requests=requests, max_in_flight=search.max_in_flight)
        name = f"rate-{rate:g}-{repeat}"
        if code := _run(search, name, load, repeat, screen, server, service_s):
            return code
        probes = _probes(search)
        screen.print(line(next(probe for probe in probes if probe.folder == name)), soft_wrap=True)
    return 0


def _closed_loop(search: Search) -> Load:
    from bench.plan.resolve import resolve_load

    requests = max(64, 4 * search.concurrency)
    return resolve_load(search.request.workload.scenario, concurrency=search.concurrency, requests=requests)


def _run(
    search: Search,
    name: str,
    load: Load,
    repeat: int,
    screen: "Screen",
    server: "Server | None",
    service_s: float | None = None,
) -> int:
    """One run of the search, unless it is there already; returns the exit code where it did not come to its end.

    With the time that answers take it comes to its end as soon as it is sure that the server falls behind.
    """
    from bench.runs import folder as files

    out = search.folder / name
    if (out / files.SUMMARY).exists():
        return 0
    if out.exists():
        _put_aside(out)
    request = search.request.one_of(search.folder, name, load, search.request.workload.seed + repeat)
    stopped = observe(request, TerminalView(screen), server, _stop(service_s))
    if stopped in (None, FALLS_BEHIND):
        summarise(out)
        return _doubted(search, screen)
    return code_of_stop(stopped)


def _stop(service_s: float | None) -> "Callable[[Progress], str | None]":
    """Give what ends a load once the server surely falls behind; without the time of an answer nothing does."""
    from analysis.capacity.probing import Watch

    if service_s is None:
        return lambda _: None
    watch = Watch(service_s)

    def stop(progress: "Progress") -> str | None:
        due = progress.sent + progress.waiting + progress.dropped
        behind = watch.falls_behind(progress.elapsed_s or 0.0, due, progress.done + progress.dropped)
        return FALLS_BEHIND if behind else None

    return stop


def _put_aside(out: Path) -> None:
    """Rename what an interrupted search has left of a run: of no use to this one, but what it spent counts."""
    number = 1
    while (aside := out.with_name(f"interrupted-{number}-{out.name}")).exists():
        number += 1
    out.rename(aside)


def _doubted(search: Search, screen: "Screen") -> int:
    """Give the exit code that ends a search one of whose runs is wrong; where most calls failed a rate was missed."""
    from analysis.present.document import judged
    from analysis.wording import VERDICTS
    from bench.cli.output import show_headline
    from bench.runs import folder as files

    for path in sorted(search.folder.glob(f"*/{files.SUMMARY}")):
        summary = files.read_json(path.parent, files.SUMMARY)
        codes = {reason["code"] for reason in summary["verdict"]["reasons"]}
        if summary["verdict"]["status"] == "invalid" and not codes & _MISSES:
            screen.print(f"{path.parent.name} is not to be trusted; remove its folder to run it again", soft_wrap=True)
            show_headline(screen, judged(summary["verdict"], VERDICTS[summary["verdict"]["status"]]))
            return EXIT_NOT_TO_BE_TRUSTED
    return 0


def _limits(search: Search) -> "Limits":
    """How far the search goes, and from where. Raises UserError where nobody was served in the closed loop."""
    from analysis.capacity.probing import of_closed_loop
    from analysis.capacity.search import Limits
    from bench.runs.records import read_requests

    found = of_closed_loop(read_requests(search.folder / CLOSED_LOOP))
    if found is None:
        raise UserError(f"no request succeeded in {search.folder / CLOSED_LOOP}; its report says why")
    return Limits(search.precision, search.repeats, *found, search.up_to, search.max_in_flight)


def _probes(search: Search) -> "list[Probe]":
    """Read the runs of a search, by rate and repeat."""
    from bench.runs import folder as files

    slo, attainment = search.request.slo, search.attainment
    found = [_probe(path.parent, slo, attainment) for path in search.folder.glob(f"rate-*/{files.SUMMARY}")]
    return sorted(found, key=lambda probe: (probe.rate_per_s, probe.repeat))


@cache
def _probe(folder: Path, slos: tuple[str, ...], attainment: float | None) -> "Probe":
    """Read one run, which stays as it is."""
    from analysis.capacity.probing import probe, read
    from analysis.run import slo
    from bench.runs import folder as files
    from bench.runs.records import read_requests

    run, objectives = files.read_json(folder, files.RUN), [slo.parse(text) for text in slos]
    wanted = [objective.share for objective in objectives] if attainment is None else [attainment]
    return probe(
        read(read_requests(folder), objectives, all_at_once=attainment is not None),
        wanted,
        rate_per_s=run["load"]["rate_per_s"],
        repeat=int(folder.name.rpartition("-")[2]),
        folder=folder.name,
        stopped=run["stopped"] == FALLS_BEHIND,
    )


def _write(search: Search) -> "Capacity":
    """Write what was found into capacity.json."""
    from analysis.capacity.search import capacity as judge
    from bench.runs import folder as files

    runs, limits = _probes(search), _limits(search)
    found = judge(runs, limits)
    content = {
        "schema": files.SCHEMA,
        "asked": search.asked,
        "capacity": found._asdict(),
        "closed_loop_rps": limits.closed_loop_rps,
        "probes": [{**run._asdict(), "outcome": run.outcome, "is_sure": run.is_sure} for run in runs],
    }
    files.write_json(search.folder / CAPACITY, content)
    return found


def _write_page(search: Search, found: "Capacity") -> "Document":
    """Write capacity.html: what was found, with its figures; gives it without them."""
    from analysis.present import to_html
    from analysis.present.capacity_figures import sections
    from analysis.present.of_capacity import Found, document
    from bench.runs import folder as files

    asked, pricing = search.asked, search.request.costs.section or {}
    usd_per_hour = pricing.get("usd_per_hour")
    shown = Found(
        runs=[_load_point(search, run) for run in _probes(search)],
        capacity=found,
        usd_per_hour=None if usd_per_hour is None else Decimal(usd_per_hour),
    )
    of = f"{asked['model']} on {asked['backend']}, scenario {asked['scenario']}"
    page = document(shown, of=of, objectives=asked["slo"], figures=sections(shown))
    files.write_text(search.folder / PAGE, to_html.render(page))
    return page


def _load_point(search: Search, run: "Probe") -> "LoadPoint":
    from analysis.present.of_capacity import LoadPoint
    from analysis.wording import metric
    from bench.runs import folder as files

    summary = files.read_json(search.folder / run.folder, files.SUMMARY)
    return LoadPoint(
        rate_per_s=run.rate_per_s,
        outcome=run.outcome,
        completed_per_s=run.completed_per_s,
        goodput_rps=summary["throughput"]["goodput_rps"],
        ttft_ms_p50=metric(summary, "ttft_ms", "p50"),
        ttft_ms_p99=metric(summary, "ttft_ms", "p99"),
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
