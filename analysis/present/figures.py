"""From plots and their data to the sections of a Document that show them."""

from collections.abc import Mapping

from analysis.present.charts import Plot, T
from analysis.present.document import PAGE, Figures, PageFigure, Section
from analysis.present.figure import Figure


def drawn(plots: Mapping[str, Plot[T]], data: T) -> dict[str, Figure]:
    """The figures that there is something to draw in, by name."""
    figures = {name: plot.draw(data) for name, plot in plots.items()}
    return {name: figure for name, figure in figures.items() if figure is not None}


def figure_sections(plots: Mapping[str, Plot[T]], data: T) -> tuple[Section, ...]:
    """The figures by section, and which of them have nothing to draw."""
    figures = drawn(plots, data)
    return tuple(
        Section(title, (_of_section(plots, figures, title),), PAGE)
        for title in dict.fromkeys(plot.section for plot in plots.values())
    )


def _of_section(plots: Mapping[str, Plot[T]], figures: Mapping[str, Figure], section: str) -> Figures:
    mine = {name: plot for name, plot in plots.items() if plot.section == section}
    return Figures(
        tuple(PageFigure(name, plot.title, figures[name], plot.wide) for name, plot in mine.items() if name in figures),
        tuple(plot.title for name, plot in mine.items() if name not in figures),
    )
