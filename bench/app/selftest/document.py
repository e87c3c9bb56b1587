"""What a selftest found as a Document: the loads of each kind, and up to which the client is exact."""

from collections.abc import Sequence
from typing import Final

from analysis.present.document import Column, Document, Facts, Prose, Row, Section, Table, facts, row
from analysis.wording import DASH, count, number
from bench.app.selftest.climb import MeasuredLadder, Selftest
from bench.app.selftest.ladder import LIMIT_MS, Bound, Ladder, highest_exact, streams_at
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
BY_STAMPS: Final = (
    *(Column(name) for name in ("stamps", "streams", "first token", "token gap", "token events/s", "core")),
)
WHY: Final[dict[Bound | None, str]] = {
    "error": f"above it, the client's error passes {LIMIT_MS:g} ms at p99",
    "client": "there the client's cores were fully busy",
    "server": "at least: the server could send no more",
    "others": "at least: other processes used the client's cores; repeat it on an idle machine",
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
            _by_stamps([found] if found.beside is None else [found, found.beside]),
            Section("", (Prose(tuple(filter(None, [kept]))),)),
        ),
        data=found.data,
    )


def where(workers: int, cores: Cores, cpu: str) -> str:
    """Who runs where."""
    names = ", ".join(map(str, cores.client))
    client = f"{workers} load process{'' if workers == 1 else 'es'} on {'core' if len(cores.client) == 1 else 'cores'}"
    server = (
        "which the ground-truth server shares, so this is the limit of both together"
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


def _by_stamps(found: Sequence[Selftest]) -> Section:
    """What each kind of stamps achieves on this machine, by number of streams, and in a sentence."""
    rows, sentences = [], []
    for ladder, results, limit in (each.climbs[0] for each in found):
        stamps = f"{results[0].stamps} stamps"
        for result in sorted(results, key=lambda each: each.case.streams):
            errors = (_ms(error.p99_ms, 3) for error in (result.first_token, result.gap))
            rates = (f"{result.events_per_s:,.0f}", f"{result.cpu_fraction:.0%}")
            rows.append(row(results[0].stamps, f"{result.case.streams:,}", *errors, *rates))
        sentences.append((stamps, _in_a_sentence(highest_exact(ladder, results), limit.bounded_by)))
    caption = "Error at p99 in ms, by kind of stamps and number of streams"
    return Section("By stamps", (Table(BY_STAMPS, tuple(rows), caption), _apart(facts(sentences))))


def _in_a_sentence(best: LoadResult | None, bounded_by: Bound | None) -> str:
    """Up to which load a client is exact, and how exact."""
    if best is None:
        why = ", while other processes used the client's cores" if bounded_by == "others" else ""
        return f"above {LIMIT_MS:g} ms at every number of streams tried{why}"
    first, gap = (f"±{number(error.p99_ms)} ms" for error in (best.first_token, best.gap))
    return (
        f"up to {count(best.case.streams, 'stream')} at {best.cpu_fraction:.0%} of a core: first token {first}, "
        f"token gap {gap}"
    )


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
