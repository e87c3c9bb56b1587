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
    """What one input does to the month, and to the first break-even of its middle, at its low and high value."""

    name: str
    first_at_low: int | None
    first_at_high: int | None
    saving_usd_at_low: Decimal
    saving_usd_at_high: Decimal

    @property
    def swing_usd(self) -> Decimal:
        """How far this input moves the month; infinite where no number of replicas serves at one of its ends."""
        ends = (self.saving_usd_at_low, self.saving_usd_at_high)
        return abs(ends[1] - ends[0]) if all(end.is_finite() for end in ends) else Decimal("Infinity")


def tornado(inputs: Mapping[str, tuple[Scenario, Scenario]], requests_per_month: int) -> list[SensitivityBar]:
    """A bar for each input, that which moves the month at this volume most first.

    `inputs` holds the comparison with the low and with the high value of each; savings are those to be expected.
    """
    bars = []
    for name, ends in inputs.items():
        first_low, first_high = (break_even(pairing).first for pairing, _ in ends)
        saving_low, saving_high = (decide(*end, requests_per_month).saving_usd for end in ends)
        bars.append(SensitivityBar(name, first_low, first_high, saving_low, saving_high))
    return sorted(bars, key=lambda bar: -bar.swing_usd)
