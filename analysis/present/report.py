"""The report of a run: its Document, with its figures, as one page."""

import pyarrow as pa

from analysis.present import of_run, to_html
from analysis.present.figures import figure_sections
from analysis.present.pages import ALONE, PagePlace
from analysis.present.plots import FIGURES, Data
from analysis.run.summary import RunSummary
from bench.runs.manifest import RunManifest


def render(
    run: RunManifest, summary: RunSummary, requests: pa.Table, telemetry: pa.Table | None, place: PagePlace = ALONE
) -> str:
    """One HTML page from what was asked, what came out, and the two tables."""
    # Single requests have no turns, and nobody asks where a figure of them is.
    plots = {name: plot for name, plot in FIGURES.items() if name != "turns" or summary.sessions is not None}
    figures = figure_sections(plots, Data(requests, telemetry, summary))
    return to_html.render(of_run.document(run, summary, requests, figures), place)
