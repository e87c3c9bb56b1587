"""What `bench.py breakeven` shows on the terminal, from the document that `--json` prints."""

from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from rich.console import Console
from rich.text import Text

from analysis.wording import number
from bench.cli.output import show_fact

_GAP = "  "
_LONGEST_NAME = 34
_BARS_TOLD = 3
_CHOICES = {"self-host": "self-host", "api": "pay the API", "same": "the same", "undecided": "undecided"}
_HEADERS = ("versus", "$/request", "answer", "first", "for good", "95% interval of first", "P(cheaper)")


def print_comparison(console: Console, shown: Mapping[str, Any]) -> None:
    """Print what is compared, the answer against each API, what it costs at the user's volume, and what to do."""
    servers = shown["servers"]
    volume = shown["requests_per_month"]
    show_fact(console, "servers", servers["description"], "strong")
    show_fact(console, "capacity", _capacity(servers))
    if volume is not None:
        show_fact(console, "volume", f"{volume:,} requests/month")
    snapshot = shown["prices"]
    day = snapshot["as_of"] or "an unknown day"
    show_fact(console, "API prices", f"{snapshot['source']} {snapshot['version']}, prices of {day}")
    for warning in shown["warnings"]:
        show_fact(console, "note", warning)
    console.print()
    console.print(_answers(shown["rivals"]), soft_wrap=True)
    if volume is not None and any(rival["month"] for rival in shown["rivals"]):
        console.print()
        console.print(_months(shown["rivals"], volume), soft_wrap=True)
    for rival in shown["rivals"]:
        console.print()
        console.print(Text(rival["name"], "bold"), soft_wrap=True)
        for label, text in _facts(rival):
            show_fact(console, label, text)


def print_choice(console: Console, what: str, shown: Mapping[str, Any]) -> None:
    """Print the answer of a small calculator: from which volume on `what` costs no more."""
    answer, volume = shown["answer"], shown["requests_per_month"]
    show_fact(console, "answer", answer["kind"], "strong")
    show_fact(console, "", f"{what} {_where(answer)}")
    for reason in answer["reasons"]:
        show_fact(console, "because", reason)
    if volume is not None:
        show_fact(console, "volume", f"at {volume:,} requests/month it {'pays' if shown['pays'] else 'does not pay'}")


def _where(answer: Mapping[str, Any]) -> str:
    if answer["kind"] == "always":
        return "costs no more at any volume"
    if answer["first"] is None:
        return "never pays"
    return f"pays from {answer['first']:,} {answer['unit']} on"


def _capacity(servers: Mapping[str, Any]) -> str:
    low, high = servers["capacity_rps_ci95"]
    rate = number(servers["capacity_rps"])
    if low is not None:
        rate += f" ({number(low)} to {number(high)})"
    if not servers["capacity_rps"]:
        return "none: no rate meets the objectives"
    used = f"{servers['utilization']:.0%} of it used at most, peak {number(servers['peak_to_mean'])} times the mean"
    return f"{rate} requests/s a replica, {used}: {servers['requests_per_replica']:,} requests/month for each"


# --- tables -----------------------------------------------------------------------------------------------------


def _answers(rivals: Sequence[Mapping[str, Any]]) -> Text:
    rows = []
    for rival in rivals:
        answer, chance = rival["answer"], rival["p_cheaper"] if rival["measured"] else None
        rows.append(
            (
                _name(rival),
                _usd(rival["usd_per_request"]),
                _choice(rival),
                _count(answer["first"]),
                _count(answer["permanent"]),
                _interval(rival["first_break_even"]) if rival["measured"] else "-",
                "-" if chance is None else f"{chance:.1%}",
            )
        )
    return Text.assemble(("self-hosting is no dearer from so many requests/month on\n", "dim"), _table(_HEADERS, rows))


def _months(rivals: Sequence[Mapping[str, Any]], volume: int) -> Text:
    rows = []
    for rival in rivals:
        if month := rival["month"]:
            share = f"{month['api_share']:.0%}" if month["api_share"] else "none"
            least = month["saving_usd_80"][0] if rival["measured"] else None
            usd = (_cents(amount) for amount in (month["api_usd"], month["self_usd"], month["saving_usd"], least))
            rows.append((_name(rival), *usd, _replicas(month["replicas_ci95"]), share))
    title = f"a month of {volume:,} requests\n"
    headers = ("versus", "the API", "self-hosting", "saved", "in 9 of 10 at least", "replicas", "left to the API")
    return Text.assemble((title, "dim"), _table(headers, rows))


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Text:
    """Columns under their headers, words to the left and numbers to the right."""
    columns = []
    for header, *cells in zip(headers, *rows, strict=True):
        width = max(map(len, (header, *cells)))
        left = header in ("versus", "answer")
        columns.append([cell.ljust(width) if left else cell.rjust(width) for cell in (header, *cells)])
    first, *lines = (_GAP.join(cells).rstrip() for cells in zip(*columns, strict=True))
    return Text("\n").join([Text(first, "bold"), *map(Text, lines)])


def _facts(rival: Mapping[str, Any]) -> list[tuple[str, str]]:
    facts = [("" if i else "advice", sentence) for i, sentence in enumerate(rival["advice"])]
    low, high = rival["usd_per_request_ci95"]
    if low is not None:
        facts.append(("price", f"{_usd(rival['usd_per_request'])} a request, 95% interval {_usd(low)} to {_usd(high)}"))
    bars = [_bar(bar, of_month=rival["month"] is not None) for bar in rival["tornado"][:_BARS_TOLD]]
    facts += [("" if i else "sensitive", bar) for i, bar in enumerate(bars)]
    return facts + [("note", warning) for warning in rival["warnings"]]


# --- cells ------------------------------------------------------------------------------------------------------


def _name(rival: Mapping[str, Any]) -> str:
    name: str = rival["name"]
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _choice(rival: Mapping[str, Any]) -> str:
    """What to do at the user's volume; where none was named, what the volumes are at which self-hosting pays."""
    kind: str = rival["answer"]["kind"]
    return kind if rival["choice"] is None else _CHOICES[rival["choice"]]


def _replicas(ends: Sequence[int | None]) -> str:
    fewest, most = ends
    if fewest is None or most is None:
        return "-"
    return f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"


def _count(volume: int | None) -> str:
    return "-" if volume is None else f"{volume:,}"


def _interval(first: Mapping[str, Any]) -> str:
    low, high = first["ci95"]
    never = "" if low is not None and high is not None else f" ({first['never_share']:.0%} never)"
    return f"{'never' if low is None else f'{low:,}'} to {'never' if high is None else f'{high:,}'}{never}"


def _bar(bar: Mapping[str, Any], *, of_month: bool) -> str:
    """What an input does to the user's month or, where no volume is named, to the first break-even."""
    if of_month:
        low, high = ("nothing, or any loss" if usd is None else _cents(usd) for usd in bar["saving_usd"])
        return f"{bar['input']}: saves {low} to {high} a month"
    low, high = ("never" if volume is None else f"{volume:,}" for volume in bar["first_break_even"])
    return f"{bar['input']}: first break-even {low} to {high}"


def _cents(amount: str | None) -> str:
    if amount is None:
        return "-"
    usd = Decimal(amount).quantize(Decimal("0.01"), ROUND_HALF_UP)
    return f"{'-' if usd < 0 else ''}${abs(usd):,f}"


def _usd(amount: str | float) -> str:
    """Dollars to the cent, below ten cents to three digits, rounded half up."""
    usd = Decimal(str(amount))
    size = abs(usd)
    places = 2 if size >= Decimal("0.1") or not size else 2 - size.adjusted()
    return f"{'-' if usd < 0 else ''}${size.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP):,f}"
