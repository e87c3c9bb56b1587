"""When a slot waits and for how long, and when nobody is there any more: pure, in virtual time."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.load.backoff import (
    FIRST_S,
    GONE_AFTER_S,
    LEAST_REFUSALS,
    LONGEST_ASKED_S,
    LONGEST_S,
    OutageDetector,
    SlotBackoff,
    asked_wait_s,
    is_refused,
    is_unreached,
    retry_after_s,
)
from bench.wire.capture import Received
from bench.wire.connection import RequestOutcome

NOW = datetime(2026, 11, 27, 12, 0, 0, tzinfo=UTC)
S = 1_000_000_000


def outcome(status: int | None, body: bytes = b"", head: bytes = b"", error: str | None = None) -> RequestOutcome:
    received = Received()
    if status is not None:
        received.parts.append(b"HTTP/1.1 %d x\r\n%b\r\n%b" % (status, head, body))
    return RequestOutcome(0, 1, received, status, None if error is None else (error, "said"))


@pytest.mark.parametrize(
    ("one", "refused", "unreached"),
    [
        (outcome(200), False, False),
        (outcome(429), True, False),
        (outcome(503), True, False),
        (outcome(529), True, False),
        (outcome(400), False, False),
        (outcome(500), False, False),
        (outcome(None, error="connect_refused"), True, True),
        (outcome(None, error="connect_timeout"), True, True),
        (outcome(None, error="reset"), True, True),
        (outcome(None, error="cut_stream"), True, True),
        (outcome(200, error="reset"), False, False),
        (outcome(None, error="timeout"), False, False),
        (outcome(None, error="unfinished"), False, False),
        (outcome(200, b'data: {"error":{"type":"overloaded_error","message":"Overloaded"}}\n\n'), True, False),
        (outcome(200, b'data: {"error":"Model is overloaded","error_type": "overloaded"}\n\n'), True, False),
        (outcome(200, b'data: {"text":"say \\"type\\":\\"overloaded\\""}\n\n'), False, False),
    ],
)
def test_what_is_a_refusal_and_what_is_nobody_there(one: RequestOutcome, refused: bool, unreached: bool) -> None:
    assert (is_refused(one), is_unreached(one)) == (refused, unreached)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "86400"}, LONGEST_ASKED_S),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": format_datetime(NOW + timedelta(seconds=7), usegmt=True)}, 7.0),
        ({"retry-after": format_datetime(NOW - timedelta(seconds=7), usegmt=True)}, 0.0),
        ({"retry-after": "Fri, 27 Nov 2026 09:00:05 GMT", "date": "Fri, 27 Nov 2026 09:00:00 GMT"}, 5.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1e9"}, None),
        ({"retry-after": "nan"}, None),
    ],
)
def test_a_wait_is_asked_for_in_seconds_or_by_a_date(headers: dict[str, str], expected: float | None) -> None:
    assert retry_after_s(headers, NOW) == expected


@given(st.dictionaries(st.sampled_from(["retry-after", "retry-after-ms", "date"]), st.text(max_size=40)))
@settings(max_examples=200, deadline=None)
def test_whatever_a_head_says_the_wait_is_none_or_within_its_bounds(headers: dict[str, str]) -> None:
    wait_s = retry_after_s(headers, NOW)
    assert wait_s is None or 0 <= wait_s <= LONGEST_ASKED_S


def test_the_head_of_an_answer_is_read_for_it() -> None:
    assert asked_wait_s(outcome(429, head=b"Retry-After: 2\r\n")) == 2.0
    assert asked_wait_s(outcome(None, error="reset")) is None


@given(st.integers(0, 5000), st.lists(st.booleans(), max_size=60))
@settings(max_examples=100, deadline=None)
def test_waits_double_up_to_the_longest_and_begin_anew_after_an_answer(slot: int, refusals: list[bool]) -> None:
    backoff, row = SlotBackoff(slot), 0
    for refused in refusals:
        wait_s = backoff.wait_s(refused=refused, asked_s=None)
        row = row + 1 if refused else 0
        longest = min(FIRST_S * 2 ** (row - 1), LONGEST_S) if row else 0.0
        assert 0.75 * longest <= wait_s <= longest


def test_seats_that_are_refused_together_do_not_come_back_together() -> None:
    waits = sorted(SlotBackoff(slot).wait_s(refused=True, asked_s=None) for slot in range(64))
    assert min(later - sooner for sooner, later in pairwise(waits)) > 0.0005


def test_a_wait_that_is_asked_for_is_kept_and_one_of_nothing_is_not() -> None:
    assert SlotBackoff(0).wait_s(refused=True, asked_s=17.0) == 17.0
    assert SlotBackoff(0).wait_s(refused=True, asked_s=0.0) > 0.3


@given(st.lists(st.tuples(st.integers(0, 3 * S), st.booleans()), max_size=40))
@settings(max_examples=200, deadline=None)
def test_a_server_is_gone_only_after_nothing_but_refusals_for_long_enough(steps: list[tuple[int, bool]]) -> None:
    row: list[int] = []
    outage, t_ns = OutageDetector(), 0
    for wait_ns, unreached in steps:
        t_ns += wait_ns
        outage.note(t_ns, "refused" if unreached else None)
        row = [*row, t_ns] if unreached else []
        enough = len(row) >= LEAST_REFUSALS and t_ns - row[0] >= GONE_AFTER_S * S
        assert outage.is_gone(t_ns) == enough
