"""From options to servers of one's own: what one can do, what it costs, and the traffic it is to carry."""

from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from bench.app import numeric
from bench.app.options import HourOptions, names
from bench.cli.breakeven.measured import Run, check_repeats, doubts, read_run, read_search
from bench.cli.numeric import MONTHLY_USD, PART, PER_HOUR, RATIO, REPLICAS, REQUESTS_PER_MONTH, SECONDS, USD
from bench.types import UserError

if TYPE_CHECKING:
    import numpy as np

    from analysis.breakeven.recorded import Trace
    from analysis.breakeven.selfhost import SelfHost
    from analysis.breakeven.traffic import Traffic
    from analysis.money.gpu_prices import Hourly
    from analysis.stats.distributions import Floats

SELF = "--self"
FEWEST_RUNS = 5
CAPACITIES = (Decimal("1e-6"), Decimal(10**9))


HOSTING = (
    click.option("--ops-usd-per-month", type=MONTHLY_USD, default="0", help="Work, storage and all else.  [0]"),
    click.option("--utilization", type=PART, default="0.7", help="Highest share of the capacity to use.  [0.7]"),
    click.option("--min-replicas", type=REPLICAS, default=1, help="Servers that always run.  [1]"),
    click.option("--spare-replicas", type=REPLICAS, default=0, help="Servers beyond those that serve.  [0]"),
    click.option("--autoscale", is_flag=True, help="Pay for servers by the hour of the traffic, not for its peak."),
    click.option("--commit-replicas", type=REPLICAS, help="So many are paid all month, used or not …"),
    click.option("--commit-usd-per-hour", type=USD, help="… at this price."),
    click.option("--spot-interruptions-per-hour", type=PER_HOUR, help="How often one is taken away …"),
    click.option(
        "--spot-reload-s",
        type=SECONDS,
        help="… and how long the next loads; the API serves.",
    ),
    click.option("--self-good-share", type=PART, default="1", help="Share of their answers that count.  [1]"),
)
"""How servers of one's own are run."""

PEAK = (click.option("--peak-to-mean", type=RATIO, help="The busiest hour over the mean one.  [1]"),)

TRAFFIC = (
    click.option("--requests-per-month", type=REQUESTS_PER_MONTH, help="Your volume.  [that of --traffic]"),
    click.option("--profile", type=click.Path(path_type=Path), help="File of 168 weights, one an hour of a week."),
    click.option("--traffic", type=click.Path(path_type=Path), help="File of arrival times, one a line or in CSV."),
)
"""How much traffic, and when."""


class Load(NamedTuple):
    """Traffic, the volume asked about, and the trace that both come from, if they do."""

    traffic: "Traffic"
    requests_per_month: int | None
    trace: "Trace | None"


class Capacity(NamedTuple):
    """Requests/s of one replica: the ends of its interval, and draws, or None where it was not measured.

    `runs` are those that measured it, `probes` these and those at other rates.
    """

    low_rps: float
    high_rps: float
    draws: "Floats | None" = None
    measurements: int | None = None
    runs: tuple[Run, ...] = ()
    probes: tuple[Run, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def ci95(self) -> tuple[float | None, float | None]:
        """The interval, unknown where the capacity was stated."""
        return (None, None) if self.draws is None else (self.low_rps, self.high_rps)

    @property
    def middle_rps(self) -> float:
        """The middle of the interval; the one number where it was stated."""
        return self.low_rps if self.draws is None else (self.low_rps + self.high_rps) / 2


class Servers(NamedTuple):
    """Servers of one's own, and what was said and measured of them."""

    host: "SelfHost"
    hourly: "Hourly"
    capacity: Capacity


def load_of(options: dict[str, Any]) -> Load:
    """Read the traffic. Raises UserError for none, and for more than one description of it."""
    from analysis.breakeven import recorded
    from analysis.breakeven import traffic as hours

    volume = options["requests_per_month"]
    given = [name for name in ("peak_to_mean", "profile", "traffic") if options.get(name) is not None]
    if len(given) > 1:
        first, second = ("--" + name.replace("_", "-") for name in given[:2])
        raise UserError(f"{first} and {second} exclude each other; give one of them")
    if options["traffic"] is not None:
        trace = recorded.trace(_text("--traffic", options["traffic"]), f"--traffic {options['traffic']}")
        observed, traffic = hours.observed(trace.arrivals_s)
        return Load(traffic, volume or observed, trace)
    if options["profile"] is not None:
        return Load(hours.weekly(recorded.weights(_text("--profile", options["profile"]))), volume, None)
    ratio = options.get("peak_to_mean")
    return Load(hours.STEADY if ratio is None else hours.steady(ratio), volume, None)


def _text(flag: str, path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(f"{flag} {path}: cannot be read: {getattr(problem, 'strerror', None) or 'not UTF-8'}") from None


def servers_of(options: dict[str, Any], traffic: "Traffic", rng: "np.random.Generator") -> Servers:
    """Give the servers that the options describe. Raises UserError for what is missing or cannot be."""
    from analysis.breakeven import selfhost
    from analysis.money import gpu_prices
    from analysis.money.numbers import monthly_usd
    from bench.app.pricing import hourly_of

    if not options["servers"]:
        raise UserError("--self: give a run, a capacity folder, or the requests/s that one replica serves")
    capacity = _capacity(options["servers"], rng)
    hourly = hourly_of(HourOptions(**{name: options[name] for name in names(HourOptions)}))
    if hourly is None:
        sections = (run.run.pricing or {} for run in capacity.runs)
        hourly = next((found for found in map(gpu_prices.hourly_of, sections) if found), None)
    if hourly is None:
        raise UserError("what an hour of one replica costs is not known: give --gpu, --usd-per-hour or --owned")
    host = selfhost.SelfHost(
        usd_per_replica_month=monthly_usd(hourly.usd),
        capacity_rps=capacity.middle_rps,
        ops_usd_per_month=options["ops_usd_per_month"],
        utilization=options["utilization"],
        traffic=traffic,
        autoscale=options["autoscale"],
        min_replicas=options["min_replicas"],
        spare_replicas=options["spare_replicas"],
        commitment=_commitment(options),
        spot=_spot(options),
        good_share=options["self_good_share"],
    )
    return Servers(host, hourly, capacity)


def _commitment(options: dict[str, Any]) -> Any:
    from analysis.breakeven.selfhost import Commitment
    from analysis.money.numbers import monthly_usd

    pair = _pair(options, "commit_replicas", "commit_usd_per_hour")
    return pair and Commitment(pair[0], monthly_usd(pair[1]))


def _spot(options: dict[str, Any]) -> Any:
    from analysis.breakeven.selfhost import Spot

    pair = _pair(options, "spot_interruptions_per_hour", "spot_reload_s")
    return pair and Spot(*pair)


def _pair(options: dict[str, Any], *names: str) -> tuple[Any, Any] | None:
    """Two options that make sense together only."""
    first, second = (options[name] for name in names)
    if (first is None) != (second is None):
        there, missing = sorted(names, key=lambda name: options[name] is None)
        raise UserError(f"--{there.replace('_', '-')}: give --{missing.replace('_', '-')} too")
    return None if first is None else (first, second)


# --- capacity ---------------------------------------------------------------------------------------------------


def _capacity(given: tuple[str, ...], rng: "np.random.Generator") -> Capacity:
    """From a number, an interval, a search, or from runs or searches that repeat each other."""
    if len(given) == 1 and (stated := _stated(given[0], rng)):
        return stated
    folders = [Path(text) for text in given]
    if missing := [path for path in folders if not path.is_dir()]:
        raise UserError(
            f"{SELF} {missing[0]}: expected a run, a capacity folder, or requests/s such as 2 or 1.8..2.2; "
            "with several, folders that repeat each other"
        )
    from bench.runs import folder as files

    searched = [(path / files.CAPACITY).exists() for path in folders]
    if any(searched) and not all(searched):
        raise UserError(f"{SELF}: give runs or capacity folders, not both")
    if all(searched):
        return _of_searches(folders, rng)
    runs = tuple(read_run(path, SELF) for path in folders)
    check_repeats(runs)
    warnings = tuple(doubt for run in runs for doubt in doubts(run))
    rates = [run.requests_per_s for run in runs]
    if len(runs) == 1:
        offered = f"{SELF} is one run: its {rates[0]:.3g} requests/s are what it served at its load, not the capacity"
        return Capacity(rates[0], rates[0], None, None, runs, runs, (*warnings, f"{offered} (bench.py capacity)"))
    return _of_repeats(rates, runs, runs, warnings, rng)


def _stated(text: str, rng: "np.random.Generator") -> Capacity | None:
    """A capacity such as 2 or 1.8..2.2; None for what is no number."""
    from analysis.stats.uncertainty import interval_draws

    low_text, dots, high_text = text.partition("..")
    ends = (low_text, high_text) if dots else (low_text,)
    if any(numeric.read(end) is None and end.strip().lower() != "nan" for end in ends):
        return None
    low, high = (float(numeric.within("--capacity-rps", end, *CAPACITIES, or_zero=True)) for end in (ends[0], ends[-1]))
    return Capacity(low, high, interval_draws(low, high, rng) if dots else None)


def _of_searches(folders: list[Path], rng: "np.random.Generator") -> Capacity:
    from analysis.stats.uncertainty import interval_draws

    searches = [read_search(path, SELF) for path in folders]
    runs = tuple(run for search in searches for run in search.runs or search.probes[:1])
    probes = tuple(run for search in searches for run in search.probes)
    if len(searches) > 1:
        # The loads are what the searches differ in; all else has to be alike.
        first = [search.probes[0] for search in searches]
        check_repeats([run._replace(run=replace(run.run, load=first[0].run.load)) for run in first])
        return _of_repeats([search.rate_per_s for search in searches], runs, probes, (), rng)
    rate, low, high = searches[0][:3]
    if not rate:
        return Capacity(0.0, 0.0, None, None, runs, probes)
    if not low:
        warning = f"no rate surely meets the objectives: {rate:g} requests/s did, in too few requests to be sure"
        return Capacity(rate, rate, None, None, runs, probes, (warning,))
    if high is None:
        warning = f"no rate was surely missed: the capacity may be more than {rate:g} requests/s"
        return Capacity(low, rate, interval_draws(low, rate, rng), None, runs, probes, (warning,))
    return Capacity(low, high, interval_draws(low, high, rng), None, runs, probes)


def _of_repeats(
    rates: list[float],
    runs: tuple[Run, ...],
    probes: tuple[Run, ...],
    warnings: tuple[str, ...],
    rng: "np.random.Generator",
) -> Capacity:
    import numpy as np

    from analysis.stats.uncertainty import mean_draws

    draws = mean_draws(rates, rng)
    low, high = (float(end) for end in np.quantile(draws, (0.025, 0.975)))
    if len(rates) < FEWEST_RUNS:
        warnings += (f"{SELF}: {len(rates)} measurements say little of how they spread; give {FEWEST_RUNS} or more",)
    return Capacity(low, high, draws, len(rates), runs, probes, warnings)
