"""What is known of values that are never held together is what is known of them all in one array."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analysis.stats import pool
from analysis.stats.describe import describe
from analysis.stats.distributions import Sample
from analysis.stats.pool import Ordered, Pool, pool_of

T = TypeVar("T")
# Gaps as they are: whole nanoseconds in milliseconds, often none, often alike, sometimes before the one before.
GAPS = st.one_of(
    st.just(0.0), st.integers(-5, 3000).map(lambda ns: ns / 1e6), st.integers(0, 10**13).map(lambda ns: ns / 1e6),
    st.integers(9_999_990, 10_000_010).map(lambda ns: ns / 1e6), st.floats(-1e100, 1e100),
)  # fmt: skip
REQUESTS = st.lists(st.lists(GAPS, max_size=6), min_size=1, max_size=40)
FEW = settings(max_examples=80, deadline=None)


def sample_of(requests: list[list[float]]) -> Sample:
    sizes = [len(each) for each in requests]
    return Sample(np.array([value for each in requests for value in each], np.float64), np.cumsum([0, *sizes]))


def read(requests: list[list[float]], order: list[int], size: int) -> Pool:
    """The same, some requests at a time, in any order."""

    def reading(function: Callable[[Sample], T]) -> Iterator[tuple[Any, T]]:
        for start in range(0, len(order), size):
            rows = order[start : start + size]
            yield np.array(rows), function(sample_of([requests[row] for row in rows]))

    return Pool(len(requests), reading)


@pytest.fixture(params=[(0, 0), (0, 1000), (1 << 20, 32)], ids=["cells", "bins", "sorted"])
def way(request: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """How values are looked for: in cells of bins, in bins, or all at once."""
    monkeypatch.setattr(pool, "AT_ONCE", request.param[0])
    monkeypatch.setattr(pool, "_MANY", request.param[1])


@pytest.mark.usefixtures("way")
@settings(parent=FEW, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(REQUESTS, st.integers(1, 7), st.data())
def test_values_read_in_parts_are_what_they_are_together(
    requests: list[list[float]], size: int, draw: st.DataObject
) -> None:
    parts, whole = read(requests, draw.draw(st.permutations(range(len(requests)))), size), pool_of(sample_of(requests))
    assert (parts.n, parts.low, parts.high) == (whole.n, whole.low, whole.high)
    assert (parts.sizes.tolist(), parts.sums.tolist()) == (whole.sizes.tolist(), whole.sums.tolist())
    assert parts.has_some.tolist() == [bool(each) for each in requests]
    values = np.sort(sample_of(requests).values)
    if not len(values):
        return
    ranks = draw.draw(st.lists(st.lists(st.integers(0, len(values) - 1), min_size=1, max_size=5), max_size=4))
    for some in ranks:
        assert parts.ordered.at(np.array(some)).tolist() == values[some].tolist()
        assert parts.ordered[some[0] - len(values)] == values[some[0]]
    assert parts.ordered.positive() == np.searchsorted(values, 0, "right") == whole.ordered.positive()
    limits = draw.draw(st.lists(st.sampled_from(values.tolist()), max_size=3))
    wanted = [[sum(value <= limit for value in each) for each in requests if each] for limit in limits]
    assert parts.upto(limits).tolist() == wanted
    both = Ordered.together([parts.ordered, whole.ordered])
    assert both.at(np.arange(len(both))).tolist() == np.sort(np.concatenate([values, values])).tolist()


@FEW
@given(
    st.lists(st.lists(st.integers(1, 10**8).map(lambda ns: ns / 1e6), max_size=6), min_size=1, max_size=60), st.data()
)
def test_a_summary_does_not_depend_on_how_values_are_read(requests: list[list[float]], draw: st.DataObject) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pool, "AT_ONCE", 0)
        found = describe(read(requests, list(range(len(requests))), draw.draw(st.integers(1, 50))))
    wanted = describe(sample_of(requests))
    assert is_close(found, wanted)
    exact = ("count", "min", "max", "p50", "p90", "p95", "p99")
    assert [found[name] for name in exact] == [wanted[name] for name in exact]


def is_close(found: Any, wanted: Any) -> bool:
    """The same but for the order in which floats were added up."""
    match found, wanted:
        case dict(), dict():
            return found.keys() == wanted.keys() and all(is_close(found[name], wanted[name]) for name in wanted)
        case (*_,), (*_,):
            return len(found) == len(wanted) and all(map(is_close, found, wanted))
        case float(), float():
            return found == pytest.approx(wanted, rel=1e-9, abs=1e-9)
    return bool(found == wanted)


def test_of_values_that_are_all_alike_one_is_kept() -> None:
    """However many there are: of tokens that come together most gaps are 0."""
    counted = [pool._counted(np.zeros(1000)) for _ in range(3)]
    values, counts = pool._merged((np.empty(0, np.int64), each) for each in counted)
    assert (values.tolist(), counts.tolist()) == ([0.0], [3000])
