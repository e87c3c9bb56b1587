"""Whether a run's requests are what its figures are of, and what they spread by says anything of these.

Of our own runs they always are: the figures are made of them. Another tool gives figures of its own, which may count
otherwise, or other requests. Summaries and comparisons both ask here before they make an interval of such requests.
"""

import math
from typing import Final

from analysis.run.sections import MetricSummary

SAME: Final = 0.01
OTHERWISE: Final = "its requests say another figure than the tool's own, so their spread tells nothing of it"


def agree(figure: float | None, of_requests: float | None) -> bool:
    """Whether a figure is the one that its requests say, to 1%; an unknown one contradicts nothing."""
    return figure is None or of_requests is None or math.isclose(figure, of_requests, rel_tol=SAME)


def tells_of(figures: MetricSummary, of_requests: MetricSummary, statistic: str) -> bool:
    """Whether requests tell of a metric's statistic: its mean and the statistic itself are theirs too."""
    return all(agree(getattr(figures, name), getattr(of_requests, name)) for name in ("mean", statistic))
