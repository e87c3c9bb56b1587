"""The page of a study of many contenders: how large it is, and how it is drawn."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from analysis.present import to_html
from analysis.present.of_study import StudyAsked, StudyBills, document
from analysis.study import (
    CellCapacity,
    ContenderResult,
    StudyCell,
    StudyResult,
    StudyRun,
    best,
    fastest,
    main_load,
    pareto,
)
from tests.analysis.conftest import PAPER_PX
from tests.analysis.present.as_plotly import plotly_takes_all
from tests.golden import fits_every_terminal
from tests.summaries import slo_result, summary_of

LOADS = tuple(f"c{2**i}" for i in range(8))


def cell(load: str, rate: float, ttft_ms: float, tpot_ms: float, status: str = "valid", met: bool | None = None) -> Any:
    found = summary_of({
        "verdict": {"status": status},
        "metrics": {"ttft_ms": {"p50": ttft_ms, "p99": 2 * ttft_ms}, "tpot_ms": {"p50": tpot_ms, "p99": 2 * tpot_ms},
                    "response_ms": {"p50": 900.0, "p99": 1900.0}},
        "throughput": {"requests_per_s": rate / 100, "output_tokens_per_s": rate, "slo_attainment": 0.97},
        "slo": [] if met is None else [slo_result(met)],
    })  # fmt: skip
    return StudyCell(load, (StudyRun(f"x/{load}-01", 0, found),))


def study(contenders: int, loads: Sequence[str] = LOADS) -> StudyResult:
    found = tuple(
        ContenderResult(
            f"contender {i}", "vllm", "m",
            tuple(cell(load, 100.0 * (i + 1) * (n + 1), 20.0 * (n + 1), 10.0 + n * i) for n, load in enumerate(loads)),
        )
        for i in range(contenders)
    )  # fmt: skip
    return StudyResult(found, tuple(loads), main_load(found, loads))


def known_in_all_columns(contenders: int) -> StudyResult:
    """A study of which every figure is known, with names as people give them."""
    found = summary_of({
        "metrics": {name: {"p50": 12345.6, "p99": 123456.7} for name in ("ttft_ms", "tpot_ms", "response_ms")},
        "throughput": {"requests_per_s": 98.7, "output_tokens_per_s": 98765.4, "slo_attainment": 0.9712},
        "window": {"seconds": 60.0},
        "energy": {"gpus": 1, "joules": 12345.6, "joules_per_output_token": 0.0123456},
        "cost": {"basis": "self-hosted", "usd_per_request": 1.23456, "usd_per_million_output_tokens": 12345.67},
    })  # fmt: skip
    cells = tuple(StudyCell(load, (StudyRun(f"x/{load}-01", 0, found),)) for load in LOADS)
    each = ContenderResult("", "vllm", "m", cells, CellCapacity(123.4, 120.0, 130.0, "x/capacity.html"))
    names = (f"vLLM mistral-7b-awq on {n} H100 SXM" for n in range(1, contenders + 1))
    return StudyResult(tuple(replace(each, name=name) for name in names), LOADS, LOADS[-1])


def asked() -> StudyAsked:
    return StudyAsked("results/s", None, (), None, None, 1, "together")


def rendered(of: StudyResult) -> str:
    return to_html.render(document(of, StudyBills(why="no break-even"), asked()))


def test_twelve_contenders_under_eight_loads_are_one_page_below_1_6_mb() -> None:
    page = rendered(study(12))
    assert len(page.encode()) < 1_600_000
    assert page.count("contender 11") >= 9
    plotly_takes_all(page)


@pytest.mark.parametrize("contenders", [1, 5])
def test_no_terminal_breaks_a_word_of_it(contenders: int) -> None:
    fits_every_terminal(document(study(contenders), StudyBills(why="no break-even"), asked()))


def test_the_load_that_matters_is_the_last_at_which_most_meet_their_objectives() -> None:
    cells = (cell("c1", 100, 20, 10, met=True), cell("c4", 300, 20, 10, met=True), cell("c16", 500, 90, 30, met=False))
    contenders = (ContenderResult("a", "vllm", "m", cells), ContenderResult("b", "vllm", "m", cells))
    assert main_load(contenders, ("c1", "c4", "c16")) == "c4"
    assert main_load((), ()) is None


def test_who_misses_an_objective_or_cannot_be_believed_is_not_the_best() -> None:
    contenders = (
        ContenderResult("kept", "vllm", "m", (cell("c1", 100, 20, 10, met=True),)),
        ContenderResult("missed", "vllm", "m", (cell("c1", 300, 5, 1, met=False),)),
        ContenderResult("invalid", "vllm", "m", (cell("c1", 900, 1, 1, "invalid"),)),
    )
    of = StudyResult(contenders, ("c1",), "c1")
    assert fastest(of).of == "kept"
    assert best(of, "ttft_ms_p50", "lower") == ("kept", 20.0)
    assert {place.contender for place in pareto(of, "output_tokens_per_s", "higher")} == {"missed"}


@pytest.mark.parametrize(
    ("width", "dark"), [*(pytest.param(1200, dark, marks=pytest.mark.slow) for dark in (False, True)), (390, False)]
)
def test_a_browser_draws_it_without_an_error_and_within_its_width(
    page: Any, tmp_path: Path, width: int, dark: bool
) -> None:
    path = tmp_path / "study.html"
    path.write_text(rendered(study(3)), encoding="utf-8")
    page.open(path, width=width, dark=dark)
    assert page.drawn() == ["latency", "front"]
    assert page.errors == []
    assert page.requested == [path.as_uri()]


@pytest.mark.slow
def test_on_paper_every_column_is_on_the_sheet(page: Any, tmp_path: Path) -> None:
    file = tmp_path / "study.html"
    file.write_text(rendered(known_in_all_columns(12)), encoding="utf-8")
    page.open(file, 1000)
    assert page.evaluate("document.querySelector('table').rows[0].cells.length") == 15
    page.on_paper("document.querySelectorAll('details').forEach(section => section.open = true)")
    assert (
        page.evaluate("Math.max(...[...document.querySelectorAll('table')].map(table => table.scrollWidth))")
        <= PAPER_PX
    )
    assert page.evaluate("document.documentElement.scrollWidth") == PAPER_PX
