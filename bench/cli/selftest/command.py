"""`bench.py selftest`: a table of this machine's client error by load, kept for the runs that are made here."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from bench.cli.base import echo
from bench.cli.settings import MAX_WORKERS
from bench.exit_codes import EXIT_NOT_TO_BE_TRUSTED
from bench.process.limits import SPARE_FILES

if TYPE_CHECKING:
    from bench.cli.selftest.ladder import Ladder, Limit
    from bench.cli.selftest.measure import Cores, Result

_HEAD = "  {:>9}  {:>7}   {:>9} {:>7} {:>7}   {:>7} {:>7} {:>7}   {:>7} {:>7}   {:>5} {:>6}   {:>11}"
_ROW = "  {:>9,.0f}  {:>7,}   {:>9} {:>7} {:>7}   {:>7} {:>7} {:>7}   {:>7} {:>7}   {:>5.0%} {:>6.0%}   {:>11}"
_COLUMNS = ("streams", "first p50", "p99", "max", "gap p50", "p99", "max", "lag p99", "max", "cpu", "others")


@click.command()
@click.option("--workers", type=int, default=1, help="Load processes, as of the runs that it is to speak for.  [1]")
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
    from bench.cli.selftest import ladder as ladders
    from bench.cli.selftest.measure import choose_cores
    from bench.plan.resolve import within
    from bench.truth import server as truth

    within("--workers", workers, 1, MAX_WORKERS)
    truth.compile_server()
    say: Callable[[str], None] = (lambda _: None) if as_json else echo
    cores = choose_cores(workers)
    found = _facts(workers, quick, cores)
    say(_where(found, cores))
    for ladder in (ladders.EVENTS, ladders.REQUESTS):
        found[ladder.name] = _climb(_fitted(ladders.quick(ladder) if quick else ladder, workers), cores, workers, say)
    _keep(found, say)
    if as_json:
        import orjson

        echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    exact = all(found[ladder.name]["limit_per_s"] for ladder in (ladders.EVENTS, ladders.REQUESTS))
    return 0 if exact else EXIT_NOT_TO_BE_TRUSTED


def _facts(workers: int, quick: bool, cores: "Cores") -> dict[str, Any]:
    from dataclasses import asdict
    from datetime import UTC, datetime

    from bench.cli.selftest.ladder import LIMIT_MS
    from bench.telemetry.machine import hardware, versions

    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "workers": workers,
        "quick": quick,
        "limit_ms": LIMIT_MS,
        "cores": asdict(cores),
        "hardware": hardware(),
        "packages": versions(),
    }


def _where(found: dict[str, Any], cores: "Cores") -> str:
    loads = "1 load process" if found["workers"] == 1 else f"{found['workers']} load processes"
    names = ", ".join(map(str, cores.client))
    client = f"{loads} on core{'' if len(cores.client) == 1 else 's'} {names}"
    server = (
        "which the ground-truth server shares, so that this is what both can do together"
        if cores.shared
        else f"ground-truth server on core {cores.server}"
    )
    return f"{client}, {server}; {found['hardware']['cpu']}, {found['hardware']['cores']} cores"


def _fitted(ladder: "Ladder", workers: int) -> "Ladder":
    """The ladder within what the workers can share and the limit on open files allows."""
    import resource
    from dataclasses import replace

    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = ladder.most_streams if files == resource.RLIM_INFINITY else min(ladder.most_streams, files - SPARE_FILES)
    return replace(ladder, first_streams=max(ladder.first_streams, workers), least_streams=workers, most_streams=most)


def _climb(ladder: "Ladder", cores: "Cores", workers: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure one load after another, with a line for each."""
    from bench.cli.selftest.ladder import bound, limit, next_streams
    from bench.cli.selftest.measure import measure

    say(f"\n{ladder.unit}, in answers of {ladder.tokens} tokens {ladder.gap_ms:g} ms apart; errors and lags in ms")
    say(_HEAD.format(ladder.unit.rpartition(" ")[2], *_COLUMNS, "server late"))
    results: list[Result] = []
    while streams := next_streams(ladder, results):
        result = measure(ladder.case(streams), cores, workers, ladder.limit_s)
        if bound(ladder, result) == "others":  # who may have gone by now
            say(_row(ladder, result))
            result = measure(ladder.case(streams), cores, workers, ladder.limit_s)
        say(_row(ladder, result))
        results.append(result)
    found = limit(ladder, results)
    say(_in_words(ladder, found))
    return _document(ladder, results, found)


def _row(ladder: "Ladder", result: "Result") -> str:
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
    from bench.cli.selftest.ladder import LIMIT_MS, streams_at

    why = {
        "error": f"above it, the client's error passes {LIMIT_MS:g} ms at p99",
        "client": "there the client's cores were full",
        "server": "at least: the server could send no more",
        "others": "at least: others used the client's cores; repeat it while this machine does nothing else",
        None: "at least: nothing higher was tried",
    }[found.bounded_by]
    line = f"exact up to {found.per_s:,.0f} {ladder.unit} ({why})"
    if ladder.name == "requests" or not found.per_s:
        return line
    streams = ", ".join(f"{count:,} at {tokens_per_s}" for tokens_per_s, count in streams_at(found.per_s).items())
    return f"{line}\nthat is, streams by their tokens/s: {streams}"


def _document(ladder: "Ladder", results: "list[Result]", found: "Limit") -> dict[str, Any]:
    from bench.cli.selftest.ladder import bound, error_ms, streams_at

    document: dict[str, Any] = {
        "limit_per_s": found.per_s,
        "bounded_by": found.bounded_by,
        "steps": [
            {
                "per_s": ladder.per_s(result),
                "error_ms": error_ms(result),
                "bounded_by": bound(ladder, result),
                **_measured(result),
            }
            for result in results
        ],
    }
    if ladder.name == "events":
        document["streams_at_tokens_per_s"] = {str(rate): count for rate, count in streams_at(found.per_s).items()}
    return document


def _measured(result: "Result") -> dict[str, Any]:
    from dataclasses import asdict

    facts = asdict(result)
    return {**facts.pop("case"), **facts}


def _keep(found: dict[str, Any], say: Callable[[str], None]) -> None:
    from bench.runs import selftests

    hardware = found["hardware"]
    if any(found[name]["limit_per_s"] == 0 and found[name]["bounded_by"] == "others" for name in selftests.LADDERS):
        echo("not kept for the runs on this machine: it was too busy for an answer", err=True)
        return
    try:
        path = selftests.keep(hardware, found)
    except OSError as problem:
        where = selftests.path(hardware)
        echo(f"not kept for the runs on this machine: {where} cannot be written: {problem.strerror}", err=True)
    else:
        say(f"\nkept for the runs on this machine: {path}")
