"""Our figures as objects of Python's plotly, which knows every attribute of plotly.js and what it may be."""

import json
import re
from typing import Any

import plotly.graph_objects as go

from analysis.present.figure import Figure


def as_plotly(figure: Figure | None) -> go.Figure:
    """The figure, which plotly must take as it is."""
    assert figure is not None
    found = go.Figure(data=figure.data, layout=figure.layout)
    assert json.loads(found.to_json()) == json.loads(figure.to_json())
    return found


def plotly_takes_all(html: str) -> None:
    """Fail unless plotly takes each figure of a page as it is."""
    for spec in specs(html):
        assert json.loads(go.Figure(spec).to_json()) == spec


def specs(html: str) -> list[dict[str, Any]]:
    """Of each figure of a page what plotly.js is given."""
    found = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', html, re.S)
    return [json.loads(spec) for spec in found]
