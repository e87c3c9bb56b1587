"""From options to self-hosted servers: their capacity, their cost, and the traffic they carry."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analysis.breakeven import selfhost
from analysis.breakeven import traffic as hours
from analysis.breakeven.selfhost import Commitment, SelfHost, SpotReplicas
from analysis.breakeven.traffic import Trace, Traffic
from analysis.money import gpu_prices
from analysis.money.gpu_prices import Hourly
from analysis.money.numbers import monthly_usd
from analysis.stats.distributions import Floats
from analysis.stats.uncertainty import interval_draws, mean_draws
from analysis.wording import count, number, percent
from bench import numeric
from bench.app.breakeven.measured import (
    MeasuredRun,
    check_repeats,
    measured_elsewhere,
    read_run,
    read_search,
    warnings_of,
)
from bench.app.breakeven.options import BreakEvenOptions, HostingOptions, TrafficOptions
from bench.app.listing import folder_of
from bench.app.options import check_one_of
from bench.app.pricing import hourly_of
from bench.app.rates import profile
from bench.numeric import Range
from bench.runs import manifest
from bench.runs.folder import CAPACITY, RUN
from bench.types import UserError
from scenarios.traffic import read_all
from scenarios.traffic.facts import TrafficFacts, facts
from scenarios.traffic.rows import TrafficRow

SELF = "--self"
FEWEST_RUNS = 5
CAPACITIES = Range("1e-6", 10**9, or_zero=True)


class MonthlyTraffic(NamedTuple):
    """The traffic, the volume asked about, the trace that both come from, if any, and notes about it."""

    traffic: Traffic
    requests_per_month: int | None
    trace: Trace | None
    described: str | None = None


class ReplicaCapacity(NamedTuple):
    """Requests/s of one replica: the ends of its interval, and draws, None if it was not measured.

    `runs` measured it; `probes` are these and the runs at other rates; with `is_searched` a search chose the rates.
    """

    low_rps: float
    high_rps: float
    runs: tuple[MeasuredRun, ...] = ()
    probes: tuple[MeasuredRun, ...] = ()
    draws: Floats | None = None
    measurements: int | None = None
    warnings: tuple[str, ...] = ()
    is_searched: bool = False

    @property
    def ci95(self) -> tuple[float | None, float | None]:
        """The interval; unknown if the capacity was stated."""
        return (None, None) if self.draws is None else (self.low_rps, self.high_rps)

    @property
    def middle_rps(self) -> float:
        """The middle of the interval; the number itself if it was stated."""
        return self.low_rps if self.draws is None else (self.low_rps + self.high_rps) / 2


class PricedServers(NamedTuple):
    """Self-hosted servers, with notes on what was stated and measured; `name` tells several apart.

    `gpu` is the name of the hardware that they are priced on.
    """

    host: SelfHost
    hourly: Hourly
    capacity: ReplicaCapacity
    name: str = ""
    gpu: str | None = None


def traffic_of(options: TrafficOptions) -> MonthlyTraffic:
    """Read the traffic. Raises UserError if it is described not at all, or more than once."""
    volume = options.requests_per_month
    check_one_of(options, "peak_to_mean", "traffic_profile", "traffic")
    if options.traffic is not None:
        found = list(read_all(str(options.traffic), "--traffic"))
        trace, rows = _recorded(found), [row for _, row in found]
        observed, traffic = hours.observed(trace.arrivals_s)
        return MonthlyTraffic(traffic, volume or observed, trace, _described(options.traffic, facts(rows)))
    if options.traffic_profile is not None:
        return MonthlyTraffic(hours.weekly(profile(options.traffic_profile)), volume, None)
    ratio = options.peak_to_mean
    return MonthlyTraffic(hours.STEADY if ratio is None else hours.steady(ratio), volume, None)


def _recorded(rows: Sequence[tuple[Path, TrafficRow]]) -> Trace:
    """The rows' times and prefixes; prompts that begin with the same block share a prefix."""
    arrivals_ns = []
    for path, row in rows:
        if row.t_ns is None:
            raise UserError(f"--traffic {path}: line {row.line} has no time; expected the arrival time of each request")
        arrivals_ns.append(row.t_ns)
    return hours.trace(arrivals_ns, [row.blocks[0] if row.blocks else None for _, row in rows])


def _described(path: Path, found: TrafficFacts) -> str:
    """What determines both bills, as the file has it, to be checked against the assumed lengths and caching."""
    parts = [f"{path.name} has {count(found.rows, 'request')}, {found.busiest_minute:,} in its busiest minute"]
    if found.prompt is not None:
        parts.append(f"{number(found.prompt.mean)} prompt tokens on average")
    if found.output is not None:
        parts.append(f"{number(found.output.mean)} output tokens")
    if found.cacheable_share is not None:
        parts.append(f"{percent(found.cacheable_share)} of prompt tokens seen before")
    if found.recorded_cached_share is not None:
        parts.append(f"{percent(found.recorded_cached_share)} of them cached when they were recorded")
    return ", ".join(parts)


def sides_of(options: BreakEvenOptions, traffic: Traffic, rng: np.random.Generator) -> list[PricedServers]:
    """Return all self-hosted servers that the options describe. Raises UserError for missing or wrong ones."""
    sides = grouped(options)
    if len(sides) == 1:
        ((name, only),) = sides
        return [servers_of(only, traffic, rng)._replace(name=name)]
    found, times = list[PricedServers](), Counter[str]()
    for given, side in sides:
        servers = servers_of(side, traffic, rng)
        name = given or _name(side, servers)
        times[name] += 1
        found.append(servers._replace(name=name if times[name] == 1 else f"{name} ({times[name]})"))
    return found


def grouped(options: BreakEvenOptions) -> list[tuple[str, BreakEvenOptions]]:
    """The options of each side, and its name if given; capacities that repeat each other are one side.

    With a name, commas or a GPU after an @, each --self is a side; otherwise each stated capacity is one, and folders
    of one backend and model are one together.
    """
    arguments = [_SelfArgument.of(text) for text in options.servers]
    explicit = any(one.is_explicit for one in arguments)
    sides = dict[Any, tuple[str, BreakEvenOptions]]()
    for place, one in enumerate(arguments):
        first = one.what[0] if one.what else ""
        stated = numeric.read(first.partition("..")[0]) is not None
        key = place if explicit or stated else _measured_as(Path(first))
        name, side = sides.get(key, (one.name, replace(options, servers=())))
        side = replace(side, servers=(*side.servers, *one.what))
        if one.gpu:
            side = replace(side, gpu=one.gpu, usd_per_hour=None, owned=None)
        sides[key] = name, side
    return list(sides.values()) or [("", options)]


class _SelfArgument(NamedTuple):
    """One --self: `NAME=WHAT,WHAT@GPU`, of which all but one WHAT is optional."""

    name: str
    what: tuple[str, ...]
    gpu: str

    @property
    def is_explicit(self) -> bool:
        return bool(self.name or self.gpu) or len(self.what) > 1

    @classmethod
    def of(cls, text: str) -> "_SelfArgument":
        """A path that exists is a folder, whatever its name contains."""
        if Path(text).exists():
            return cls("", (text,), "")
        before, equals, after = text.partition("=")
        name, rest = (before, after) if equals else ("", text)
        parts = tuple(filter(None, rest.split(",")))
        if all(Path(part).exists() for part in parts):
            return cls(name, parts, "")
        rest, _, gpu = rest.partition("@")
        return cls(name, tuple(folder_of(part, "run", "capacity") for part in rest.split(",") if part), gpu)


def _measured_as(folder: Path) -> tuple[str, str] | None:
    """The backend and model of a run or a search; None if the folder has none."""
    path = folder if (folder / RUN).exists() else next((each.parent for each in folder.glob(f"*/{RUN}")), None)
    if path is None:
        return None
    run = manifest.read(path)
    return run.backend, run.model


def _name(options: BreakEvenOptions, servers: PricedServers) -> str:
    """What was measured or stated, and on which GPU if the side has its own."""
    runs = servers.capacity.probes or servers.capacity.runs
    what = f"{runs[0].run.model} on {runs[0].run.backend}" if runs else f"{options.servers[0]} requests/s"
    return f"{what}, {options.gpu}" if options.gpu else what


def servers_of(options: BreakEvenOptions, traffic: Traffic, rng: np.random.Generator) -> PricedServers:
    """Return the servers that the options describe. Raises UserError for missing or wrong options."""
    if not options.servers:
        raise UserError("--self: expected a run, a capacity folder, or the requests/s that one replica serves")
    capacity = _capacity(options.servers, rng)
    if options.gpu is not None:
        elsewhere = measured_elsewhere(capacity.runs or capacity.probes, options.gpu)
        capacity = capacity._replace(warnings=(*capacity.warnings, *elsewhere))
    hourly = hourly_of(options)
    if hourly is None:
        priced = (gpu_prices.hourly_of(run.run.pricing) for run in capacity.runs)
        hourly = next(filter(None, priced), None)
    if hourly is None:
        raise UserError("the hourly price of a replica is not known; give --gpu, --usd-per-hour or --owned")
    host = selfhost.SelfHost(
        usd_per_replica_month=monthly_usd(hourly.usd),
        capacity_rps=capacity.middle_rps,
        ops_usd_per_month=options.ops_usd_per_month,
        utilization=options.utilization,
        traffic=traffic,
        autoscale=options.autoscale,
        min_replicas=options.min_replicas,
        spare_replicas=options.spare_replicas,
        commitment=_commitment(options),
        spot=_spot(options),
        good_share=options.self_good_share,
    )
    return PricedServers(host, hourly, capacity, gpu=options.gpu)


def _commitment(options: HostingOptions) -> Commitment | None:
    count, usd = options.commit_replicas, options.commit_usd_per_hour
    _check_pair("--commit-replicas", count, "--commit-usd-per-hour", usd)
    return None if count is None or usd is None else Commitment(count, monthly_usd(usd))


def _spot(options: HostingOptions) -> SpotReplicas | None:
    rate, reload_s = options.spot_interruptions_per_hour, options.spot_reload_s
    _check_pair("--spot-interruptions-per-hour", rate, "--spot-reload-s", reload_s)
    return None if rate is None or reload_s is None else SpotReplicas(rate, reload_s)


def _check_pair(first: str, one: object, second: str, other: object) -> None:
    """Raise UserError if only one of two options that need each other is given."""
    if (one is None) != (other is None):
        there, missing = (second, first) if one is None else (first, second)
        raise UserError(f"{there}: needs {missing}; give it too")


# --- capacity ---------------------------------------------------------------------------------------------------


def _capacity(given: tuple[str, ...], rng: np.random.Generator) -> ReplicaCapacity:
    """The capacity, from a number, an interval, or searches or runs that repeat each other."""
    if len(given) == 1 and (stated := _stated(given[0], rng)):
        return stated
    folders = [Path(text) for text in given]
    if missing := [path for path in folders if not path.is_dir()]:
        raise UserError(
            f"{SELF} {missing[0]}: expected a run, a capacity folder, or requests/s such as 2 or 1.8..2.2; "
            "with several, folders that repeat each other"
        )

    searched = [(path / CAPACITY).exists() for path in folders]
    if any(searched) and not all(searched):
        raise UserError(f"{SELF}: expected runs or capacity folders, not both")
    if all(searched):
        return _of_searches(folders, rng)._replace(is_searched=True)
    runs = tuple(read_run(path, SELF) for path in folders)
    check_repeats(runs)
    warnings = tuple(warning for run in runs for warning in warnings_of(run))
    rates = [run.requests_per_s for run in runs]
    if len(runs) == 1:
        offered = f"{SELF} is one run: its {rates[0]:.3g} requests/s are its throughput at that load, not the capacity"
        return ReplicaCapacity(rates[0], rates[0], runs, runs, warnings=(*warnings, f"{offered} (bench.py capacity)"))
    return _of_repeats(rates, runs, runs, warnings, rng)


def _stated(text: str, rng: np.random.Generator) -> ReplicaCapacity | None:
    """A capacity such as 2 or 1.8..2.2; None if the text is not a number."""
    low_text, dots, high_text = text.partition("..")
    ends = (low_text, high_text) if dots else (low_text,)
    if any(numeric.read(end) is None and end.strip().lower() != "nan" for end in ends):
        return None
    low, high = (float(CAPACITIES.of("--capacity-rps", end)) for end in (ends[0], ends[-1]))
    # An interval of zero width leaves nothing open.
    return ReplicaCapacity(low, high, draws=interval_draws(low, high, rng) if low != high else None)


def _of_searches(folders: list[Path], rng: np.random.Generator) -> ReplicaCapacity:
    searches = [read_search(path, SELF) for path in folders]
    runs = tuple(run for search in searches for run in search.runs or search.probes[:1])
    probes = tuple(run for search in searches for run in search.probes)
    if len(searches) > 1:
        # A search chooses its loads, so these may differ; everything else must be alike.
        first = [search.probes[0] for search in searches]
        check_repeats([run._replace(run=replace(run.run, load=first[0].run.load)) for run in first])
        return _of_repeats([search.capacity.rate_per_s for search in searches], runs, probes, (), rng)
    found = searches[0].capacity
    rate, low, high = found.rate_per_s, found.low_per_s, found.high_per_s
    if not rate:
        return ReplicaCapacity(0.0, 0.0, runs, probes)
    if not low:
        warning = (
            f"no rate meets the objectives for certain: {rate:g} requests/s did, but in too few requests to be sure"
        )
        return ReplicaCapacity(rate, rate, runs, probes, warnings=(warning,))
    if high is None:
        warning = f"no rate misses the objectives for certain: the capacity may be above {rate:g} requests/s"
        return ReplicaCapacity(low, rate, runs, probes, interval_draws(low, rate, rng), warnings=(warning,))
    return ReplicaCapacity(low, high, runs, probes, interval_draws(low, high, rng))


def _of_repeats(
    rates: list[float],
    runs: tuple[MeasuredRun, ...],
    probes: tuple[MeasuredRun, ...],
    warnings: tuple[str, ...],
    rng: np.random.Generator,
) -> ReplicaCapacity:
    draws = mean_draws(rates, rng)
    low, high = (float(end) for end in np.quantile(draws, (0.025, 0.975)))
    if len(rates) < FEWEST_RUNS:
        warnings += (f"{SELF}: {len(rates)} measurements say little about their spread; give {FEWEST_RUNS} or more",)
    return ReplicaCapacity(low, high, runs, probes, draws, len(rates), warnings)
