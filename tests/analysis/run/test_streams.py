"""What streams come to, and what of them came in a window, against loops over every arrival."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.run.rates import flow
from analysis.run.streams import arrivals_in, output_tokens, stream, with_streams
from analysis.run.window import Window
from tests.conftest import records_table
from tests.summaries import manifest_of

ARRIVALS = st.lists(st.tuples(st.integers(0, 100), st.integers(0, 3)), max_size=6)
CALLS = st.lists(st.tuples(ARRIVALS, st.none() | st.integers(0, 2), st.booleans(), st.integers(0, 100)), min_size=1)


def table_of(calls: Any) -> Any:
    return records_table(
        [
            {
                "seq": seq, "phase": "measured", "sent_ns": 0, "end_ns": end_ns, "early_tokens": early,
                "first_token_ns": arrivals[0][0] if arrivals and told else None,
                "arrivals_ns": [t_ns for t_ns, _ in arrivals], "arrival_tokens": [tokens for _, tokens in arrivals],
            }
            for seq, (arrivals, early, told, end_ns) in enumerate(calls)
        ]
    )  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(CALLS, st.integers(0, 100), st.integers(1, 60), st.integers(1, 9))
def test_streams_and_their_shares_are_those_of_each_arrival(calls: Any, start_ns: int, length: int, cells: int) -> None:
    table = table_of(calls)
    known, span = with_streams(table), Window(start_ns, start_ns + length)
    gaps = [[(b - a) / 1e6 for (a, _), (b, _) in pairwise(arrivals)] for arrivals, *_ in calls]
    assert stream(known, "arrivals").tolist() == [len(arrivals) for arrivals, *_ in calls]
    assert stream(known, "longest_gap_ms").tolist() == [max([0.0, *each]) for each in gaps]
    assert stream(known, "turns_back").tolist() == [any(gap < 0 for gap in each) for each in gaps]
    assert stream(known, "one_each").tolist() == [all(tokens == 1 for _, tokens in call[0]) for call in calls]
    assert output_tokens(known).tolist() == [sum(t for _, t in call[0]) + (call[1] or 0) for call in calls]
    inside = [start_ns <= t_ns <= span.end_ns for arrivals, *_ in calls for t_ns, _ in arrivals]
    assert arrivals_in(known, span.start_ns, span.end_ns) == arrivals_in(table, span.start_ns, span.end_ns)
    assert arrivals_in(known, span.start_ns, span.end_ns) == sum(inside)
    run = manifest_of({"load": {"concurrency": 2}})
    found = flow(run, known, span)
    wanted = [share(arrivals, early, told, end_ns, span) for arrivals, early, told, end_ns in calls]
    assert found.share.tolist() == pytest.approx(wanted)
    (units,) = found.units_in(cells, [np.ones(len(calls))])
    assert units.sum() == pytest.approx(sum(wanted))
    assert flow(run, table, span).share.tolist() == found.share.tolist()


def share(arrivals: Any, early: int | None, told: bool, end_ns: int, span: Window) -> float:
    """The share of a call's output that came in a window: all of it at its end where there was none."""
    first_ns = arrivals[0][0] if arrivals and told else end_ns
    output = [*arrivals, (first_ns, early or 0)]
    whole = sum(tokens for _, tokens in output)
    output, whole = (output, whole) if whole else ([(end_ns, 1)], 1)
    return sum(tokens for t_ns, tokens in output if span.start_ns < t_ns <= span.end_ns) / whole
