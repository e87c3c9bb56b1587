"""A study as a Document: the answer, a row for each contender, how they trade, their bills, what was assumed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Literal, NamedTuple

from analysis.breakeven.comparison import CostComparison
from analysis.present import in_words, of_breakeven, of_ranking
from analysis.present.document import (
    PAGE,
    TONES,
    Cell,
    Column,
    Columns,
    Document,
    Fact,
    Facts,
    Headline,
    Note,
    Notes,
    Prose,
    Row,
    Section,
    Table,
    Tone,
    facts,
    table,
)
from analysis.present.figures import figure_sections
from analysis.present.study_figures import FIGURES, TRADES, Drawing
from analysis.study import FIGURES as OF_A_CELL
from analysis.study import (
    MOST_NAMED,
    CellPlace,
    ContenderResult,
    StudyAnswer,
    StudyCell,
    StudyResult,
    best,
    fastest,
    pareto,
    per_gpu,
)
from analysis.wording import DASH, count, dollars, number, percent, together
from bench.runs.sections import pick
from bench.types import Scenario

SCHEMA: Final = 1
SHOWN: Final[Mapping[str, Column]] = {
    "ttft_ms_p50": Column("ttft p50, ms"),
    "ttft_ms_p99": Column("ttft p99, ms", drop=4),
    "tpot_ms_p50": Column("tpot p50, ms", drop=11),
    "tpot_ms_p99": Column("tpot p99, ms", drop=3),
    "response_ms_p50": Column("response p50, ms", drop=6),
    "output_tokens_per_s": Column("tok/s", drop=13),
    "tokens_per_s_per_user": Column("tok/s/user", drop=7),
    "tokens_per_s_per_gpu": Column("tok/s/GPU", drop=1),
    "joules_per_token": Column("J/token", drop=1),
    "usd_per_1000_requests": Column("$/1,000 requests", drop=10),
    "usd_per_million_output_tokens": Column("$/M tokens", drop=2),
    "good_share": Column("good", drop=8),
}
"""The figures of a cell, each under its column."""
BEST: Final[tuple[tuple[str, str, Literal["lower", "higher"]], ...]] = (
    ("output_tokens_per_s", "most output tokens/s", "higher"),
    ("ttft_ms_p50", "lowest ttft p50, ms", "lower"),
    ("usd_per_million_output_tokens", "cheapest 1M tokens", "lower"),
)
METHOD: Final = (
    "Each row has the medians over the runs of its cell; with one run they are the figures of its report. A response "
    "lasts from a request's planned instant to its end; tokens/s per user are 1000 / tpot. Contenders took turns, so "
    "drift favours none.",
    "Bills come from the command in the assumptions box, run on the same folders; it prints the same sentence, table "
    "and lines as this page.",
)


@dataclass(frozen=True, slots=True)
class StudyBills:
    """What all ways to be served cost, and the command that says so; None with the reason where that is not known.

    `names` are what contenders are called among the ways, where it is not their own name.
    """

    comparison: CostComparison | None = None
    command: str = ""
    why: str = ""
    names: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StudyAsked:
    """What was asked of all contenders, for the box of assumptions."""

    folder: str
    scenario: Scenario | None
    slo: tuple[str, ...]
    machine: str | None
    software: str | None
    repeats: int
    servers: str
    requests_per_month: int | None = None
    contenders: Mapping[str, str] = field(default_factory=dict)


def document(study: StudyResult, bills: StudyBills, asked: StudyAsked) -> Document:
    """The study; its page has figures as well."""
    said, status = answer(study, bills)
    front = pareto(study, per_gpu(study), "higher")
    return Document(
        title=_title(study),
        kind=f"Study · scenario {asked.scenario.name}" if asked.scenario else "Study",
        headline=Headline(status, said.text),
        blocks=(
            Facts(tuple(_tiles(study, said)), tiles=True),
            Section(f"At {study.main_load}" if study.main_load else "Contenders", (_table(study, bills),)),
            Section("What failed", (Notes(tuple(_failures(study))),)),
            *figure_sections(TRADES if bills.comparison is None else FIGURES, Drawing(study, bills.comparison)),
            *_of_bills(bills),
            Section("What was assumed", (facts(list(_assumed(study, bills, asked))),), boxed=True),
            Section("Every cell", (_all_cells(study, front),), PAGE, folded=True),
            *_pairs(bills),
            Section("Method", (Prose(METHOD, "quiet"),), PAGE),
        ),
        data=_data(study, said, bills, front),
        records=tuple(_records(study, front)),
        footer=asked.folder,
    )


def _title(study: StudyResult) -> str:
    names = [contender.name for contender in study.contenders]
    return " against ".join(names) if len(names) <= MOST_NAMED else f"{count(len(names), 'contender')} compared"


def answer(study: StudyResult, bills: StudyBills) -> tuple[StudyAnswer, str]:
    """The cheapest at the user's volume where that is known, else who serves most; and how sure, as a status."""
    ranking = bills.comparison.ranking if bills.comparison is not None else None
    if ranking is None or not ranking.month or bills.comparison is None:
        return fastest(study), "answer"
    found = of_ranking.headline(ranking, bills.comparison.requests_per_month)
    named = ranking.named
    return StudyAnswer(found.text, "a month", of_ranking.shown_usd(named.usd), named.name), found.status


def _tiles(study: StudyResult, said: StudyAnswer) -> Iterator[Fact]:
    """The answer's number, and who is best at the load that matters in what else a reader asks first."""
    if said.value:
        yield Fact(said.label, said.value, note=said.of)
    for name, label, better in BEST:
        found = best(study, name, better)
        if found is not None and label != said.label:
            yield Fact(label, _shown(name, found[1]), note=found[0])


# --- tables -------------------------------------------------------------------------------------------------------


class _Line(NamedTuple):
    contender: ContenderResult
    cell: StudyCell


def _table(study: StudyResult, bills: StudyBills) -> Table:
    columns: Columns[_Line] = (
        _NAME,
        _STATUS,
        (Column("a month", drop=12), lambda line: _month(line.contender.name, bills)),
        *_FIGURES,
        (
            Column("capacity, requests/s", drop=9),
            lambda line: (
                Cell(number(found.rate_per_s), link=found.page) if (found := line.contender.capacity) else DASH
            ),
        ),
    )
    cells = [_Line(contender, contender.cell(study.main_load or "")) for contender in study.contenders]
    caption = f"Medians over the runs of each cell at {study.main_load}" if study.main_load else ""
    return _known(table(columns, cells, caption))


def _all_cells(study: StudyResult, front: frozenset[CellPlace]) -> Table:
    def load(line: _Line) -> str:
        return f"{line.cell.load} ◆" if CellPlace(line.contender.name, line.cell.load) in front else line.cell.load

    columns: Columns[_Line] = (
        _NAME,
        (Column("load", "left"), load),
        _STATUS,
        *_FIGURES,
        (Column("runs"), lambda line: str(len(line.cell.runs))),
    )
    cells = [_Line(contender, cell) for contender in study.contenders for cell in contender.cells]
    caption = f"◆ lies on the front of tokens/s a user and {per_gpu(study).replace('_', ' ')}"
    return _known(table(columns, cells, caption))


def _known(whole: Table) -> Table:
    """A table without the columns of which nothing is known."""
    kept = [i for i in range(len(whole.columns)) if any(row.cells[i].text != DASH for row in whole.rows)]
    return Table(
        tuple(whole.columns[i] for i in kept),
        tuple(Row(tuple(row.cells[i] for i in kept), row.tone) for row in whole.rows),
        whole.caption,
    )


def _status(line: _Line) -> Cell:
    cell = line.cell
    link = f"{cell.runs[0].folder}/report.html" if cell.runs else ""
    tone: Tone = "bad" if cell.status == "failed" else TONES.get(cell.status, "quiet")
    return Cell(cell.status, tone=tone, why=cell.problem or "", link=link)


def _shown(name: str, value: float | None) -> str:
    if name == "good_share":
        return percent(value)
    return dollars(value) if name.startswith("usd_") else number(value)


def _figure(name: str, line: _Line) -> str:
    return _shown(name, line.cell.figure(name))


_NAME: Final[tuple[Column, Callable[[_Line], str]]] = (Column("contender", "left"), lambda line: line.contender.name)
_STATUS: Final = (Column("verdict", "left", drop=5), _status)
_FIGURES: Final[Columns[_Line]] = tuple((column, partial(_figure, name)) for name, column in SHOWN.items())


def _month(name: str, bills: StudyBills) -> str:
    ranking = bills.comparison.ranking if bills.comparison is not None else None
    usd = {bill.name: bill.usd for bill in ranking.month} if ranking is not None else {}
    return of_ranking.shown_usd(usd.get(bills.names.get(name, name)))


def _failures(study: StudyResult) -> Iterator[Note]:
    for contender in study.contenders:
        problems = [*((cell.problem, cell.load) for cell in contender.cells), (contender.problem, "capacity")]
        for why, loads in together((why, load) for why, load in problems if why is not None).items():
            yield Note(f"{contender.name} at {', '.join(loads)}: {why}", tone="bad")


# --- bills and assumptions ----------------------------------------------------------------------------------------


def _of_bills(bills: StudyBills) -> Iterator[Section]:
    """The bills, what would change the answer, and where the order changes."""
    if bills.comparison is None or bills.comparison.ranking is None:
        yield Section("Bills", (Prose((bills.why,), "quiet"),))
        return
    yield from of_ranking.sections(bills.comparison.ranking, bills.comparison.requests_per_month)


def _pairs(bills: StudyBills) -> Iterator[Section]:
    if bills.comparison is None:
        return
    inner = of_breakeven.document(bills.comparison).blocks
    kept = tuple(block for block in inner if isinstance(block, Section) and block.title in ("What to do", "Break-even"))
    yield Section("Each contender against each API", kept, PAGE, folded=True)


def _assumed(study: StudyResult, bills: StudyBills, asked: StudyAsked) -> Iterator[tuple[str, str]]:
    if asked.scenario is not None:
        tokens = in_words.lengths(asked.scenario.prompt_tokens), in_words.lengths(asked.scenario.output_tokens)
        yield "lengths", f"prompts {tokens[0]} tokens, answers {tokens[1]}"
    yield "objectives", ", ".join(asked.slo) or "none"
    sides = {side.servers.name: side for side in bills.comparison.sides} if bills.comparison is not None else {}
    for contender in study.contenders:
        # Servers that are compared with none of their kind have no name among the bills.
        side = sides.get(bills.names.get(contender.name, contender.name)) or (len(sides) == 1 and sides.get(""))
        paid = f"{side.servers.description}" if side else ""
        if not paid and contender.usd_per_hour is not None:
            paid = f"{dollars(contender.usd_per_hour)} an hour"
        flags = asked.contenders.get(contender.name, "")
        said = filter(None, (flags, contender.server or "not measured", paid))
        yield f"contender {contender.name}", "; ".join(said)
    for used in dict.fromkeys(
        f"{percent(float(side.host.utilization))} of a replica, peak {number(float(side.host.traffic.peak))} "
        "times the mean"
        for side in sides.values()
    ):
        yield "utilisation", used
    if bills.comparison is not None and of_breakeven.has_api_prices(bills.comparison):
        yield "API prices", of_breakeven.price_source()
    if asked.machine is not None:
        yield "client", asked.machine
    if asked.software is not None:
        yield "measured with", asked.software
    yield "order", f"{count(asked.repeats, 'repeat')}, servers {asked.servers}"
    yield "repeat it", f"bench.py sweep {asked.folder}"
    if bills.command:
        yield "the bills", bills.command


# --- for programs -------------------------------------------------------------------------------------------------


def _records(study: StudyResult, front: frozenset[CellPlace]) -> Iterator[dict[str, Any]]:
    for contender in study.contenders:
        for cell in contender.cells:
            yield {
                "contender": contender.name,
                "load": cell.load,
                "status": cell.status,
                "runs": len(cell.runs),
                **{name: cell.figure(name) for name in OF_A_CELL},
                "pareto": CellPlace(contender.name, cell.load) in front,
            }


def _data(study: StudyResult, said: StudyAnswer, bills: StudyBills, front: frozenset[CellPlace]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "answer": said.text,
        "main_load": study.main_load,
        "contenders": [_contender(contender, front) for contender in study.contenders],
        "breakeven": None
        if bills.comparison is None
        else {"command": bills.command, **of_breakeven.document(bills.comparison).data},
        "no_breakeven": bills.why or None,
    }


def _contender(contender: ContenderResult, front: frozenset[CellPlace]) -> dict[str, Any]:
    return {
        **pick(contender, "name", "backend", "model", "server", "capacity"),
        "loads": [_cell(cell, CellPlace(contender.name, cell.load) in front) for cell in contender.cells],
    }


def _cell(cell: StudyCell, is_front: bool) -> dict[str, Any]:
    def of(names: Sequence[str]) -> dict[str, float | None]:
        return {name: cell.figure(name) for name in names}

    latencies = [name for name in OF_A_CELL if "_ms_" in name]
    costs = [name for name in OF_A_CELL if name.startswith(("usd_", "joules_"))]
    return {
        "load": cell.load,
        "runs": [
            {
                "folder": run.folder,
                "seed": run.seed,
                "verdict": run.summary.verdict.status,
                **{name: figure(run.summary) for name, figure in OF_A_CELL.items()},
            }
            for run in cell.runs
        ],
        "verdict": cell.status,
        "problem": cell.problem,
        "metrics": of(latencies),
        "throughput": of([name for name in OF_A_CELL if name not in (*latencies, *costs, "good_share")]),
        "cost": of(costs),
        "good_share": cell.figure("good_share"),
        "pareto": is_front,
    }
