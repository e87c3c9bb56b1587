"""The page of a comparison, as text and in a browser."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from analysis.compare.comparison import Run, compare
from analysis.compare.measures import thresholds
from analysis.present import to_html
from analysis.present.comparison_figures import FIGURES, Compared, sections, values_of
from analysis.present.of_comparison import document
from tests.analysis.present.as_plotly import as_plotly

One = Callable[..., tuple[Run, pa.Table]]
EVIL = "<img src=x onerror=alert(1)>"


@pytest.fixture
def written_page(one: One) -> str:
    rng = np.random.default_rng(4)
    (base, before), (candidate, after) = one("before", rng), one("after", rng, slower=1.5)
    found = compare([base], [candidate], thresholds([]), (before, after), warnings=[EVIL])
    return to_html.render(document(found, sections({"base": [before], "candidate": [after]})))


def test_the_page_says_the_verdict_and_escapes_what_comes_from_outside(written_page: str) -> None:
    assert "Worse: 0 better," in written_page
    assert EVIL not in written_page
    assert "&lt;img src=x" in written_page


def test_each_distribution_has_both_sides_and_marks_those_of_the_base(one: One) -> None:
    rng = np.random.default_rng(5)
    (_, before), (_, after) = one("before", rng), one("after", rng)
    compared = Compared({"base": values_of([before]), "candidate": values_of([after])}, 2)
    figure = as_plotly(FIGURES["ttft_ms"].draw(compared))
    assert [trace.name for trace in figure.data[:2]] == ["base", "candidate"]
    assert list(figure.data[2].text) == ["p50", "p99"]


def test_a_metric_that_no_request_has_is_not_drawn() -> None:
    nothing = dict.fromkeys(FIGURES, np.zeros(0))
    assert FIGURES["itl_ms"].draw(Compared({"base": nothing, "candidate": nothing}, 2)) is None


def test_a_browser_draws_it_without_an_error_or_a_request(written_page: str, page: Any, tmp_path: Path) -> None:
    path = tmp_path / "compare.html"
    path.write_text(written_page, encoding="utf-8")
    page.open(path, width=1200)
    assert page.drawn() == list(FIGURES)
    assert page.errors == []
    assert page.requested == [path.as_uri()]
