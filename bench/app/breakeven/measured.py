"""What `breakeven` reads from measured runs: their capacity, their requests' lengths, and what a request cost."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.breakeven.comparison import Point
from analysis.capacity import written as searches
from analysis.capacity.search import Capacity
from analysis.money.gpu_names import is_called
from analysis.money.gpu_prices import Hourly
from analysis.money.numbers import SECONDS_PER_HOUR
from analysis.run import summary as summaries
from analysis.run.metrics import column, measured, successful
from analysis.run.same_requests import have_same_requests
from analysis.run.summary import RunSummary
from analysis.stats.distributions import Ints
from bench.runs import manifest
from bench.runs.manifest import HourPricing, RunManifest
from bench.runs.table import read_requests
from bench.types import UserError

# Mean tokens within this ratio count as alike; the same load counted by two tokenizers differs by more.
SAME_TOKENS = 0.1


class MeasuredRun(NamedTuple):
    """A trustworthy run folder: its run.json and summary.json."""

    folder: Path
    run: RunManifest
    summary: RunSummary

    @property
    def requests_per_s(self) -> float:
        """The rate of requests that completed and, if there are objectives, met them. Raises UserError if unknown."""
        throughput = self.summary.throughput
        found = throughput.requests_per_s if throughput.goodput_rps is None else throughput.goodput_rps
        if found is None:
            why = throughput.rates_unknown or "nothing was sent in its window"
            raise UserError(f"--self {self.folder}: its throughput is not known: {why}")
        return found


class SearchedCapacity(NamedTuple):
    """A folder of `bench.py capacity`: the answer, its runs at that rate, and all of its runs."""

    capacity: Capacity
    runs: tuple[MeasuredRun, ...]
    probes: tuple[MeasuredRun, ...]


class Requests(NamedTuple):
    """Prompt and output tokens of each request, and the prefix that all share.

    Requests of one cluster are the same call in several runs. `counted_for` is the model whose tokenizer counted, None
    if the user gave counts that hold for any model.
    """

    prompt_tokens: Ints
    output_tokens: Ints
    prefix_tokens: int
    clusters: NDArray[Any] | None = None
    counted_for: str | None = None


def read_as_it_is(folder: Path) -> MeasuredRun:
    """Read a run folder, trusted or not."""
    return MeasuredRun(folder, manifest.read(folder), summaries.read(folder))


def read_run(folder: Path, flag: str) -> MeasuredRun:
    """Read a run folder. Raises UserError for one that is not to be trusted."""
    found = read_as_it_is(folder)
    if found.summary.verdict.status == "invalid":
        raise UserError(f"{flag} {folder}: the run is not to be trusted: {found.summary.verdict.because}")
    return found


def warnings_of(run: MeasuredRun) -> list[str]:
    """Notes that speak against relying on a run."""
    status = run.summary.verdict.status
    return [] if status == "valid" else [f"{run.folder.name} is {status}: {run.summary.verdict.because}"]


def measured_elsewhere(runs: Sequence[MeasuredRun], gpu: str) -> list[str]:
    """Notes on runs priced on a GPU (`l4@aws`) other than the one they were made on, as far as that is known."""
    name = re.split("[@:]", gpu.lower())[0]
    found = dict[str, str]()
    for run in runs:
        devices = sorted({device.name for device in run.run.hardware.gpus})
        asked = run.run.pricing.gpu if isinstance(run.run.pricing, HourPricing) else None
        if run.run.launched and not any(is_called(name, device) for device in devices):
            found[", ".join(devices) or f"{run.run.hardware.cpu} (no GPU was seen)"] = run.folder.name
        elif asked is not None and re.split("[@:]", asked.lower())[0] != name:
            found[f"hardware priced as {asked} then"] = run.folder.name
    return [
        f"{folder} was measured on {what} but is priced as {name} here; the throughput of {name} was not measured"
        for what, folder in found.items()
    ]


def read_search(folder: Path, flag: str) -> SearchedCapacity:
    """Read a capacity folder. Raises UserError for an unfinished search."""
    search = searches.read(folder)
    found = search.capacity
    if found is None:
        raise UserError(f"{flag} {folder}: the search is unfinished; continue it with bench.py capacity --out {folder}")
    runs = {probe.folder: read_as_it_is(folder / probe.folder) for probe in search.probes}
    at_rate = tuple(runs[probe.folder] for probe in search.probes if probe.rate_per_s == found.rate_per_s)
    return SearchedCapacity(found, at_rate, tuple(runs.values()))


def check_same_load(own: Sequence[MeasuredRun], apis: Sequence[MeasuredRun]) -> None:
    """Raise UserError if the runs did not offer the same load, because they then measure different things."""
    runs = [*own, *apis]
    for run in apis:
        is_same = any(have_same_requests([run.run], [each.run]) for each in own or apis[:1])
        # The plan of an imported run is unknown; its own warning says so.
        if not is_same and not any(each.run.imported for each in (run, *own)):
            raise UserError(
                f"--versus {run.folder}: its plan differs from that of {runs[0].folder}, so it measured other "
                "requests; make both runs alike, or give --different-plans"
            )


def check_same_work(own: "Sequence[tuple[MeasuredRun, bool]]") -> None:
    """Raise UserError if servers to be compared were measured with different requests or loads.

    Each run says whether a search chose its load; the load is then the result, and may differ.
    """
    for run, is_searched in own[1:]:
        first, was_searched = own[0]
        names = ("scenario",) if is_searched or was_searched else ("scenario", "load")
        if differing := [name for name in names if getattr(run.run, name) != getattr(first.run, name)]:
            raise UserError(
                f"--self {run.folder}: its {differing[0]} differs from that of {first.folder}; make both runs alike, "
                "or give --different-plans"
            )


def check_same_requests(runs: Sequence[MeasuredRun], stated: Requests | None, prefix_tokens: int | None) -> list[str]:
    """Raise UserError if the priced requests are not the measured ones, within a tenth.

    The capacity and an API's price must refer to one workload. Returns a note for each run without token counts, for
    which this cannot be checked.
    """
    unknown = []
    for run in runs:
        found = requests_of([run])
        if found is None:
            unknown.append(f"{run.folder} has no token counts; its requests may not be the ones that are priced")
            continue
        prompt, output = float(found.prompt_tokens.mean()), float(found.output_tokens.mean())
        priced = (prompt, output) if stated is None else (int(stated.prompt_tokens[0]), int(stated.output_tokens[0]))
        prefix = found.prefix_tokens if prefix_tokens is None else prefix_tokens
        priced_as = f"{priced[0]:,.0f} ({prefix:,}) and {priced[1]:,.0f} are priced"
        pairs = ((prompt, priced[0], priced[0]), (output, priced[1], priced[1]), (found.prefix_tokens, prefix, prompt))
        if any(abs(measured - asked) > max(SAME_TOKENS * of, 1) for measured, asked, of in pairs):
            raise UserError(
                f"{run.folder} was measured with {prompt:,.0f} prompt ({found.prefix_tokens:,} shared) and "
                f"{output:,.0f} output tokens, and {priced_as}: leave out --prompt-tokens, --output-tokens and "
                "--prefix-tokens, measure with those, or give --different-plans"
            )
    return unknown


def check_repeats(own: Sequence[MeasuredRun]) -> None:
    """Raise UserError if runs that are pooled are not repeats of one load."""
    for run in own[1:]:
        if differing := [
            name for name in ("model", "scenario", "load") if getattr(run.run, name) != getattr(own[0].run, name)
        ]:
            raise UserError(
                f"--self {run.folder}: its {differing[0]} differs from that of {own[0].folder}: expected repeats of "
                "one run"
            )


def requests_of(runs: Sequence[MeasuredRun]) -> Requests | None:
    """The measured requests that succeeded and have token counts; None if there are none."""
    prompts, outputs, clusters = [], [], []
    for run in runs:
        calls = measured(successful(read_requests(run.folder)))
        prompt, output = column(calls, "prompt_tokens"), column(calls, "output_tokens")
        known = ~(np.isnan(prompt) | np.isnan(output))
        prompts.append(prompt[known])
        outputs.append(output[known])
        clusters.append(np.char.add(f"{run.run.seed}-", calls["seq"].to_numpy()[known].astype(str)))
    if not sum(map(len, prompts)):
        return None
    return Requests(
        np.concatenate(prompts).astype(np.int64),
        np.concatenate(outputs).astype(np.int64),
        runs[0].run.scenario.shared_prefix_tokens,
        np.concatenate(clusters) if len(runs) > 1 else None,
        " and ".join(dict.fromkeys(run.run.model for run in runs)),
    )


def point(run: MeasuredRun, hourly: Hourly | None) -> Point | None:
    """What a request of a run cost, by an hourly price or by its own usage, and how long it took."""
    rate = run.summary.throughput.requests_per_s
    usd = run.summary.cost.usd_per_request if run.summary.cost else None
    if hourly is not None and rate:
        usd = float(hourly.usd) / (rate * SECONDS_PER_HOUR)
    if usd is None:
        return None
    judged = [objective.met for objective in run.summary.slo]
    return Point(
        name=f"{run.run.backend} {run.run.model}",
        usd_per_request=usd,
        ttft_ms_p50=run.summary.metric("ttft_ms").p50,
        response_ms_p99=run.summary.metric("response_ms").p99,
        requests_per_s=rate,
        meets_objectives=None if not judged or None in judged else all(met is True for met in judged),
    )
