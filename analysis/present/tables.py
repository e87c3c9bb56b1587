"""The rows of the report's tables, as text; the template escapes them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from analysis.run.counting import READINGS
from analysis.wording import DASH, count, dollars, interval, lengths, load, number, percent

SERVED: Final = {
    "ttft_ms_mean": "The server's own mean to the first token",
    "itl_ms_mean": "The server's own mean token gap",
    "e2e_ms_mean": "The server's own mean of whole requests",
    "queue_ms_mean": "The server's own mean in its queue",
}
COSTS: Final = {
    "api_usd": "Paid to the API",
    "usd_per_request": "Per request",
    "usd_per_good_request": "Per request that met the objectives",
    "usd_per_million_output_tokens": "Per million output tokens",
    "usd_per_million_total_tokens": "Per million tokens, prompts included",
}
MESSAGE_LENGTH: Final = 400
SETTING_LENGTH: Final = 120
Rows = list[tuple[str, str]]


def throughput(summary: Mapping[str, Any]) -> Rows:
    """What was served per second, and what that cost the client."""
    served, client = summary["throughput"], summary["client"]
    rows = [
        ("Requests completed", "requests_per_s", "requests/s"),
        ("Output tokens", "output_tokens_per_s", "tokens/s"),
        ("Prompt and output tokens", "total_tokens_per_s", "tokens/s"),
        ("Goodput", "goodput_rps", "requests/s"),
    ]
    shown = [
        (label, f"{number(served[name])} {unit}{_sure(interval(served['ci95'].get(name)))}")
        for label, name, unit in rows
        if served[name] is not None
    ]
    if client["token_events_per_s"] is not None:
        shown.append(("Token arrivals at the client", f"{number(client['token_events_per_s'])} per second"))
    if served.get("rates_unknown"):
        shown.insert(0, ("Requests and tokens per second", f"not known: {served['rates_unknown']}"))
    if served.get("tokens_unknown"):
        shown.append(("Tokens per second", f"not known: {served['tokens_unknown']}"))
    shown += [
        ("How the server's counts were read", f"of {count(calls, 'request')} {READINGS[code]}")
        for code, calls in summary["counts"]["readings"].items()
    ]
    if served["slo_attainment"] is not None:
        share = percent(served["slo_attainment"]) + _sure(interval(served["ci95"].get("slo_attainment"), percent))
        shown.append(("Requests that met all objectives", share))
    shown.append(("The client's own CPU use", f"{percent(client['cpu_fraction'])} of a core"))
    selftest = client.get("selftest")
    if selftest is not None and selftest["error_ms"] is not None:
        shown.append(("The client's error at this load, p99, by its selftest", f"{number(selftest['error_ms'])} ms"))
    return [*shown, *_served(summary)]


def _sure(bounds: str | None) -> str:
    return f" (95% CI {bounds})" if bounds else ""


def _served(summary: Mapping[str, Any]) -> Rows:
    """What the server's own books say."""
    rows = [(label, f"{number(summary['server'][name])} ms") for name, label in SERVED.items()
            if summary["server"][name] is not None]  # fmt: skip
    if summary["cache"]["hit_rate"] is not None:
        rows.append(("Prompt tokens out of the server's cache", percent(summary["cache"]["hit_rate"])))
    return rows + [
        (
            f"Least left of the rate limit {limit['name']}",
            f"{number(limit['remaining_min'])} of {number(limit['limit'])}",
        )
        for limit in summary["rate_limits"]
    ]


def objective(result: Mapping[str, Any]) -> tuple[str, ...]:
    """(objective, seen, limit, requests that kept it, outcome)."""
    met = {True: "met", False: "missed", None: "cannot be decided"}[result["met"]]
    failed = result["met"] is False and result["value"] is None
    seen = "∞ (failures)" if failed else bound(result, "value")
    if result.get("service_value") is not None and result["value"] is not None:
        seen += f" from {'sending' if result['from_sending'] else 'when it was due'}"
        seen += "" if result["from_sending"] else f", {bound(result, 'service_value')} from sending"
    return result["objective"], seen, bound(result, "limit"), percent(result["attainment"]), met


def bound(result: Mapping[str, Any], name: str) -> str:
    """The limit of an objective, or what was seen of it, in its unit."""
    if result.get("unit") == "share":
        return percent(result[name])
    return _with_unit(result[name], "ms")


def cost(cost: Mapping[str, Any] | None) -> Rows:
    """What the run cost, nothing when that is not known."""
    if cost is None:
        return []
    rows = [
        (label, f"{dollars(cost[name])}{_between(cost['ci95'].get(name))}")
        for name, label in COSTS.items()
        if cost.get(name) is not None
    ]
    if cost["usd_per_hour"]:
        low, high = cost["usd_per_hour"]
        rows.append(("An hour of it", dollars(low) + (f" to {dollars(high)}" if high != low else "")))
    if cost["batch"]:
        rows.append(("In batches it would have been", dollars(cost["batch"]["api_usd"])))
    if cost["priced_as"]:
        rows.append(("Priced as", cost["priced_as"]))
    prices = ", ".join(str(value) for value in (cost["prices"] or {}).values() if value is not None)
    return [*rows, ("Prices", prices), *(("Note", note) for note in cost["notes"])]


def _between(bounds: Any) -> str:
    low, high = bounds or (None, None)
    return "" if low is None or high is None else f" ({dollars(low)} to {dollars(high)})"


def gpu(card: Mapping[str, Any]) -> tuple[str, ...]:
    """(index, name, mean utilisation, peak memory, mean power, energy)."""
    return (
        str(card["index"]),
        card["name"] or DASH,
        percent(card["util_pct_mean"] / 100) if card["util_pct_mean"] is not None else DASH,
        _gib(card["memory_used_bytes_max"]),
        _with_unit(card["power_w_mean"], "W"),
        _with_unit(card["energy_j"], "J"),
    )


def errors(requests: pa.Table) -> list[tuple[str, ...]]:
    """(code, measured, warm-up, first message) by falling count."""
    failed = requests.filter(pc.or_(pc.is_valid(requests["error"]), pc.is_null(requests["end_ns"])))
    codes = [code or "unfinished" for code in failed["error"].to_pylist()]
    messages = dict(reversed(list(zip(codes, failed["error_message"].to_pylist(), strict=True))))
    by_phase = Counter(zip(codes, failed["phase"].to_pylist(), strict=True))
    return [
        (
            code,
            number(by_phase[code, "measured"]),
            number(by_phase[code, "warmup"]),
            _cut(messages[code] or DASH, MESSAGE_LENGTH),
        )
        for code, _ in Counter(codes).most_common()
    ]


def identity(check: Mapping[str, Any]) -> tuple[str, ...]:
    """(check, seen, expected, tolerance, outcome)."""
    holds = {True: "holds", False: "does not hold", None: "not checked"}[check["holds"]]
    numbers = (number(check[name]) for name in ("seen", "expected", "tolerance"))
    return check["name"].replace("_", " "), *numbers, holds


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length]}…"


def sent(run: Mapping[str, Any]) -> Rows:
    """What was asked of the server."""
    scenario, tokenizer = run["scenario"], run["tokenizer"]
    exact = "exact" if tokenizer["exact"] else "an estimate"
    return [
        ("Scenario", f"{scenario['name']}: {scenario['description']}"),
        ("Load", load(run["load"])),
        ("Prompt tokens", lengths(scenario["prompt_tokens"])),
        ("Shared prefix", count(scenario["shared_prefix_tokens"], "token")),
        ("Output tokens", lengths(scenario["output_tokens"])),
        ("Prompt lengths are", f"{exact}, counted by {tokenizer['source']}"),
        ("Adapted to the server", "; ".join(run.get("adapted") or ()) or "nothing"),
        ("Objectives", ", ".join(run["slo"]) or "none"),
        ("Timeouts", f"{number(run['timeout_s'])} s in all, {number(run['stall_timeout_s'])} s without a byte"),
        ("Client processes", number(run["workers"])),
        ("A slot that is refused", "asks again at once" if run.get("backoff") is False else "waits (--backoff)"),
        ("What comes is acknowledged", "at once (--quick-ack on)" if run.get("quick_ack") else "as clients do"),
        ("Seed", str(run["seed"])),
        ("Plan", run["plan_hash"]),
    ]


def environment(run: Mapping[str, Any]) -> Rows:
    """Server, hardware and software of the run."""
    server, hardware = run["server"], run["hardware"]
    rows = [
        ("Server", f"{server['name']} {server['version'] or '(version unknown)'}"),
        ("Model it serves", server["model"]),
        ("Address", f"{run['url']} ({'launched for this run' if run['launched'] else 'already running'})"),
        ("Context", count(server["context_tokens"], "token") if server["context_tokens"] else "unknown"),
        *((f"Server: {name}", _cut(_text(value), SETTING_LENGTH)) for name, value in server["settings"].items()),
        *((f"GPU {i}", _card(gpu)) for i, gpu in enumerate(hardware["gpus"])),
        ("CPU", f"{hardware['cpu']}, {count(hardware['cores'], 'core')}"),
        ("Memory", _gib(hardware["memory_bytes"])),
        ("Operating system", hardware["os"]),
        ("Packages", ", ".join(f"{name} {version}" for name, version in run["packages"].items()) or "unknown"),
        ("Commit of this tool", run["git_commit"] or "unknown"),
        ("Command", " ".join(run["argv"])),
    ]
    return rows if hardware["gpus"] else [*rows, ("GPU", "none seen by this client")]


def _card(gpu: Mapping[str, Any]) -> str:
    return f"{gpu['name']}, {_gib(gpu['memory_bytes'])}, driver {gpu['driver'] or 'unknown'}"


def flatten(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Nested data as (dotted name, text) rows."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from flatten(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for i, inner in enumerate(value):
            yield from flatten(inner, f"{name}.{i}")
    else:
        yield name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value in ([], {}, ""):
        return DASH
    if isinstance(value, list):
        return " ".join(str(inner) for inner in value)
    return f"{value:,.6g}" if isinstance(value, float) else str(value)


def _with_unit(value: float | None, unit: str) -> str:
    return DASH if value is None else f"{number(value)} {unit}"


def _gib(size_bytes: float | None) -> str:
    return DASH if size_bytes is None else f"{number(size_bytes / 2**30)} GiB"
