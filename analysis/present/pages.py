"""Pages of one HTML file each that need no network: what the report, the break-even and the capacity page share.

Everything that comes from outside (model names, error messages, settings) goes through the templates' escaping.
"""

from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import jinja2
from markupsafe import Markup

from analysis.present import chart_library
from analysis.present.document import PageFigure
from analysis.present.palette import FONT, PALETTE
from bench.process.printable import printable

HERE: Final = Path(__file__).parent


class Link(NamedTuple):
    """A link to another page; the address is relative and percent-encoded."""

    text: str
    href: str


class PagePlace(NamedTuple):
    """Where a page lies: the address of the charts' library, which it carries without one, and of the pages above it.

    `tail` is the end of its own path: where a page was copied elsewhere, its links lead nowhere and are not shown.
    """

    library: str | None = None
    above: tuple[Link, ...] = ()
    tail: str = ""


ALONE: Final = PagePlace()


def render(template: str, *, place: PagePlace = ALONE, **values: Any) -> str:
    """A template of this package that extends base.html, filled in; a name it uses must be among the values."""
    return (
        _environment()
        .get_template(template)
        .render(
            values,
            palette=PALETTE,
            font=Markup(FONT),
            css=Markup((HERE / "report.css").read_text(encoding="utf-8")),
            # A function: the page of all results asks for none, and is spared the megabyte.
            library=lambda: chart_library.script(place.library),
            place=place,
            twins={color.light: color.dark for color in PALETTE.values()},
        )
    )


@cache
def _environment() -> jinja2.Environment:
    """One for all pages: to compile a template takes as long as to draw three figures."""
    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=shown,
    )


def shown(value: Any) -> Any:
    """What a template writes of a value: text without anything that acts; markup is ours and stays as it is."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def chart(drawn: PageFigure) -> dict[str, Any]:
    """What the template needs; an axis with labels for a logarithmic scale and no range can be switched to it."""
    layout = drawn.figure.layout
    axes = ((name, layout[name]) for name in ("xaxis", "yaxis"))
    axis = next((name for name, axis in axes if "tickvals" in axis and "range" not in axis), None)
    return {
        "id": drawn.name,
        "title": drawn.title,
        "wide": drawn.wide,
        "axis": axis,
        "log": str(axis is not None and layout[axis].get("type") == "log").lower(),
        "height": layout["height"],
        "caption": layout["meta"],
        "spec": Markup(drawn.figure.to_json()),
    }
