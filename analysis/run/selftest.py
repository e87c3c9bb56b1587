"""What this machine's selftest says of a run: run.json has it as `selftest`, null where there was none."""

from analysis.run.sections import SelftestAtLoad
from analysis.stats.distributions import all_known
from bench.runs.manifest import MachineSelftest, SelftestLimit


def at_load(
    selftest: MachineSelftest | None, events_per_s: float | None, requests_per_s: float | None
) -> SelftestAtLoad | None:
    """When the selftest was made, and the client's error at p99 that it saw under this load, in ms.

    That is the larger of two: at the next higher rate of token events, and of requests. `error_ms` is None where the
    load is unknown, or more than the selftest tried.
    """
    if selftest is None:
        return None
    known = all_known((_error_ms(selftest.events, events_per_s), _error_ms(selftest.requests, requests_per_s)))
    return SelftestAtLoad(selftest.measured_at, None if known is None else max(known))


def _error_ms(limit: SelftestLimit, per_s: float | None) -> float | None:
    above = [step for step in limit.steps if per_s is not None and step.per_s >= per_s]
    return min(above, key=lambda step: step.per_s).error_ms if above else None
