from typing import Any

import pytest

from tests.summaries import summarize


@pytest.mark.parametrize("lost", [False, True])
def test_what_a_lost_load_process_had_in_hand_is_not_the_servers_fault(synthetic_run: Any, lost: bool) -> None:
    """Of two load processes the second is killed half way: its calls were due, and are neither sent nor ended."""
    run, table, telemetry = synthetic_run(requests=400, rate_per_s=40, unfinished=range(201, 400, 2))
    never = [i in range(201, 400, 2) for i in range(400)]
    for name in ("sent_ns", "end_ns", "worker"):
        values = [None if gone else value for gone, value in zip(never, table[name].to_pylist(), strict=True)]
        field = table.schema.field(name)
        table = table.set_column(table.schema.get_field_index(name), field, [values])
    run |= {"workers": 2, "clients": run["clients"] if lost else run["clients"] * 2, "interrupted": True}
    codes = {reason["code"] for reason in summarize(run, table, telemetry)["verdict"]["reasons"]}
    assert ("lost_workers" in codes) == lost
    assert bool(codes & {"backlog_grows", "delivered_rate", "waited_for_seats"}) == (not lost)
