"""From the options of sizing to the result: the memory, the load, what was measured."""

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from analysis.present import of_size
from analysis.present.document import Document
from analysis.run import slo
from analysis.sizing import memory, plans
from analysis.sizing.memory import Model
from analysis.sizing.plans import ClaimedThroughput, Demand, Measured, ReplicaNeed
from analysis.sizing.written import SizingTraffic
from analysis.wording import ERROR_SHARE
from bench.app.breakeven.measured import read_run
from bench.app.listing import folder_of
from bench.app.size.layouts import sized
from bench.app.size.model import load
from bench.app.size.options import SizeOptions
from bench.plan.resolve import MAX_CONCURRENCY, MAX_RATE_PER_S, within
from bench.types import UserError
from scenarios.traffic import read_all
from scenarios.traffic.facts import facts

DEFAULT_CONTEXT_TOKENS = 4096
MAX_LENGTH_TOKENS = 2_000_000
MAX_TOKENS_PER_S = 1e9
_MINUTE_S = 60


def shown(options: SizeOptions) -> Document:
    """The result of sizing a model. Raises UserError."""
    model, notes = load(options.model, options.quantization)
    recorded = None if options.traffic is None else _recorded_load(options.traffic)
    if recorded is not None:
        options, cut = _as_recorded(options, recorded, model)
        notes = (*notes, *cut)
    _check_lengths(options)
    need, demand = _need(options, model), _demand(options)
    measured, warnings = (None, ()) if options.measured is None else _measured(options.measured, options)
    found = sized(
        model,
        (*notes, *warnings),
        need,
        demand,
        options,
        measured,
        _claimed(options),
        None if recorded is None else recorded.shown,
    )
    return of_size.document(found)


class _RecordedLoad(NamedTuple):
    """The busiest minute's rate, mean lengths, the most tokens of a prompt and its answer; `shown` is the source."""

    rate_per_s: float
    prompt_tokens: int
    output_tokens: int
    longest_tokens: int
    shown: SizingTraffic


def _recorded_load(name: str) -> _RecordedLoad:
    """Read the traffic of a file, a folder or a pattern. Raises UserError if it has no times or no lengths."""
    found = facts(row for _, row in read_all(name, "--traffic"))
    if found.span_s is None or found.prompt is None or found.output is None or found.longest is None:
        lacks = "times" if found.span_s is None else "lengths of prompts and answers"
        raise UserError(f"--traffic {name}: has no {lacks}; give --rate, --prompt-tokens and --output-tokens instead")
    peak_per_s = found.busiest_minute / _MINUTE_S
    shown = SizingTraffic(
        file=name,
        requests=found.rows,
        span_s=found.span_s,
        mean_rate_per_s=found.rows / found.span_s if found.span_s else None,
        peak_rate_per_s=peak_per_s,
        prompt_tokens=found.prompt,
        output_tokens=found.output,
        cached_share_by_ttl=found.cached_shares,
        recorded_cached_share=found.recorded_cached_share,
    )
    prompt, output = (max(1, round(lengths.mean)) for lengths in (found.prompt, found.output))
    return _RecordedLoad(peak_per_s, prompt, output, max(found.longest, prompt + output), shown)


def _as_recorded(options: SizeOptions, recorded: _RecordedLoad, model: Model) -> tuple[SizeOptions, tuple[str, ...]]:
    """The recorded load by default, and notes on requests too long for the model; a sequence holds the longest."""
    longest, takes = recorded.longest_tokens, model.architecture.context_tokens or recorded.longest_tokens
    notes = (f"the longest recorded request has {longest:,} tokens, but {model.name} takes {takes:,}",)
    given = replace(
        options,
        rate=recorded.rate_per_s if options.rate is None else options.rate,
        prompt_tokens=_or(options.prompt_tokens, recorded.prompt_tokens),
        output_tokens=_or(options.output_tokens, recorded.output_tokens),
        context=_or(options.context, min(longest, takes)),
    )
    return given, notes if longest > takes else ()


def _check_lengths(options: SizeOptions) -> None:
    for name in ("prompt_tokens", "output_tokens"):
        flag = f"--{name.replace('_', '-')}"
        if getattr(options, name) is not None:
            within(flag, getattr(options, name), 1, MAX_LENGTH_TOKENS)
        elif options.rate is not None:
            raise UserError(f"--rate: needs {flag}; give it too")
    prefix, prompt = options.prefix_tokens, options.prompt_tokens
    if prefix is not None:
        if prompt is None:
            raise UserError("--prefix-tokens: needs --prompt-tokens; give it too")
        within("--prefix-tokens", prefix, 0, prompt)


def _or(given: int | None, otherwise: int) -> int:
    return otherwise if given is None else given


def _need(options: SizeOptions, model: Model) -> ReplicaNeed:
    longest = model.architecture.context_tokens or 2**31
    prompt, output = options.prompt_tokens or 0, options.output_tokens or 0
    if prompt + output > longest:
        raise UserError(
            f"--prompt-tokens and --output-tokens: {prompt + output} tokens, but {model.name} takes {longest}"
        )
    usual = prompt + output or min(DEFAULT_CONTEXT_TOKENS, longest)
    context = within("--context", _or(options.context, usual), 1, longest)
    if context < prompt + output:
        raise UserError(
            f"--context {context}: too short for the load's prompts and answers of {prompt + output} tokens"
        )
    return ReplicaNeed(
        context_tokens=context,
        concurrency=within("--concurrency", _or(options.concurrency, 1), 1, MAX_CONCURRENCY),
        prefix_tokens=options.prefix_tokens or 0,
        kv_value_bytes=memory.KV_BYTES[options.kv_cache],
        gpu_memory_utilization=within("--gpu-memory-utilization", options.gpu_memory_utilization, 0.1, 1.0),
        overhead_bytes=round(within("--overhead-gib", options.overhead_gib, 0.0, 64.0) * memory.GIB),
    )


def _demand(options: SizeOptions) -> Demand | None:
    """The load, if there is a rate; lengths alone only say what a sequence holds."""
    prompt, output = options.prompt_tokens, options.output_tokens
    utilization = within("--utilization", options.utilization, 0.01, 1.0)
    if options.rate is None or prompt is None or output is None:
        if options.slo:
            raise UserError("--slo: needs a load to meet it under; give --rate, --prompt-tokens and --output-tokens")
        return None

    objectives = [slo.parse(text) for text in options.slo]
    limits_ms: dict[str, float] = {}
    for objective in objectives:
        if objective.metric == ERROR_SHARE:
            raise UserError(f"--slo {objective.text!r}: sizing predicts no failures; give an objective on a latency")
        limits_ms[objective.metric] = min(objective.limit, limits_ms.get(objective.metric, objective.limit))
    return plans.Demand(
        rate_per_s=within("--rate", options.rate, 0.001, MAX_RATE_PER_S),
        prompt_tokens=prompt,
        output_tokens=output,
        bounds_s=plans.bounds_s(limits_ms),
        utilization=utilization,
        prefix_tokens=options.prefix_tokens or 0,
    )


def _claimed(options: SizeOptions) -> ClaimedThroughput | None:
    """A claimed throughput; unknown properties of its requests are assumed to be as favourable as possible."""
    if options.claimed is None:
        return None
    if not options.gpu:
        raise UserError("--claimed: needs --gpu, the hardware that it is claimed for")
    prompt, output = options.prompt_tokens or 0, options.output_tokens or 0
    return ClaimedThroughput(
        output_tokens_per_s=within("--claimed", options.claimed, 0.001, MAX_TOKENS_PER_S),
        batch=options.concurrency,
        tokens=prompt + output // 2,
    )


def _measured(folder: Path, options: SizeOptions) -> tuple[Measured, tuple[str, ...]]:
    """What a run measured, and warnings about it. Raises UserError for an invalid run or missing figures."""
    if not options.gpu:
        raise UserError("--measured: needs --gpu, the hardware that it ran on")
    folder, run, summary = read_run(Path(folder_of(str(folder), "run")), "--measured")
    prompt, output, service_ms = (
        summary.metric(name).mean for name in ("prompt_tokens", "output_tokens", "service_ms")
    )
    tokens_per_s, requests_per_s = summary.throughput.output_tokens_per_s, summary.throughput.requests_per_s
    if not (prompt and output and tokens_per_s and requests_per_s and service_ms):
        raise UserError(f"--measured {folder}: no request has both tokens and times; give a run that has them")
    # In an open loop, the number in flight follows from Little's law.
    batch = run.load.concurrency or requests_per_s * service_ms / 1000
    status = summary.verdict.status
    warnings = () if status == "valid" else (f"the measured run is {status}: {summary.verdict.because}",)
    return Measured(tokens_per_s, max(1.0, batch), prompt, output), warnings
