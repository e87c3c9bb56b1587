"""Figures of sessions: how long they were, and how each turn fared."""

from typing import Any

import pyarrow as pa
import pytest

from analysis.run.sessions import cacheable, reached, sessions
from bench.runs.table import SCHEMA

S = 10**9
MS = 10**6


def table(*rows: dict[str, Any]) -> pa.Table:
    blank = dict.fromkeys(SCHEMA.names) | {"phase": "measured", "prompt_tokens": 100, "session": 0, "turn": 0}
    return pa.Table.from_pylist([blank | row for row in rows], SCHEMA)


def turn(session: int, turn: int, due_s: float, **more: Any) -> dict[str, Any]:
    due_ns = int(due_s * S)
    own = {"seq": 10 * session + turn, "session": session, "turn": turn, "due_ns": due_ns, "sent_ns": due_ns}
    times = {"first_token_ns": due_ns + (turn + 1) * 100 * MS, "end_ns": due_ns + S}
    cache = {"prompt_tokens": 100 * (turn + 1), "cached_tokens": 90 * turn, "cacheable_tokens": 95 * turn}
    return own | times | cache | more


NEVER = {"error": "not_reached", "sent_ns": None, "end_ns": None, "first_token_ns": None, "due_ns": None}


def test_calls_by_themselves_are_no_sessions() -> None:
    assert sessions(table({"seq": 0, "session": 0}, {"seq": 1, "session": 1})) is None


def test_sessions_are_counted_by_how_they_ended_and_timed_when_complete() -> None:
    found = sessions(
        table(
            turn(0, 0, 0.0), turn(0, 1, 4.0),
            turn(1, 0, 1.0), turn(1, 1, 9.0, error="http_500"), turn(1, 2, 0.0, **NEVER),
            turn(2, 0, 2.0), turn(2, 1, 3.0, error="unfinished"),
            turn(3, 0, 0.0, phase="warmup"), turn(3, 1, 1.0),
        )
    )  # fmt: skip
    assert found is not None
    assert (found.count, found.complete, found.failed) == (3, 1, 1)
    assert (found.turns_mean, found.turns_max) == (2.0, 2)
    assert found.duration_s_mean == 5.0
    assert found.duration_s_p50 is None, "one value has no median"


def test_each_turn_has_its_wait_and_its_shares_of_the_cache() -> None:
    found = sessions(table(*(turn(n, t, 0.0) for n in range(30) for t in range(3))))
    assert found is not None
    assert [(row.turn, row.to_turn, row.calls) for row in found.by_turn] == [(0, 0, 30), (1, 1, 30), (2, 2, 30)]
    assert [row.ttft_ms_p50 for row in found.by_turn] == [100, 200, 300]
    assert [row.prompt_tokens_mean for row in found.by_turn] == [100, 200, 300]
    assert [row.cached_share for row in found.by_turn] == [0, 90 / 200, 180 / 300]
    assert [row.cacheable_share for row in found.by_turn] == [0, 95 / 200, 190 / 300]


def test_what_one_call_does_not_tell_is_not_known_of_its_turn() -> None:
    found = sessions(table(turn(0, 0, 0.0), turn(0, 1, 2.0), turn(1, 0, 0.0, cached_tokens=None), turn(1, 1, 2.0)))
    assert found is not None
    assert [row.cached_share for row in found.by_turn] == [None, 90 / 200]


@pytest.mark.parametrize("turns", [20, 21, 1000])
def test_of_long_sessions_turns_share_rows(turns: int) -> None:
    found = sessions(table(*(turn(0, t, 0.0) for t in range(turns))))
    assert found is not None
    assert len(found.by_turn) <= 20
    assert sum(row.calls for row in found.by_turn) == turns
    assert [found.by_turn[0].turn, found.by_turn[-1].to_turn] == [0, turns - 1]


def test_never_all_of_a_prompt_is_in_a_cache() -> None:
    assert cacheable(table({"prompt_tokens": 50, "cacheable_tokens": 50}))[0] == 49


def test_what_was_never_reached_is_left_out_and_nothing_else() -> None:
    requests = table(turn(0, 0, 0.0, error="http_500"), turn(0, 1, 0.0, **NEVER), turn(1, 0, 0.0))
    assert reached(requests)["seq"].to_pylist() == [0, 10]
