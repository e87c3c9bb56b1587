"""The report of a run: its Document, with its figures, as one page."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from analysis.present import of_run, to_html
from analysis.present.figures import figure_sections
from analysis.present.plots import FIGURES, Data


def render(run: Mapping[str, Any], summary: Mapping[str, Any], requests: pa.Table, telemetry: pa.Table | None) -> str:
    """One self-contained HTML page from run.json, summary.json and the two tables."""
    figures = figure_sections(FIGURES, Data(requests, telemetry, summary))
    return to_html.render(of_run.document(run, summary, requests, figures))
