"""How long the mathematics of cost takes: prints the table of docs/costs.md#speed."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import numpy as np

from analysis.breakeven.deciding import proposal
from analysis.breakeven.decision import p_cheaper
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.selfhost import SelfHost
from analysis.breakeven.states import states_of
from analysis.breakeven.sweep import answer, break_even
from analysis.money.prices import find, usd_of
from analysis.stats.uncertainty import interval_draws, mean_draws
from bench.types import Usage

REQUESTS = 100_000
REPEATS = 5


def seconds(work: Callable[[], object]) -> float:
    """The shortest of a few times, the first of which warms up."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print a row for each thing that can take long."""
    rng = np.random.default_rng(0)
    usd = rng.lognormal(-5.4, 0.5, REQUESTS)
    host = SelfHost(Decimal("248.20"), 2.0, ops_usd_per_month=Decimal(50))
    pairing = Pairing(host, Decimal("0.0045"))
    states = states_of(pairing, mean_draws(usd, rng), interval_draws(1.8, 2.2, rng), rng, None, REQUESTS)
    volumes = np.geomspace(1e3, 1e8, 121)
    price = find("claude-haiku-4-5", "anthropic", datetime.now(UTC))
    usages = [Usage(int(prompt), 0, 0, 200) for prompt in rng.integers(100, 4000, REQUESTS)]
    rows = {
        f"10,000 draws of the mean of {REQUESTS:,} requests": lambda: mean_draws(usd, rng),
        f"{REQUESTS:,} requests priced, each by its own usage": lambda: [usd_of(price, usage) for usage in usages],
        "an exact break-even set": lambda: break_even(pairing),
        "the volumes at which 1,000 states are sure": lambda: answer(pairing, states),
        "P(cheaper) over 121 volumes": lambda: p_cheaper(pairing, states, volumes),
        "what would decide it, by simulation": lambda: proposal(pairing, states, 66_000),
    }
    print("| | seconds |\n|---|---|")
    for name, work in rows.items():
        print(f"| {name} | {seconds(work):.3g} |")


if __name__ == "__main__":
    main()
