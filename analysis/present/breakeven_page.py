"""The break-even page, and each of its figures as a page of its own."""

from analysis.breakeven.comparison import CostComparison
from analysis.present import to_html
from analysis.present.breakeven_figures import FIGURES
from analysis.present.document import Document, Figures, PageFigure
from analysis.present.figures import drawn, figure_sections
from analysis.present.of_breakeven import document, title


def render(comparison: CostComparison) -> str:
    return to_html.render(document(comparison, figure_sections(FIGURES, comparison)))


def figure_pages(comparison: CostComparison) -> dict[str, str]:
    """Each figure that there is something to draw in as an HTML page of its own, by name."""
    above = title([alternative.name for alternative in comparison.alternatives])
    alone = {
        name: Figures((PageFigure(name, FIGURES[name].title, figure),))
        for name, figure in drawn(FIGURES, comparison).items()
    }
    return {name: to_html.render(Document(title=above, blocks=(figures,))) for name, figures in alone.items()}
