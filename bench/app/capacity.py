"""Find the highest rate that meets the objectives by running at one rate after another."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from analysis.capacity.outlook import rates_left
from analysis.capacity.probing import Bound, LoadWatch, bounds, of_closed_loop, probe, read
from analysis.capacity.search import (
    Capacity,
    Limits,
    Probe,
    calls_spent,
    next_probe,
    rounded,
    service_seen_s,
)
from analysis.capacity.search import capacity as judge
from analysis.present.capacity_figures import sections
from analysis.present.document import Document
from analysis.present.of_capacity import CapacityResult, LoadPoint, document, line
from analysis.run import slo
from analysis.run import summary as summaries
from analysis.run.summary import RunSummary
from analysis.wording import count, number, percent
from bench import numeric
from bench.app.around import share_library, write_page
from bench.app.campaign import Campaign, Maker, Outcome, begun, check_began, is_done, make_run
from bench.app.options import SearchOptions, flag_of
from bench.app.pace import RunPace
from bench.app.probe_loads import ProbeLoads, Shape, shape_of
from bench.app.request import RunRequest
from bench.app.run import Stop, launched, never
from bench.durations import expected, parse_duration
from bench.exit_codes import EXIT_NOT_TO_BE_TRUSTED
from bench.load.controller import Progress
from bench.plan.resolve import (
    DEFAULT_MAX_IN_FLIGHT,
    MAX_CONCURRENCY,
    MAX_RATE_PER_S,
    MAX_REQUESTS,
    gap_spread,
    resolve_load,
    within,
)
from bench.runs import folder as files
from bench.runs import manifest
from bench.runs.manifest import HourPricing
from bench.runs.table import read_requests
from bench.server.launch import Server
from bench.types import Load, UserError

CLOSED_LOOP: Final = "closed-loop"
MAX_TIME: Final = "--max-time"
MAX_REPEATS: Final = 20
MAX_TIME_S: Final = (1, 30 * 24 * 3600)
_FINEST_PRECISION: Final = 0.005  # rates have four digits
_RATE: Final = "rate-"
"""Prefix of the names of runs at a rate, in requests/s."""
FALLS_BEHIND: Final = "the server falls behind"
"""Reasons for which a run of a search may end early: it has answered its question."""

# A run with mostly failed calls says nothing about latency, but still says that its rate is too high.
_MISSES: Final = {"nothing_succeeded", "mostly_failed"}


@dataclass(frozen=True, slots=True)
class CapacitySearch:
    """What is searched for, and the folder of its runs, which keeps all that was found.

    `asked` is the question in the user's own names; how far a search goes is not part of it. After `max_time_s` no run
    starts that would end later.
    """

    request: RunRequest
    folder: Path
    attainment: float | None
    precision: float
    repeats: int
    requests: int | None
    concurrency: int
    max_in_flight: int
    up_to: float | None
    arrivals: str
    asked: Mapping[str, Any]
    max_time_s: float | None = None

    @property
    def bounds(self) -> tuple[Bound, ...]:
        """What a rate must meet: the objectives of all requests, and those of each class of a mix."""
        return bounds(slo.objectives(self.request.slo, self.request.workload.scenario), self.attainment)

    @property
    def page(self) -> Path:
        """What was found, as a page."""
        return self.folder / files.CAPACITY_PAGE

    @property
    def campaign(self) -> Campaign:
        """The campaign; a run that stopped because the server fell behind, or most calls failed, is complete."""
        return Campaign(self.folder, frozenset({FALLS_BEHIND}), _is_usable)


def search_of(
    request: RunRequest, asked: Mapping[str, Any], options: SearchOptions, out: Path | None = None
) -> CapacitySearch:
    """Make the search; a command that continues it must have the same `asked`. Raises UserError."""
    scenario, arrivals = request.workload.scenario, options.arrivals or "poisson"
    if not slo.objectives(request.slo, scenario):
        raise UserError(
            "--slo: missing; capacity is the highest rate that meets objectives, so give one, such as 'ttft_ms:p99<500'"
        )
    gap_spread(arrivals)

    def given(name: str, low: float, high: float, default: Any = None) -> Any:
        value = getattr(options, name)
        return default if value is None else within(flag_of(name), value, low, high)

    return CapacitySearch(
        request=request,
        folder=(out or Path("results") / f"capacity-{request.out.name}").absolute(),
        attainment=None if options.attainment is None else _share("--attainment", options.attainment),
        precision=within("--precision", _share("--precision", options.precision), _FINEST_PRECISION, 1.0),
        repeats=within("--repeats", options.repeats, 1, MAX_REPEATS),
        requests=given("requests", 1, MAX_REQUESTS),
        concurrency=given("concurrency", 1, MAX_CONCURRENCY, 4 * scenario.concurrency),
        max_in_flight=given("max_in_flight", 1, MAX_CONCURRENCY, DEFAULT_MAX_IN_FLIGHT),
        up_to=given("up_to", 0.001, MAX_RATE_PER_S),
        arrivals=arrivals,
        asked=asked,
        max_time_s=None
        if options.max_time is None
        else within(MAX_TIME, parse_duration(options.max_time, MAX_TIME), *MAX_TIME_S, " s"),
    )


def _share(flag: str, text: str) -> float:
    """A share from `95%` or `0.95`."""
    value = numeric.read(text)
    if value is None or not 0 < value < 1:
        raise UserError(f"{flag}: expected a share between 0 and 1, such as 5% or 0.05, got {text!r}")
    return float(value)


class CapacityOutcome(NamedTuple):
    """The answer and its document, or the run that ended the search before one was found."""

    capacity: Capacity | None = None
    document: Document | None = None
    ended: Outcome | None = None


def find(
    search: CapacitySearch, maker: Maker, say: Callable[[str], None], server: Server | None = None
) -> CapacityOutcome:
    """Search, or continue; if all runs exist it only reads them. `server` is one that is already running.

    Raises UserError if the first run cannot start, or if no request succeeds at all.
    """
    began_s = time.monotonic()
    with begun(search.folder, "capacity", search.asked):
        if not (search.folder / files.CAPACITY).exists():
            files.write_json(search.folder / files.CAPACITY, {"schema": files.SCHEMA, "asked": search.asked})
        share_library(search.folder)
        with ExitStack() as stack:
            if server is None and search.request.url is None:
                server = stack.enter_context(_server(search, say))
            ended = _look(search, maker, server, say, began_s)
        if ended is not None and ended.name != MAX_TIME:
            check_began(search.folder, ended)
            return CapacityOutcome(ended=ended)
        found = _write(search, ended)
        return CapacityOutcome(ended=ended) if found is None else CapacityOutcome(found, _write_page(search, found))


def _server(search: CapacitySearch, say: Callable[[str], None]) -> Server:
    """Launch one server for all runs, with as many slots as the closed loop has requests in flight."""
    workload = replace(search.request.workload, load=closed_loop(search))
    return launched(replace(search.request, workload=workload), say, search.folder / files.SERVER_LOG)


def _look(
    search: CapacitySearch, maker: Maker, server: Server | None, say: Callable[[str], None], began_s: float
) -> Outcome | None:
    """Run until the answer is found; returns the outcome, or the time limit, that ended it before."""

    def run(campaign: Campaign, name: str, load: Load, repeat: int, stop: Stop) -> Outcome:
        # Repeats at one rate have seeds of their own, so that they show how far the draw alone moves the result.
        request = search.request.one_of(search.folder, name, load, search.request.workload.seed + repeat)
        return make_run(campaign, name, request, maker, server, stop)

    campaign = search.campaign
    # A closed loop first: its throughput is near the capacity, so the search starts around it.
    ended = run(replace(campaign, is_usable=_has_served), CLOSED_LOOP, closed_loop(search), 0, never)
    if ended.problem is not None:
        return ended
    limits, shape = _limits(search), _shape(search)
    loads = ProbeLoads(
        search.request.workload.scenario, shape, search.bounds, search.requests, search.arrivals, search.max_in_flight
    )
    probes, pace = _probes(search, shape), RunPace()
    loads = loads._replace(spent=calls_spent(probes, limits))
    say(f"{_bounds(search, limits)}: {_left(probes, limits, loads, pace)}")
    while wanted := next_probe(probes, limits):
        rate, repeat = wanted
        service_s = service_seen_s(probes, limits.service_s)
        load_s = loads.seconds(rate, service_s)
        if search.max_time_s is not None:
            left_s = search.max_time_s - (time.monotonic() - began_s)
            if left_s < (needed_s := pace.seconds(load_s) or load_s):
                return Outcome(MAX_TIME, EXIT_NOT_TO_BE_TRUSTED, _out_of_time(search, rate, needed_s))
        name = f"{_RATE}{rate:g}-{repeat}"
        with pace.one(load_s):
            ended = run(campaign, name, loads.load(rate, service_s), repeat, stop_behind(service_s))
        if ended.problem is not None:
            return ended
        probes = _probes(search, shape)
        loads = loads._replace(spent=calls_spent(probes, limits))
        say(f"{line(next(probe for probe in probes if probe.folder == name))}; {_left(probes, limits, loads, pace)}")
    return None


def _left(probes: list[Probe], limits: Limits, loads: ProbeLoads, pace: RunPace) -> str:
    """How many runs are left, and how long they take, in words."""
    rates, service_s = list(rates_left(probes, limits)), service_seen_s(probes, limits.service_s)
    loads_s = sum(loads.seconds(rate, service_s) for rate in rates)
    return (
        f"about {count(len(rates), 'run')} left, {expected(pace.seconds(loads_s) or loads_s)}"
        if rates
        else "no run is left"
    )


def _bounds(search: CapacitySearch, limits: Limits) -> str:
    """The range that is searched, in words."""
    top, further = limits.top_rps(())
    top = rounded(top)
    return (
        f"a closed loop completed {number(limits.closed_loop_rps)} requests/s; searching between "
        f"{number(min(limits.lowest_rps, top))} and at most {number(top)} requests/s ({further}), to "
        f"{percent(search.precision)}"
    )


def _out_of_time(search: CapacitySearch, rate_per_s: float, needed_s: float) -> str:
    return (
        f"{expected(search.max_time_s or 0.0)} leaves no time for a run at {rate_per_s:g} requests/s, which takes "
        f"about {expected(needed_s)}"
    )


def closed_loop(search: CapacitySearch) -> Load:
    """The load that comes first, for which a server needs its slots: some calls for each user, or a session."""
    scenario = search.request.workload.scenario
    if scenario.has_sessions:
        return resolve_load(scenario, concurrency=search.concurrency, sessions=search.concurrency)
    return resolve_load(scenario, concurrency=search.concurrency, requests=max(64, 4 * search.concurrency))


def stop_behind(service_s: float) -> Stop:
    """Return the condition that ends a load once the server is certain to be falling behind."""
    watch = LoadWatch(service_s)

    def stop(progress: Progress) -> str | None:
        due = progress.sent + progress.waiting + progress.dropped
        behind = watch.falls_behind(progress.elapsed_s or 0.0, due, progress.done + progress.dropped)
        return FALLS_BEHIND if behind else None

    return stop


def _is_usable(summary: RunSummary) -> bool:
    return summary.verdict.status != "invalid" or bool(summary.verdict.codes & _MISSES)


def _has_served(summary: RunSummary) -> bool:
    return _is_usable(summary) and summary.requests.succeeded > 0


# --- what the runs say --------------------------------------------------------------------------------------------


def _shape(search: CapacitySearch) -> Shape:
    return shape_of(search.request.workload.scenario, search.folder / CLOSED_LOOP)


def _limits(search: CapacitySearch) -> Limits:
    """The range of the search and its starting point. Raises UserError if the closed loop had no success."""
    found = of_closed_loop(read_requests(search.folder / CLOSED_LOOP))
    if found is None:
        raise UserError(f"no request succeeded in {search.folder / CLOSED_LOOP}; its report says why")
    return Limits(search.precision, search.repeats, *found, search.up_to, search.max_in_flight)


def _probes(search: CapacitySearch, shape: Shape) -> list[Probe]:
    """Read the runs of a search, by rate and repeat."""
    names = [path.parent.name for path in search.folder.glob(f"{_RATE}*/{files.SUMMARY}")]
    done = [search.folder / name for name in names if is_done(search.campaign, name)]
    found = [_probe(folder, search.bounds, shape.turns) for folder in done]
    return sorted(found, key=lambda probe: (probe.rate_per_s, probe.repeat))


@cache
def _probe(folder: Path, wanted: tuple[Bound, ...], turns: float) -> Probe:
    """Read one run, which stays as it is."""
    rate, _, repeat = folder.name.removeprefix(_RATE).rpartition("-")
    return probe(
        read(read_requests(folder), wanted),
        [bound.share for bound in wanted],
        rate_per_s=float(rate),
        repeat=int(repeat),
        folder=folder.name,
        stopped=manifest.read(folder).stopped == FALLS_BEHIND,
        turns=turns,
        classes=tuple(bound.klass for bound in wanted),
    )


def _write(search: CapacitySearch, ended: Outcome | None) -> Capacity | None:
    """Write capacity.json; None if the time ran out before any rate met the objectives."""
    shape, limits = _shape(search), _limits(search)
    runs = _probes(search, shape)
    found = judge(runs, limits) if runs else None
    if ended is not None:
        if found is None or not found.rate_per_s:
            return None
        found = replace(found, reason=f"{ended.name} {ended.problem}; repeat the command with more to continue")
    assert found is not None, "a search that has come to its end has tried a rate"
    content = {
        "schema": files.SCHEMA,
        "asked": search.asked,
        "capacity": asdict(found),
        "out_of_time": ended is not None,
        "closed_loop_rps": limits.closed_loop_rps,
        "turns_per_session": shape.turns,
        "probes": [{**run._asdict(), "outcome": run.outcome, "is_sure": run.is_sure} for run in runs],
    }
    files.write_json(search.folder / files.CAPACITY, content)
    return found


def _write_page(search: CapacitySearch, found: Capacity) -> Document:
    """Write capacity.html with its figures; returns the document."""
    request, shape = search.request, _shape(search)
    pricing = request.costs.pricing
    shown = CapacityResult(
        runs=[_load_point(search, run) for run in _probes(search, shape)],
        capacity=found,
        usd_per_hour=pricing.usd_per_hour if isinstance(pricing, HourPricing) else None,
        arrivals=search.arrivals,
        turns=shape.turns,
    )
    of = f"{request.model} on {request.backend.name}, scenario {request.workload.scenario.name}"
    objectives = [each.text for each in slo.objectives(request.slo, request.workload.scenario)]
    page = document(shown, of=of, objectives=objectives, figures=sections(shown))
    write_page(search.page, page)
    return page


def _load_point(search: CapacitySearch, run: Probe) -> LoadPoint:
    summary = summaries.read(search.folder / run.folder)
    return LoadPoint(
        rate_per_s=run.rate_per_s,
        outcome=run.outcome,
        completed_per_s=run.completed_per_s,
        goodput_rps=summary.throughput.goodput_rps,
        ttft_ms_p50=summary.metric("ttft_ms").p50,
        ttft_ms_p99=summary.metric("ttft_ms").p99,
        page=f"{run.folder}/{files.REPORT}" if (search.folder / run.folder / files.REPORT).exists() else "",
    )
