from typing import Any

import pyarrow as pa
import pytest

from analysis.run.sections import Sending
from analysis.run.sending import sending
from bench.runs.manifest import RunManifest
from tests.summaries import manifest_of

MS = 1_000_000


def load(rate_per_s: float | None, slots: int, workers: int = 1) -> RunManifest:
    return manifest_of({"load": {"rate_per_s": rate_per_s, "max_in_flight": slots}, "workers": workers})


def calls(requests_table: Any, *rows: tuple[int, int | None, int | None], **more: Any) -> pa.Table:
    """Calls as (due, sent, end) in ms."""
    names = ("due_ns", "sent_ns", "end_ns")
    return requests_table(
        [
            {"seq": seq, "worker": 0, "phase": "measured", "max_tokens": 1, "bytes_received": 0, "reads": 0}
            | {name: None if ms is None else ms * MS for name, ms in zip(names, row, strict=True)}
            | more
            for seq, row in enumerate(rows)
        ]
    )


def test_a_call_that_fell_due_with_all_seats_taken_waited_and_its_delay_is_not_lateness(requests_table: Any) -> None:
    table = calls(requests_table, (0, 1, 100), (10, 12, 60), (20, 60, 120), (200, 203, 210))
    found = sending(load(10.0, slots=2), table)
    assert found.waited_share == 0.25
    assert (found.late_ms.p50, found.late_ms.max) == (2.0, 3.0)


def test_calls_behind_a_call_that_waits_have_waited_too(requests_table: Any) -> None:
    table = calls(requests_table, (0, 0, 100), (10, 100, 200), (150, 200, 300), (400, 400, 500))
    assert sending(load(10.0, slots=1), table).waited_share == 0.5


def test_calls_that_were_dropped_take_no_seat(requests_table: Any) -> None:
    table = calls(requests_table, (0, None, None), (10, 10, 20), error="dropped")
    assert sending(load(10.0, slots=1), table).waited_share == 0.0


def test_calls_that_an_interrupted_run_never_came_to_did_not_wait(requests_table: Any) -> None:
    table = calls(requests_table, (0, 0, 10), (20, 20, 30), (40, None, None), (60, None, None))
    assert sending(load(10.0, slots=1), table).waited_share == 0.0


def test_seats_are_counted_by_worker(requests_table: Any) -> None:
    first, second = calls(requests_table, (0, 0, 100)), calls(requests_table, (10, 10, 100), worker=1)
    assert sending(load(10.0, slots=2, workers=2), pa.concat_tables([first, second])).waited_share == 0.0


def test_the_time_to_open_a_connection_is_left_out(requests_table: Any) -> None:
    table = calls(requests_table, (0, 30, 100), connect_ns=28 * MS)
    assert sending(load(10.0, slots=1), table).late_ms.max == pytest.approx(2.0)


def test_a_closed_loop_has_no_waits_and_an_empty_run_nothing(requests_table: Any) -> None:
    found = sending(load(None, slots=1), calls(requests_table, (0, 5, 100), (1, 2, 100)))
    assert (found.waited_share, found.late_ms.max) == (None, 5.0)
    empty = sending(load(10.0, slots=1), requests_table([]))
    assert empty == Sending()
