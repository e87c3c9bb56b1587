"""What it takes to serve a model as a Document: its memory, where it fits, and the plans, cheapest first."""

from collections.abc import Mapping, Sequence
from typing import Any

from analysis.present.document import (
    Block,
    Column,
    Document,
    Fact,
    Facts,
    Note,
    Notes,
    Section,
    Table,
    facts,
)
from analysis.present.document import row as table_row
from analysis.wording import DASH, count, number, percent

_GIB = 2**30
_LIMITS = {
    "memory": "memory: {at} requests at once are what the KV space holds, and more at once would serve more",
    "engine": "the engine: it takes {at} sequences at once unless told otherwise, and more at once would serve more",
    "objective": "the objectives: with more than {at} requests at once they are not kept",
    "bandwidth": "bandwidth: {decode:.0%} of the time goes to reading weights and cache for each token",
    "compute": "compute: {prefill:.0%} of the time goes to the prompts, {decode:.0%} to the answers",
}
_FEW_GPUS = 3
_PLAN = Column("a replica", "left")
_MONEY = (Column("$/month"), Column("price", "left", drop=3))
_LOADED = (
    _PLAN,
    Column("replicas"),
    Column("at once", drop=2),
    Column("req/s each"),
    Column("ttft ms", drop=1),
    Column("tpot ms", drop=1),
    Column("limit", "left", drop=4),
    *_MONEY,
)
_UNLOADED = (_PLAN, Column("holds"), Column("tok/s"), Column("limit", "left", drop=4), *_MONEY)


def document(shown: Mapping[str, Any]) -> Document:
    """The whole of it, from what `--json` prints."""
    plans = _best_of_each_gpu(shown["plans"])
    model = shown["model"]
    blocks: list[Block] = [
        _model(shown),
        _fits(shown["gpus"], shown["memory"]["context_tokens"]),
        Notes(tuple(Note(line, tone="quiet") for line in _shortages(shown["gpus"]))),
    ]
    if plans:
        blocks.append(_loaded(plans, shown["load"]) if shown["load"] else _unloaded(plans, shown))
    return Document(
        title=f"{model['name']} in {model['quantization']}",
        kind="What it takes to serve a model",
        blocks=(*blocks, Section("", (facts(_facts(shown, plans)),))),
        data=shown,
    )


def _model(shown: Mapping[str, Any]) -> Facts:
    model, memory = shown["model"], shown["memory"]
    counted = f"{_count(model['parameters'])} weights"
    if model["experts"]:
        taken = f"{model['active_experts']} of {model['experts']} experts"
        counted += f", {_count(model['active_parameters'])} for a token ({taken})"
    longest = "" if model["context_tokens"] is None else f", context up to {model['context_tokens']:,} tokens"
    held = f"{memory['concurrency']:,} x {memory['context_tokens']:,} tokens"
    if memory["prefix_tokens"]:
        held += f", {memory['prefix_tokens']:,} of them shared,"
    cache = f"{_gib(memory['kv_bytes'])} for {held} of {memory['kv_bytes_per_token']:,} bytes each"
    return Facts(
        (
            Fact("model", counted + longest),
            Fact("weights", f"{_gib(memory['weights_bytes'])}, divided over the GPUs of a replica"),
            Fact("KV cache", cache),
            Fact("overhead", f"{_gib(memory['overhead_bytes_per_gpu'])} on each GPU"),
        )
    )


# --- where it fits ----------------------------------------------------------------------------------------------


def _fits(gpus: Sequence[Mapping[str, Any]], context_tokens: int) -> Table:
    """How many sequences each GPU holds, a column for each number of GPUs."""
    sizes = sorted({row["tensor_parallel"] for row in gpus})
    rows = []
    for name in dict.fromkeys(row["gpu"] for row in gpus):
        of_gpu = {row["tensor_parallel"]: row for row in gpus if row["gpu"] == name}
        memory = number(round(next(iter(of_gpu.values()))["memory_bytes"] / _GIB, 1))
        held = (DASH if of_gpu[n]["shortage"] else f"{of_gpu[n]['sequences']:,}" for n in sizes)
        rows.append(table_row(name, memory, *held))
    columns = (Column("GPU", "left"), Column("GiB"), *(Column(f"x {n}") for n in sizes))
    return Table(columns, tuple(rows), f"how many sequences of {context_tokens:,} tokens fit on 1, 2, … GPUs")


def _shortages(gpus: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why it does not fit: of few GPUs each case, of many those that it fits on in no number."""
    names = dict.fromkeys(row["gpu"] for row in gpus)
    lines = []
    for name in names:
        short = [row for row in gpus if row["gpu"] == name and row["shortage"]]
        all_short = len(short) == sum(row["gpu"] == name for row in gpus)
        shown = short if len(names) <= _FEW_GPUS else short[-1:] if all_short else []
        lines += [f"not on {row['tensor_parallel']} x {name}: {row['shortage']}" for row in shown]
    return lines


# --- plans ------------------------------------------------------------------------------------------------------


def _best_of_each_gpu(plans: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    best: dict[tuple[str, Any], Mapping[str, Any]] = {}
    for plan in plans:
        best.setdefault((plan["gpu"], plan["price"] and plan["price"]["name"]), plan)
    return list(best.values())


def _loaded(plans: Sequence[Mapping[str, Any]], load: Mapping[str, Any]) -> Table:
    rows = []
    for plan in plans:
        cautious, hopeful = plan["cautious"] or {}, plan["hopeful"]
        rows.append(
            table_row(
                _gpus(plan),
                _range(*plan["replicas"]),
                *(
                    _range(*_ends(cautious.get(name), hopeful[name]))
                    for name in ("concurrency", "requests_per_s", "ttft_ms", "tpot_ms")
                ),
                (plan["cautious"] or hopeful)["limit"],
                *_money(plan),
            )
        )
    lengths = f"{load['prompt_tokens']:,} + {load['output_tokens']:,} tokens"
    title = f"for {number(load['rate_per_s'])} requests/s of {lengths}: replicas at their limit"
    title += f", of which the load uses {load['utilization']:.0%} at most"
    return Table(_LOADED, tuple(rows), title)


def _unloaded(plans: Sequence[Mapping[str, Any]], shown: Mapping[str, Any]) -> Table:
    fits = {(row["gpu"], row["tensor_parallel"]): row for row in shown["gpus"]}
    rows = []
    for plan in plans:
        fit = fits[plan["gpu"], plan["tensor_parallel"]]
        speeds = _range(*fit["decode_tokens_per_s"])
        rows.append(table_row(_gpus(plan), f"{plan['sequences']:,}", speeds, fit["decode_limit"], *_money(plan)))
    return Table(_UNLOADED, tuple(rows), f"one replica, decoding {shown['memory']['concurrency']:,} at once")


def _gpus(plan: Mapping[str, Any]) -> str:
    return f"{plan['tensor_parallel']} x {plan['gpu']}{'~' * plan['speeds_estimated']}"


def _money(plan: Mapping[str, Any]) -> tuple[str, str]:
    if plan["price"] is None:
        return DASH, DASH
    low, high = plan["usd_per_month"]
    usd = f"{low:,.0f}" if high == low else f"{low:,.0f}+" if high is None else f"{low:,.0f}-{high:,.0f}"
    return usd, plan["price"]["name"].partition("@")[2] + "+" * (not plan["price"]["includes_host"])


def _facts(shown: Mapping[str, Any], plans: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    found = []
    load, efficiency = shown["load"], shown["efficiency"]
    if not plans:
        nowhere = "no GPU keeps the objectives" if shown["refused"] else "it fits on no GPU here"
        found.append(("result", nowhere))
    elif load:
        found.append(("limit", f"{_gpus(plans[0])}: {_limit(plans[0])}"))
    if "traffic" in shown:
        found += _traffic(shown["traffic"])
    for row in shown["refused"][:_FEW_GPUS]:
        found.append(("too slow", f"{row['tensor_parallel']} x {row['gpu']}: {row['reason']}"))
    if left := shown["refused"][_FEW_GPUS:]:
        found.append(("", f"and {len(left)} more that do not keep the objectives (--json)"))
    decode, prefill = (_shares(efficiency[name]) for name in ("decode", "prefill"))
    reached = f"decoding at {decode} of the roofline and prompts at {prefill}, {efficiency['source']}"
    found.append(("efficiency", f"{reached}; waiting and links between GPUs are left out"))
    return found + [("note", note) for note in shown["notes"]]


def _traffic(recorded: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was recorded: how busy, how long, and what a prefix cache would have served of it."""
    busiest, mean = recorded["peak_rate_per_s"], recorded["mean_rate_per_s"]
    rates = f"{number(busiest)}/s in the busiest minute, {number(mean)}/s on average"
    found = [("traffic", f"{count(recorded['requests'], 'request')} in {number(recorded['span_s'])} s: {rates}")]
    for name, what in (("prompt_tokens", "prompts"), ("output_tokens", "answers")):
        lengths = recorded[name]
        shares = ", ".join(f"{share} {number(lengths[share])}" for share in ("p50", "p90", "p99"))
        found.append(
            ("", f"{what} of {number(lengths['mean'])} tokens on average, {shares}, at most {lengths['high']:,}")
        )
    served = {ttl: share for ttl, share in recorded["cached_share_by_ttl"].items() if share is not None}
    if served:
        kept = ", ".join(
            f"{percent(share)} kept {ttl if 'end' in ttl else f'for {ttl}'}" for ttl, share in served.items()
        )
        found.append(("", f"of prompt tokens a prefix cache of unbounded size serves {kept}"))
    if recorded["recorded_cached_share"] is not None:
        found.append(("", f"{percent(recorded['recorded_cached_share'])} of prompt tokens were cached when recorded"))
    return found


def _limit(plan: Mapping[str, Any]) -> str:
    estimate = plan["cautious"] or plan["hopeful"]
    prefill = estimate["prefill_share"]
    text = _LIMITS[estimate["limit"]].format(at=estimate["concurrency"], prefill=prefill, decode=1 - prefill)
    return text if plan["cautious"] else f"{text}; the objectives are kept only at the higher efficiency"


# --- cells ------------------------------------------------------------------------------------------------------


def _ends(first: float | None, second: float) -> tuple[float, float]:
    return (second, second) if first is None else (min(first, second), max(first, second))


def _range(low: float, high: float | None) -> str:
    if high is None:
        return f"{number(low)}+"
    return number(low) if number(low) == number(high) else f"{number(low)}-{number(high)}"


def _shares(ends: Sequence[float]) -> str:
    low, high = (f"{100 * share:.2g}" for share in ends)
    return f"{low}%" if low == high else f"{low}-{high}%"


def _count(n: int) -> str:
    return f"{n / 1e9:,.2f} billion" if n >= 1e8 else f"{n:,}"


def _gib(size: float) -> str:
    return f"{size / _GIB:,.2f} GiB" if size >= _GIB / 100 else f"{size / 2**20:,.2f} MiB"
