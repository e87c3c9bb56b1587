"""The report's colours, each for light and for dark: page and plots take them from here.

Text has a contrast of at least 4.5 on its background, lines and marks of at least 3; the series colours are told
apart with every common colour blindness, and failures are also marked by their shape.
"""

from typing import Final, NamedTuple


class Color(NamedTuple):
    light: str
    dark: str


PALETTE: Final = {
    "page": Color("#ffffff", "#14181d"),
    "raised": Color("#f5f7f9", "#1c2229"),
    "ink": Color("#1c2329", "#e7eaed"),
    "muted": Color("#59646f", "#9fabb7"),
    "line": Color("#dde2e7", "#303841"),
    "shade": Color("rgba(89,100,111,0.12)", "rgba(159,171,183,0.16)"),
    "blue": Color("#0069a8", "#5ab4ec"),
    "amber": Color("#9c6200", "#e8b24a"),
    "green": Color("#007a5e", "#3cc9a0"),
    "plum": Color("#9a3d7c", "#e29fcb"),
    "blue-tint": Color("rgba(0,105,168,0.14)", "rgba(90,180,236,0.18)"),
    "amber-tint": Color("rgba(156,98,0,0.14)", "rgba(232,178,74,0.18)"),
    "green-tint": Color("rgba(0,122,94,0.14)", "rgba(60,201,160,0.18)"),
    "plum-tint": Color("rgba(154,61,124,0.14)", "rgba(226,159,203,0.18)"),
    "fail": Color("#c2182b", "#ff8278"),
    "fail-tint": Color("#fdf0f0", "#35201f"),
    "warn": Color("#855300", "#edb955"),
    "warn-tint": Color("#fdf6e7", "#322916"),
}
CLEAR: Final = "rgba(0,0,0,0)"
SERIES: Final = ("blue", "amber", "green", "plum")
FONT: Final = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
