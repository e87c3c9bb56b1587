"""What one input does to the answer, all others unchanged: prices, peaks and the cost of operation are no noise."""

from collections.abc import Mapping
from decimal import Decimal
from typing import NamedTuple

from analysis.breakeven.decision import decide
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.states import States
from analysis.breakeven.sweep import break_even

Scenario = tuple[Pairing, States]


class SensitivityBar(NamedTuple):
    """What one input does to the first break-even of its middle, and to the month, at its low and its high value."""

    name: str
    firsts: tuple[int | None, int | None]
    savings_usd: tuple[Decimal, Decimal]

    @property
    def swing_usd(self) -> Decimal:
        """How far this input moves the month; infinite where no number of replicas serves at one of its ends."""
        low_usd, high_usd = self.savings_usd
        return abs(high_usd - low_usd) if low_usd.is_finite() and high_usd.is_finite() else Decimal("Infinity")


def tornado(inputs: Mapping[str, tuple[Scenario, Scenario]], requests_per_month: int) -> list[SensitivityBar]:
    """A bar for each input, that which moves the month at this volume most first.

    `inputs` holds the comparison with the low and with the high value of each; savings are those to be expected.
    """

    def saving_usd(end: Scenario) -> Decimal:
        return decide(*end, requests_per_month).saving_usd

    bars = [
        SensitivityBar(name, (break_even(low[0]).first, break_even(high[0]).first), (saving_usd(low), saving_usd(high)))
        for name, (low, high) in inputs.items()
    ]
    return sorted(bars, key=lambda bar: -bar.swing_usd)
