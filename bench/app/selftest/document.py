"""What a selftest found as a Document: the loads of each kind, and up to which the client is exact."""

from typing import Final

from analysis.present.document import Column, Document, Facts, Prose, Row, Section, Table, facts, row
from analysis.wording import DASH, count
from bench.app.selftest.climb import MeasuredLadder, Selftest
from bench.app.selftest.ladder import LIMIT_MS, Bound, Ladder, streams_at
from bench.app.selftest.measure import Cores, LoadResult

COLUMNS: Final = (
    Column("streams"),
    *(Column(f"first {name}", drop=drop) for name, drop in (("p50", 3), ("p99", 0), ("max", 2))),
    *(Column(f"gap {name}", drop=drop) for name, drop in (("p50", 3), ("p99", 0), ("max", 2))),
    *(Column(f"lag {name}", drop=drop) for name, drop in (("p99", 5), ("max", 1))),
    Column("cpu"),
    Column("others", drop=6),
    Column("server late", drop=4),
)
WHY: Final[dict[Bound | None, str]] = {
    "error": f"above it, the client's error passes {LIMIT_MS:g} ms at p99",
    "client": "there the client's cores were full",
    "server": "at least: the server could send no more",
    "others": "at least: others used the client's cores; repeat it while this machine does nothing else",
    None: "at least: nothing higher was tried",
}


def document(found: Selftest) -> Document:
    """All loads, with what they say together."""
    kept = "" if found.kept is None else f"kept for the runs on this machine: {found.kept}"
    return Document(
        title="",
        blocks=(
            Prose((where(found.workers, found.cores, found.cpu),)),
            *map(_climb, found.climbs),
            Section("", (Prose(tuple(filter(None, [kept]))),)),
        ),
        data=found.data,
    )


def where(workers: int, cores: Cores, cpu: str) -> str:
    """Who runs where."""
    names = ", ".join(map(str, cores.client))
    client = f"{workers} load process{'' if workers == 1 else 'es'} on {'core' if len(cores.client) == 1 else 'cores'}"
    server = (
        "which the ground-truth server shares, so that this is what both can do together"
        if cores.shared
        else f"ground-truth server on core {cores.server}"
    )
    return f"{client} {names}, {server}; {cpu}"


def _climb(climb: MeasuredLadder) -> Section:
    ladder, limit = climb.ladder, climb.limit
    answers = f"In answers of {count(ladder.tokens, 'token')} {ladder.gap_ms:g} ms apart"
    caption = f"{answers}; {climb.results[0].stamps} stamps; errors and lags in ms"
    rows = tuple(_row(ladder, result) for result in climb.results)
    exact = [("exact up to", f"{limit.per_s:,.0f} {ladder.unit} ({WHY[limit.bounded_by]})")]
    if ladder.name == "events" and limit.per_s:
        streams = ", ".join(f"{number:,} at {tokens}" for tokens, number in streams_at(limit.per_s).items())
        exact.append(("that is", f"streams by their tokens/s: {streams}"))
    columns = (Column(ladder.unit), *COLUMNS)
    return Section(ladder.unit.capitalize(), (Table(columns, rows, caption), _apart(facts(exact))))


def _apart(found: Facts) -> Section:
    return Section("", (found,))


def _row(ladder: Ladder, result: LoadResult) -> Row:
    first, gap = result.first_token, result.gap
    errors = (first.p50_ms, first.p99_ms, first.max_ms, gap.p50_ms, gap.p99_ms, gap.max_ms)
    return row(
        f"{ladder.per_s(result):,.0f}",
        f"{result.case.streams:,}",
        *(_ms(value, 3) for value in errors),
        *(_ms(value, 2) for value in (result.lag_p99_ms, result.lag_max_ms)),
        f"{result.cpu_fraction:.0%}",
        f"{result.other_fraction:.0%}",
        _ms(result.server_late_p99_ms, 2),
    )


def _ms(value: float | None, places: int) -> str:
    return DASH if value is None else f"{value:,.{places}f}"
