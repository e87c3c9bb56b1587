"""Servers of one's own against one API or several: what was asked, and what came out, for screen and pictures."""

from dataclasses import dataclass

from analysis.money.breakeven import Answer
from analysis.money.routing import Case
from analysis.money.uncertainty import Bar, Uncertainty
from analysis.stats import UNKNOWN, Floats, Interval


@dataclass(frozen=True, slots=True)
class Rival:
    """One API: its `case` against the servers, and the answer, judged by its uncertainty at the volume asked for.

    `api_usd_per_request` has the price of a request at each of the comparison's volumes where caching makes it depend
    on them; None where it is the case's own, which is that at the volume asked for. `p_cheaper` is P(self-hosting is
    cheaper) there, `usd_ci95` the interval of the price, None where it was not measured.
    """

    name: str
    case: Case
    answer: Answer
    uncertainty: Uncertainty
    p_cheaper: float | None
    tornado: tuple[Bar, ...]
    advice: tuple[str, ...]
    warnings: tuple[str, ...]
    api_usd_per_request: Floats | None = None
    usd_ci95: Interval = UNKNOWN


@dataclass(frozen=True, slots=True)
class Point:
    """A measured run: what a request cost in it and how long it took, for the picture of what can be had for what.

    `meets_objectives` is None where the run had none.
    """

    name: str
    usd_per_request: float
    ttft_ms_p50: float | None
    response_ms_p99: float | None
    requests_per_s: float | None
    meets_objectives: bool | None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All of it: `host` says in words what the servers are and cost, `volumes` are requests a month, ascending.

    `warnings` are about the servers and the requests; those about an API are its rival's.
    """

    host: str
    requests_per_month: int | None
    volumes: Floats
    rivals: tuple[Rival, ...]
    points: tuple[Point, ...]
    warnings: tuple[str, ...] = ()
