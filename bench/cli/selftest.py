"""`bench.py selftest`: how far this machine's client is from the truth, at which load."""

from typing import TYPE_CHECKING, Any

import click

from bench.cli.base import echo
from bench.cli.numeric import WHOLE
from bench.exit_codes import EXIT_NOT_TO_BE_TRUSTED

if TYPE_CHECKING:
    from bench.app.selftest.ladder import Ladder, Limit
    from bench.app.selftest.measure import Cores, LoadResult

_HEAD = "  {:>9}  {:>7}   {:>9} {:>7} {:>7}   {:>7} {:>7} {:>7}   {:>7} {:>7}   {:>5} {:>6}   {:>11}"
_ROW = "  {:>9,.0f}  {:>7,}   {:>9} {:>7} {:>7}   {:>7} {:>7} {:>7}   {:>7} {:>7}   {:>5.0%} {:>6.0%}   {:>11}"
_COLUMNS = ("streams", "first p50", "p99", "max", "gap p50", "p99", "max", "lag p99", "max", "cpu", "others")
_WHY = {
    "error": "above it, the client's error passes {limit_ms:g} ms at p99",
    "client": "there the client's cores were full",
    "server": "at least: the server could send no more",
    "others": "at least: others used the client's cores; repeat it while this machine does nothing else",
    None: "at least: nothing higher was tried",
}


@click.command()
@click.option("--workers", type=WHOLE, default=1, help="Load processes, as of the runs that it is to speak for.  [1]")
@click.option("--quick", is_flag=True, help="Fewer and shorter loads: a coarser answer in half a minute.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with everything that was measured.")
def selftest(workers: int, quick: bool, as_json: bool) -> int:
    """Measure how exact this machine's client is, at which load.

    A server that logs when it sent each token gets a core of its own, the client another, and loads rise until the
    client's error passes 2 ms, its core is full, or the server can send no more. Runs on this machine are then held
    against what was found. Needs Linux, a C compiler and a machine that does nothing else, for a minute and a half.

    \b
    bench.py selftest
    bench.py selftest --workers 2 --quick
    """
    from bench.app.selftest import climb

    view = _Table(is_silent=as_json)
    found = climb.selftest(workers, view, quick=quick)
    if found.not_kept:
        echo(f"not kept for the runs on this machine: {found.not_kept}", err=True)
    else:
        view.say(f"\nkept for the runs on this machine: {found.kept}")
    if as_json:
        import orjson

        echo(orjson.dumps(found.document, option=orjson.OPT_INDENT_2).decode())
    return 0 if found.is_exact else EXIT_NOT_TO_BE_TRUSTED


class _Table:
    """Prints a line for each load."""

    def __init__(self, *, is_silent: bool) -> None:
        self.is_silent = is_silent

    def say(self, text: str) -> None:
        if not self.is_silent:
            echo(text)

    def begins(self, facts: dict[str, Any], cores: "Cores") -> None:
        self.say(where(facts, cores))

    def climbs(self, ladder: "Ladder") -> None:
        self.say(
            f"\n{ladder.unit}, in answers of {ladder.tokens} tokens {ladder.gap_ms:g} ms apart; errors and lags in ms"
        )
        self.say(_HEAD.format(ladder.unit.rpartition(" ")[2], *_COLUMNS, "server late"))

    def measured(self, ladder: "Ladder", result: "LoadResult") -> None:
        self.say(_row(ladder, result))

    def found(self, ladder: "Ladder", limit: "Limit") -> None:
        self.say(_in_words(ladder, limit))


def where(facts: dict[str, Any], cores: "Cores") -> str:
    """Say who runs where."""
    loads = "1 load process" if facts["workers"] == 1 else f"{facts['workers']} load processes"
    names = ", ".join(map(str, cores.client))
    client = f"{loads} on core{'' if len(cores.client) == 1 else 's'} {names}"
    server = (
        "which the ground-truth server shares, so that this is what both can do together"
        if cores.shared
        else f"ground-truth server on core {cores.server}"
    )
    return f"{client}, {server}; {facts['hardware']['cpu']}, {facts['hardware']['cores']} cores"


def _row(ladder: "Ladder", result: "LoadResult") -> str:
    first, gap = result.first_token, result.gap
    errors = (first.p50_ms, first.p99_ms, first.max_ms, gap.p50_ms, gap.p99_ms, gap.max_ms)
    lags = (result.lag_p99_ms, result.lag_max_ms)
    return _ROW.format(
        ladder.per_s(result),
        result.case.streams,
        *(_ms(value, 3) for value in errors),
        *(_ms(value, 2) for value in lags),
        result.cpu_fraction,
        result.other_fraction,
        _ms(result.server_late_p99_ms, 2),
    )


def _ms(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:,.{places}f}"


def _in_words(ladder: "Ladder", found: "Limit") -> str:
    from bench.app.selftest.ladder import LIMIT_MS, streams_at

    line = f"exact up to {found.per_s:,.0f} {ladder.unit} ({_WHY[found.bounded_by].format(limit_ms=LIMIT_MS)})"
    if ladder.name == "requests" or not found.per_s:
        return line
    streams = ", ".join(f"{count:,} at {tokens_per_s}" for tokens_per_s, count in streams_at(found.per_s).items())
    return f"{line}\nthat is, streams by their tokens/s: {streams}"
