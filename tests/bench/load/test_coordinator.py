"""What the coordinating process believes of what load processes report."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.load.coordinator import COUNTS, REPORTED, progress_of

SOUND: dict[str, Any] = {"worker": 1, "gone": None} | dict.fromkeys(COUNTS, 3)


def test_a_report_is_taken_apart() -> None:
    worker, counts, gone = progress_of(SOUND | {"gone": "refused"}, 2)
    assert (worker, gone) == (1, "refused")
    assert counts == dict.fromkeys(COUNTS, 3)


@pytest.mark.parametrize(
    "wrong",
    [
        {"worker": 2}, {"worker": -1}, {"worker": True}, {"worker": "1"}, {"gone": 7}, {"sent": -1}, {"done": 1.5},
        {"failed": None}, {"done": "all"}, {"more": 1},
    ],
)  # fmt: skip
def test_a_report_that_no_load_process_makes_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"report|no load process|text"):
        progress_of(SOUND | wrong, 2)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(REPORTED)), inner),
    max_leaves=20,
)


@given(_JSON)
@settings(max_examples=200, deadline=None)
def test_whatever_is_reported_is_taken_or_refused(data: Any) -> None:
    try:
        worker, counts, _ = progress_of(data, 2)
    except ValueError:
        return
    assert worker in (0, 1)
    assert set(counts) == set(COUNTS)
