"""What it takes to serve a model as a Document: its memory, where it fits, and the plans, cheapest first."""

from collections.abc import Callable, Sequence

from analysis.present.document import (
    Block,
    Column,
    Columns,
    Document,
    Facts,
    Note,
    Notes,
    Section,
    Table,
    facts,
    row,
    table,
)
from analysis.sizing.plans import Demand, Estimate, Fit, ReplicaPlan
from analysis.sizing.roofline import Pace
from analysis.sizing.written import Sizing, SizingTraffic, plain
from analysis.wording import DASH, count, number, percent

_GIB = 2**30
_LIMITS = {
    "memory": "memory: the KV cache holds {at} requests at once; room for more would serve more",
    "engine": "the engine: it batches {at} sequences by default; a larger batch would serve more",
    "objective": "the objectives: they are missed with more than {at} requests at once",
    "bandwidth": "bandwidth: {decode:.0%} of the time goes to reading weights and cache for each token",
    "compute": "compute: {prefill:.0%} of the time goes to the prompts, {decode:.0%} to the answers",
}
_FEW_GPUS = 3


def document(sizing: Sizing) -> Document:
    chosen, model = _best_of_each_gpu(sizing.plans), sizing.model
    blocks: list[Block] = [
        _model(sizing),
        _fits(sizing),
        Notes(tuple(Note(line, tone="quiet") for line in _shortages(sizing))),
    ]
    if chosen:
        blocks.append(_unloaded(chosen, sizing) if sizing.demand is None else _loaded(chosen, sizing.demand))
    return Document(
        title=f"{model.name} in {model.weights.quantization}",
        kind="What it takes to serve a model",
        blocks=(*blocks, Section("", (facts(_facts(sizing, chosen)),))),
        data=plain(sizing),
    )


def _model(sizing: Sizing) -> Facts:
    model, need = sizing.model, sizing.need
    shape = model.architecture
    counted = f"{_count(model.parameters.total)} weights"
    if shape.experts:
        taken = f"{shape.active_experts} of {shape.experts} experts"
        counted += f", {_count(round(model.active_parameters))} for a token ({taken})"
    longest = "" if shape.context_tokens is None else f", context up to {shape.context_tokens:,} tokens"
    held = f"{need.concurrency:,} x {need.context_tokens:,} tokens"
    if need.prefix_tokens:
        held += f", {need.prefix_tokens:,} of them shared,"
    cache = f"{_gib(sizing.kv_bytes)} for {held} of {sizing.kv_bytes_per_token:,} bytes each"
    return facts(
        [
            ("model", counted + longest),
            ("weights", f"{_gib(model.weights.total_bytes)}, divided over the GPUs of a replica"),
            ("KV cache", cache),
            ("overhead", f"{_gib(need.overhead_bytes)} on each GPU"),
        ]
    )


# --- where it fits ----------------------------------------------------------------------------------------------


def _fits(sizing: Sizing) -> Table:
    """How many sequences each GPU holds, a column for each number of GPUs."""
    sizes = sorted({fit.tensor_parallel for fit in sizing.fits})
    rows = []
    for gpu in dict.fromkeys(fit.gpu for fit in sizing.fits):
        of_gpu = {fit.tensor_parallel: fit for fit in sizing.fits if fit.gpu == gpu}
        held = (DASH if sizing.shortage(of_gpu[n]) else f"{of_gpu[n].sequences:,}" for n in sizes)
        rows.append(row(gpu.name, number(round(gpu.memory_bytes / _GIB, 1)), *held))
    columns = (Column("GPU", "left"), Column("GiB"), *(Column(f"x {n}") for n in sizes))
    caption = f"how many sequences of {sizing.need.context_tokens:,} tokens fit on 1, 2, … GPUs"
    return Table(columns, tuple(rows), caption)


def _shortages(sizing: Sizing) -> list[str]:
    """Why it does not fit: of few GPUs each case, of many those that it fits on in no number."""
    names = dict.fromkeys(fit.gpu.name for fit in sizing.fits)
    lines = []
    for name in names:
        cases = [(fit.tensor_parallel, sizing.shortage(fit)) for fit in sizing.fits if fit.gpu.name == name]
        short = [(n, shortage) for n, shortage in cases if shortage]
        shown = short if len(names) <= _FEW_GPUS else short[-1:] if len(short) == len(cases) else []
        lines += [f"not on {n} x {name}: {shortage}" for n, shortage in shown]
    return lines


# --- plans ------------------------------------------------------------------------------------------------------


def _best_of_each_gpu(plans: Sequence[ReplicaPlan]) -> list[ReplicaPlan]:
    best: dict[tuple[str, str | None], ReplicaPlan] = {}
    for plan in plans:
        best.setdefault((plan.fit.gpu.name, None if plan.price is None else str(plan.price)), plan)
    return list(best.values())


def _loaded(plans: Sequence[ReplicaPlan], demand: Demand) -> Table:
    columns: Columns[ReplicaPlan] = (
        (Column("a replica", "left"), lambda plan: _gpus(plan.fit)),
        (Column("replicas"), lambda plan: _range(*plan.replicas)),
        (Column("at once", drop=2), lambda plan: _paces(plan, lambda pace: pace.batch)),
        (Column("each, req/s"), lambda plan: _paces(plan, lambda pace: pace.requests_per_s)),
        (Column("ttft, ms", drop=1), lambda plan: _paces(plan, lambda pace: 1000 * pace.ttft_s)),
        (Column("tpot, ms", drop=1), lambda plan: _paces(plan, lambda pace: 1000 * pace.tpot_s)),
        (Column("limit", "left", drop=4), lambda plan: _estimate(plan).limit),
        *_MONEY,
    )
    lengths = f"{demand.prompt_tokens:,} + {demand.output_tokens:,} tokens"
    title = f"for {number(demand.rate_per_s)} requests/s of {lengths}: replicas at their limit"
    return table(columns, plans, f"{title}, of which the load uses {demand.utilization:.0%} at most")


def _unloaded(plans: Sequence[ReplicaPlan], sizing: Sizing) -> Table:
    columns: Columns[ReplicaPlan] = (
        (Column("a replica", "left"), lambda plan: _gpus(plan.fit)),
        (Column("holds"), lambda plan: f"{plan.fit.sequences:,}"),
        (Column("tok/s"), lambda plan: _range(*sizing.decode_tokens_per_s(plan.fit))),
        (Column("limit", "left", drop=4), lambda plan: sizing.decode_limit(plan.fit)),
        *_MONEY,
    )
    return table(columns, plans, f"one replica, decoding {sizing.need.concurrency:,} at once")


def _estimate(plan: ReplicaPlan) -> Estimate:
    """The cautious one, or the hopeful where only that keeps the objectives."""
    found = plan.cautious or plan.hopeful
    assert found is not None, "there is a load"
    return found


def _paces(plan: ReplicaPlan, figure: Callable[[Pace], float]) -> str:
    """A figure at the cautious and at the hopeful efficiency, the lower first."""
    return _range(*sorted(figure(each.pace) for each in (_estimate(plan), plan.hopeful) if each is not None))


def _gpus(fit: Fit) -> str:
    return f"{fit.tensor_parallel} x {fit.gpu.name}{'~' * fit.gpu.estimated}"


def _usd(plan: ReplicaPlan) -> str:
    if plan.usd_per_month is None:
        return DASH
    low, high = plan.usd_per_month
    return f"{low:,.0f}" if high == low else f"{low:,.0f}+" if high is None else f"{low:,.0f}-{high:,.0f}"


def _price(plan: ReplicaPlan) -> str:
    return DASH if plan.price is None else str(plan.price).partition("@")[2] + "+" * (not plan.price.includes_host)


_MONEY: Columns[ReplicaPlan] = ((Column("$/month"), _usd), (Column("price", "left", drop=3), _price))


def _facts(sizing: Sizing, plans: Sequence[ReplicaPlan]) -> list[tuple[str, str]]:
    found = []
    if not plans:
        nowhere = "no GPU keeps the objectives" if sizing.refused else "it fits on no GPU here"
        found.append(("result", nowhere))
    elif sizing.demand is not None:
        found.append(("limit", f"{_gpus(plans[0].fit)}: {_limit(plans[0])}"))
    if sizing.traffic is not None:
        found += _traffic(sizing.traffic)
    for fit, reason in sizing.refused[:_FEW_GPUS]:
        found.append(("too slow", f"{fit.tensor_parallel} x {fit.gpu.name}: {reason}"))
    if left := sizing.refused[_FEW_GPUS:]:
        found.append(("", f"and {len(left)} more that miss the objectives (--json lists them)"))
    cautious, hopeful = sizing.efficiencies
    decode, prefill = _shares(cautious.decode, hopeful.decode), _shares(cautious.prefill, hopeful.prefill)
    reached = f"decoding at {decode} of the roofline and prompts at {prefill}, {sizing.efficiency_source}"
    found.append(("efficiency", f"{reached}; queueing and GPU interconnects are not modelled"))
    return found + [("note", note) for note in sizing.notes]


def _traffic(recorded: SizingTraffic) -> list[tuple[str, str]]:
    """What was recorded: how busy, how long, and what a prefix cache would have served of it."""
    busiest, mean = recorded.peak_rate_per_s, recorded.mean_rate_per_s
    rates = f"{number(busiest)}/s in the busiest minute, {number(mean)}/s on average"
    found = [("traffic", f"{count(recorded.requests, 'request')} in {number(recorded.span_s)} s: {rates}")]
    for what, lengths in (("prompts", recorded.prompt_tokens), ("answers", recorded.output_tokens)):
        shares = ", ".join(f"{share} {number(getattr(lengths, share))}" for share in ("p50", "p90", "p99"))
        found.append(("", f"{what} of {number(lengths.mean)} tokens on average, {shares}, at most {lengths.high:,}"))
    served = {ttl: share for ttl, share in recorded.cached_share_by_ttl.items() if share is not None}
    if served:
        kept = ", ".join(
            f"{percent(share)} if kept {ttl if 'end' in ttl else f'for {ttl}'}" for ttl, share in served.items()
        )
        found.append(("", f"share of prompt tokens an unbounded prefix cache serves: {kept}"))
    if recorded.recorded_cached_share is not None:
        found.append(("", f"{percent(recorded.recorded_cached_share)} of prompt tokens were cached when recorded"))
    return found


def _limit(plan: ReplicaPlan) -> str:
    estimate = _estimate(plan)
    prefill = estimate.pace.prefill_share
    text = _LIMITS[estimate.limit].format(at=estimate.pace.batch, prefill=prefill, decode=1 - prefill)
    return text if plan.cautious else f"{text}; the objectives are met only at the higher efficiency"


# --- cells ------------------------------------------------------------------------------------------------------


def _range(low: float, high: float | None) -> str:
    if high is None:
        return f"{number(low)}+"
    return number(low) if number(low) == number(high) else f"{number(low)}-{number(high)}"


def _shares(*ends: float) -> str:
    low, high = (f"{100 * share:.2g}" for share in ends)
    return f"{low}%" if low == high else f"{low}-{high}%"


def _count(n: int) -> str:
    return f"{n / 1e9:,.2f} billion" if n >= 1e8 else f"{n:,}"


def _gib(size: float) -> str:
    return f"{size / _GIB:,.2f} GiB" if size >= _GIB / 100 else f"{size / 2**20:,.2f} MiB"
