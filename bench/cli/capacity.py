"""`bench.py capacity`: the highest rate at which objectives are met, found by running at one rate after another."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bench.cli.base import (
    EXIT_INTERRUPTED,
    EXIT_NOT_TO_BE_TRUSTED,
    EXIT_OBJECTIVE_MISSED,
    EXIT_OUT_OF_BUDGET,
    shown,
    with_options,
)
from bench.cli.pricing import COSTS, shared
from bench.cli.results import results
from bench.cli.run import ASKED, observe
from bench.cli.settings import LOAD_OPTIONS
from bench.cli.settings import settings as settings_of
from bench.types import Load, UserError

if TYPE_CHECKING:
    from analysis.capacity import Capacity, Probe
    from analysis.capacity_page import LoadPoint
    from bench.launch import Server
    from bench.run import Settings
    from bench.screen import Screen

CLOSED_LOOP = "closed-loop"
CAPACITY = "capacity.json"
PAGE = "capacity.html"
MAX_REPEATS = 20
_LEAST_SECONDS = 10
_FINEST_PRECISION = 0.005  # rates have four digits


@click.command()
@with_options((*ASKED, *COSTS))
@click.option("--attainment", help="Share of requests that must keep all bounds: 95%.  [each objective's own]")
@click.option("--precision", default="5%", help="How narrow the answer is to be.  [5%]")
@click.option("--repeats", type=int, default=3, help="Runs at either end of it, with other seeds.  [3]")
@click.option("--requests", type=int, help="Of each run.  [what the strictest objective needs, or 10 s worth]")
@click.option("--concurrency", type=int, help="Of the closed loop that comes first.  [4 times the scenario's]")
@click.option("--max-in-flight", type=int, help="Limit of each run.  [1024]")
@click.option("--out", type=click.Path(path_type=Path), help="A folder; that of an earlier search goes on with it.")
def capacity(**options: Any) -> int:
    """Find the highest rate that meets the objectives.

    \b
    bench.py capacity --slo 'ttft_ms:p99<500' --slo 'tpot_ms:p90<50'
    bench.py capacity --backend vllm --model mistral-7b-awq --slo 'ttft_ms:p95<1000' --out results/my-search
    Each run has a folder of its own in --out; with the same --out an interrupted search goes on where it was.
    """
    from bench import folder as files
    from bench.run import launched
    from bench.screen import Screen

    search, screen = _search(options), Screen()
    _begin(search)
    with ExitStack() as stack:
        server = None
        if search.settings.url is None:
            log = search.folder / files.SERVER_LOG
            # With as many slots as its closed loop has requests in flight.
            settings = replace(search.settings, load=_closed_loop(search))
            server = stack.enter_context(launched(settings, screen.print, log))
        code = _look(search, screen, server)
    if code:
        screen.print(f"the search can go on: the same command with --out {search.folder}", soft_wrap=True)
        return code
    found = _write(search)
    _write_page(search, found)
    screen.print(f"capacity  {_in_words(found)}", soft_wrap=True)
    screen.print(f"folder    {search.folder}", soft_wrap=True)
    screen.print(f"page      {search.folder / PAGE}", soft_wrap=True)
    return 0 if found.rate_per_s else EXIT_OBJECTIVE_MISSED


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for, and the folder of its runs, in which everything that was found is kept."""

    settings: "Settings"
    folder: Path
    attainment: float | None
    precision: float
    repeats: int
    requests: int | None
    least_requests: int
    concurrency: int
    max_in_flight: int | None


def _search(options: dict[str, Any]) -> Search:
    from analysis import slo
    from analysis.capacity import calls_needed
    from bench.resolve import within

    if not options["slo"]:
        raise UserError("--slo: capacity is the rate at which objectives are met; give one, such as 'ttft_ms:p99<500'")
    # The name of the folder and all but the load are those of a run.
    not_ours = {**dict.fromkeys(LOAD_OPTIONS), "batch": False, "dry_run": False, "web_port": None}
    settings = settings_of({**options, **not_ours})
    attainment = None if options["attainment"] is None else _share("--attainment", options["attainment"])
    wanted = [attainment] if attainment is not None else [slo.parse(text).share for text in options["slo"]]
    out = options["out"] or Path("results") / f"capacity-{settings.out.name}"
    return Search(
        settings=settings,
        folder=out.absolute(),
        attainment=attainment,
        precision=within("--precision", _share("--precision", options["precision"]), _FINEST_PRECISION, 1.0),
        repeats=within("--repeats", options["repeats"], 1, MAX_REPEATS),
        requests=options["requests"],
        least_requests=calls_needed(wanted),
        concurrency=options["concurrency"] or 4 * settings.scenario.concurrency,
        max_in_flight=options["max_in_flight"],
    )


def _begin(search: Search) -> None:
    """Make the folder, or find that of the same search."""
    from bench import folder as files

    try:
        search.folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f"--out {search.folder}: {problem.strerror}; choose a folder that can be written") from None
    asked = _asked(search)
    path = search.folder / CAPACITY
    if path.exists():
        before = files.read_json(search.folder, CAPACITY)["asked"]
        if differing := [name for name in asked if before.get(name) != asked[name]]:
            raise UserError(f"--out {search.folder}: holds a search with other {', '.join(differing)}; choose another")
    elif any(search.folder.iterdir()):
        raise UserError(f"--out {search.folder}: expected a new or empty folder, or one of an earlier search")
    else:
        files.write_json(path, {"schema": files.SCHEMA, "asked": asked})


def _asked(search: Search) -> dict[str, Any]:
    settings = search.settings
    return {
        "backend": settings.backend.name,
        "model": settings.model_name,
        "scenario": settings.scenario.name,
        "slo": list(settings.slo),
        "attainment": search.attainment,
        "seed": settings.seed,
        "url": settings.url and shown(settings.url),
        "options": dict(settings.options),
        "server_args": list(map(shown, settings.server_args)),
    }


def _look(search: Search, screen: "Screen", server: "Server | None") -> int:
    """Run until the answer is found; returns the exit code of a search that ended before."""
    from analysis.capacity import next_probe
    from bench.resolve import resolve_load

    scenario = search.settings.scenario
    if code := _doubted(search, screen):
        return code
    if code := _run(search, CLOSED_LOOP, _closed_loop(search), 0, screen, server):
        return code
    completed_per_s = _closed_loop_rps(search)
    if not completed_per_s:
        raise UserError(f"no request succeeded in {search.folder / CLOSED_LOOP}; its report says why")
    probes = _probes(search)
    while wanted := next_probe(probes, completed_per_s, search.precision, search.repeats):
        # Whole enough to be read; runs are found again by it.
        rate, repeat = float(f"{wanted[0]:.4g}"), wanted[1]
        requests = search.requests or max(search.least_requests, round(rate * _LEAST_SECONDS))
        load = resolve_load(scenario, rate=rate, requests=requests, max_in_flight=search.max_in_flight)
        name = f"rate-{rate:g}-{repeat}"
        if code := _run(search, name, load, repeat, screen, server):
            return code
        probes = _probes(search)
        screen.print(_line(next(probe for probe in probes if probe.folder == name)))
    return 0


def _closed_loop(search: Search) -> Load:
    from bench.resolve import resolve_load

    requests = max(64, 4 * search.concurrency)
    return resolve_load(search.settings.scenario, concurrency=search.concurrency, requests=requests)


def _run(search: Search, name: str, load: Load, repeat: int, screen: "Screen", server: "Server | None") -> int:
    """One run of the search, unless it is there already; returns the exit code where it did not come to its end."""
    from bench import folder as files
    from bench.offer import BY_BUDGET, INTERRUPTED

    out = search.folder / name
    if (out / files.SUMMARY).exists():
        return 0
    if out.exists():
        _put_aside(out)
    budget = shared(search.settings.budget, search.folder)
    settings = replace(search.settings, load=load, out=out, seed=search.settings.seed + repeat, budget=budget)
    stopped = observe(settings, screen, server)
    if stopped is None:
        results(out)
        return _doubted(search, screen)
    if stopped in BY_BUDGET:
        return EXIT_OUT_OF_BUDGET
    return EXIT_INTERRUPTED if stopped.startswith(INTERRUPTED) else EXIT_NOT_TO_BE_TRUSTED


def _put_aside(out: Path) -> None:
    """Rename what an interrupted search has left of a run: of no use to this one, but what it spent counts."""
    number = 1
    while (aside := out.with_name(f"interrupted-{number}-{out.name}")).exists():
        number += 1
    out.rename(aside)


def _doubted(search: Search, screen: "Screen") -> int:
    """Give the exit code that ends a search one of whose runs is wrong; where nothing succeeded a rate was missed."""
    from bench import folder as files
    from bench.screen import print_verdict

    for path in sorted(search.folder.glob(f"*/{files.SUMMARY}")):
        summary = files.read_json(path.parent, files.SUMMARY)
        if summary["verdict"]["status"] == "invalid" and summary["requests"]["succeeded"]:
            screen.print(f"{path.parent.name} is not to be trusted; remove its folder to run it again", soft_wrap=True)
            print_verdict(screen, summary["verdict"])
            return EXIT_NOT_TO_BE_TRUSTED
    return 0


def _closed_loop_rps(search: Search) -> float:
    from bench import folder as files

    summary = files.read_json(search.folder / CLOSED_LOOP, files.SUMMARY)
    return summary["throughput"]["requests_per_s"] or 0.0


def _probes(search: Search) -> "list[Probe]":
    """Read the runs of a search, by rate and repeat."""
    from analysis.capacity import probe
    from bench import folder as files

    found = []
    for path in sorted(search.folder.glob(f"rate-*/{files.SUMMARY}")):
        name = path.parent.name
        rate_per_s = files.read_json(path.parent, files.RUN)["load"]["rate_per_s"]
        summary = files.read_json(path.parent, files.SUMMARY)
        found.append(probe(summary, rate_per_s, int(name.rpartition("-")[2]), search.attainment, name))
    return sorted(found)


def _write(search: Search) -> "Capacity":
    """Write what was found into capacity.json."""
    from analysis.capacity import capacity as judge
    from bench import folder as files

    runs = _probes(search)
    found = judge(runs)
    content = {
        "schema": files.SCHEMA,
        "asked": _asked(search),
        "capacity": found._asdict(),
        "closed_loop_rps": _closed_loop_rps(search),
        "probes": [{**run._asdict(), "outcome": run.outcome, "is_sure": run.is_sure} for run in runs],
    }
    files.write_json(search.folder / CAPACITY, content)
    return found


def _write_page(search: Search, found: "Capacity") -> None:
    """Write capacity.html: what was found, with its figures."""
    from analysis import capacity_page
    from bench import folder as files

    asked, pricing = _asked(search), search.settings.pricing or {}
    usd_per_hour = pricing.get("usd_per_hour")
    page = capacity_page.render(
        capacity_page.Found(
            runs=[_load_point(search, run) for run in _probes(search)],
            capacity=found,
            usd_per_hour=None if usd_per_hour is None else Decimal(usd_per_hour),
        ),
        title=f"Capacity of {asked['model']} on {asked['backend']}, scenario {asked['scenario']}",
        asked=f"Objectives: {', '.join(asked['slo'])}.",
        answer=f"Capacity: {_in_words(found)}.",
    )
    files.write_text(search.folder / PAGE, page)


def _load_point(search: Search, run: "Probe") -> "LoadPoint":
    from analysis.capacity_page import LoadPoint
    from analysis.wording import metric
    from bench import folder as files

    summary = files.read_json(search.folder / run.folder, files.SUMMARY)
    return LoadPoint(
        rate_per_s=run.rate_per_s,
        outcome=run.outcome,
        completed_per_s=run.completed_per_s,
        goodput_rps=summary["throughput"]["goodput_rps"],
        ttft_ms_p50=metric(summary, "ttft_ms", "p50"),
        ttft_ms_p99=metric(summary, "ttft_ms", "p99"),
    )


def _line(probe: "Probe") -> str:
    pairs = zip(probe.kept, probe.wanted, strict=True)
    shares = ", ".join(f"{kept / probe.calls:.1%} kept, {wanted:.1%} wanted" for kept, wanted in pairs)
    sure = "" if probe.is_sure else ", not sure"
    return f"{probe.rate_per_s:g} requests/s: {probe.outcome}{sure} ({shares}; {probe.completed_per_s:.3g}/s completed)"


def _in_words(found: "Capacity") -> str:
    if not found.rate_per_s:
        return f"none: {found.reason}"
    high = "?" if found.high_per_s is None else f"{found.high_per_s:g}"
    sure = f"{found.low_per_s:g} surely meets the objectives, {high} does not"
    return f"{found.rate_per_s:g} requests/s ({sure}; {found.reason})"


def _share(flag: str, text: str) -> float:
    """A share from `95%` or `0.95`."""
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = -1.0
    if not 0 < value < 1:
        raise UserError(f"{flag}: expected a share between 0 and 1, such as 5% or 0.05, got {text!r}")
    return value
