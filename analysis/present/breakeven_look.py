"""How the break-even page's plots look alike: who has which colour, axes of volumes, the user's own volume."""

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from analysis.present import series
from analysis.present.charts import above, escape, layout, light, mark, x_axis
from analysis.present.figure import Figure, Trace, scatter
from analysis.present.palette import CLEAR
from analysis.stats.distributions import Floats

OURS: Final = "blue"
RIVALS: Final = ("amber", "green", "plum")
DASHES: Final = ("solid", "dash", "dot")
LEFT_PX: Final = 84
TOP_PX: Final = 60
BOTTOM_PX: Final = 48

# Where a label goes that is not in another's way: how far right and up its middle is from its dot's, in its own sizes.
PLACES: Final = {
    "middle right": (0.5, 0.0), "middle left": (-0.5, 0.0), "top center": (0.0, 1.0), "bottom center": (0.0, -1.0),
    "top right": (0.5, 0.8), "bottom right": (0.5, -0.8), "top left": (-0.5, 0.8), "bottom left": (-0.5, -0.8),
}  # fmt: skip
CHARACTER_PX: Final = 7.0
LINE_PX: Final = 16.0
DOT_PX: Final = 10.0


def style(i: int) -> tuple[str, str]:
    """(colour, dash) of the i-th alternative."""
    return RIVALS[i % len(RIVALS)], DASHES[i // len(RIVALS) % len(DASHES)]


def framed(height_px: int, caption: str) -> Figure:
    """An empty figure with its legend above, and room for a mark's name between the two."""
    figure = Figure(layout(height_px, caption))
    inside_px = height_px - TOP_PX - BOTTOM_PX
    return figure.update_layout(
        legend={
            "orientation": "h", "x": 0, "xanchor": "left", "y": 1 + 20 / inside_px, "yanchor": "bottom",
            "bgcolor": CLEAR,
        },
        margin={"l": LEFT_PX, "t": TOP_PX, "b": BOTTOM_PX},
        hovermode="x unified",
    )  # fmt: skip


def line(
    x: Floats, y: Floats, name: str, color: str, dash: str = "solid", hover: str = "$%{y:,.2f}", width: float = 2
) -> Trace:
    """A line with a place in the legend; where it is not finite it has a gap."""
    return scatter(
        x=x, y=np.where(np.isfinite(y), y, np.nan), name=escape(name), mode="lines",
        line={"color": light(color), "width": width, "dash": dash}, hovertemplate=hover,
    )  # fmt: skip


def ground(x: Floats, y: Floats, color: str, name: str) -> Trace:
    """The inside of a polygon, or of several with a gap between them, in the tint of a colour."""
    return scatter(
        x=x, y=y, fill="toself", fillcolor=light(f"{color}-tint"), mode="lines", line={"width": 0},
        hoverinfo="skip", showlegend=False, name=name,
    )  # fmt: skip


def band(x: Floats, low: Floats, high: Floats, color: str, name: str) -> Trace:
    """What lies between two curves."""
    return ground(np.concatenate([x, x[::-1]]), np.concatenate([high, low[::-1]]), color, name)


def mark_volume(figure: Figure, volume: int | None, *, is_log: bool) -> None:
    """A vertical line at the user's volume, where there is one, with its name above."""
    if volume is not None:
        mark(figure, volume)
        # Plotly takes a shape's x as it is and an annotation's as its logarithm.
        above(figure, f"your {volume:,}", math.log10(volume) if is_log else volume)


def volume_axis(volumes: Floats) -> dict[str, Any]:
    """A logarithmic axis of requests per month."""
    low, high = float(volumes.min()), float(volumes.max())
    return x_axis("requests per month") | log_range(low, high) | {"tickformat": "~s", "hoverformat": ",.0f"}


def log_range(low: float, high: float) -> dict[str, Any]:
    """A logarithmic axis from low to high with a line at each power of ten."""
    return {"type": "log", "range": [math.log10(low), math.log10(high)], "dtick": 1}


def log_ticks(values: Floats, prefix: str = "") -> dict[str, Any]:
    """A logarithmic axis around the values, with labels at 1, 2 and 5 where there is room for them."""
    low, high = float(values.min()) / 1.5, float(values.max()) * 1.5
    ticks = series.ticks_1_2_5(low, high)
    return log_range(low, high) | {
        "tickmode": "array", "tickvals": ticks, "ticktext": [f"{prefix}{tick:,.6g}" for tick in ticks]
    }  # fmt: skip


def label_places(across_px: Floats, up_px: Floats, labels: Sequence[str], width_px: float) -> list[str]:
    """For each dot the first place at which its label covers no dot and no label before it, and is within the width."""
    boxes = [(x, y, DOT_PX, DOT_PX) for x, y in zip(across_px, up_px, strict=True)]
    places = []
    for x, y, label in zip(across_px, up_px, labels, strict=True):
        wide = CHARACTER_PX * len(label)
        options = {
            place: (x + right * (wide + 2 * DOT_PX), y + up * LINE_PX, wide, LINE_PX)
            for place, (right, up) in PLACES.items()
        }
        free = [
            place
            for place, box in options.items()
            if wide / 2 <= box[0] <= width_px - wide / 2 and not any(_overlap(box, other) for other in boxes)
        ]
        places.append(free[0] if free else "top center")
        boxes.append(options[places[-1]])
    return places


def _overlap(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return 2 * abs(one[0] - other[0]) < one[2] + other[2] and 2 * abs(one[1] - other[1]) < one[3] + other[3]
