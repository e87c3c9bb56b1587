"""A figure as plotly.js takes it, in plain values.

Python's plotly takes as long to import and to check a page's figures as all else of the page takes. So only tests use
it: they hold every figure to what it knows of attributes and values.
"""

import base64
from collections.abc import Iterable, Mapping
from typing import Any, Self

import numpy as np
import orjson

Trace = dict[str, Any]
TYPED = {"float32": "f4", "float64": "f8"}


class Figure:
    """Traces and a layout; what a method is given has plotly.js' names."""

    def __init__(self, layout: Mapping[str, Any], traces: Iterable[Trace] = ()) -> None:
        self.layout = dict(layout)
        self.data = list(traces)

    def add_traces(self, traces: Iterable[Trace]) -> None:
        self.data += traces

    def add_scatter(self, **attributes: Any) -> None:
        self.data.append(scatter(**attributes))

    def add_shape(self, **attributes: Any) -> None:
        self.layout.setdefault("shapes", []).append(attributes)

    def add_annotation(self, **attributes: Any) -> None:
        self.layout.setdefault("annotations", []).append(attributes)

    def update_layout(self, **changes: Any) -> Self:
        """Change what is named and nothing beside it, however deep in the layout."""
        self.layout = _merged(self.layout, changes)
        return self

    def to_json(self) -> str:
        """The figure for a page's script, without any character that HTML would act on."""
        spec = orjson.dumps({"data": self.data, "layout": self.layout}, _encoded, orjson.OPT_SORT_KEYS).decode()
        return spec.replace("<", "\\u003c").replace(">", "\\u003e").replace("/", "\\u002f")


def scatter(**attributes: Any) -> Trace:
    """Points, lines between them, or the ground that they enclose."""
    return attributes | {"type": "scatter"}


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    inner = {name for name, value in new.items() if isinstance(value, dict) and isinstance(old.get(name), dict)}
    return {**old, **new, **{name: _merged(old[name], new[name]) for name in inner}}


def _encoded(value: Any) -> Any:
    """An array of numbers in plotly.js' typed form; each of numpy's numbers as Python's."""
    if isinstance(value, np.ndarray) and len(value) and value.dtype.name in TYPED:
        return {"dtype": TYPED[value.dtype.name], "bdata": base64.b64encode(value.tobytes()).decode()}
    return value.tolist()
