"""Each identity holds for a sound run and is seen to break when the data is broken in the way it watches for."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from analysis.checks.identities import Evidence, littles_law
from analysis.run.window import window
from tests.summaries import manifest_of, summarize, summary_of

MS = 1_000_000


def identities(run: Any, table: Any, telemetry: Any) -> Any:
    return {identity["name"]: identity for identity in summarize(run, table, telemetry)["identities"]}


def replace_column(table: Any, name: str, values: Any) -> Any:
    return table.set_column(table.schema.get_field_index(name), name, values)


@pytest.mark.parametrize(
    "options",
    [
        {"requests": 400, "rate_per_s": 40},
        {"requests": 400, "rate_per_s": 40, "arrivals": "constant"},
        {"requests": 300, "concurrency": 8, "warmup": 16},
        {"requests": 300, "tokens": 10, "tokens_per_arrival": 3, "failed": [3, 50], "unfinished": [299]},
    ],
)
def test_all_hold_in_a_sound_run(synthetic_run: Any, options: dict[str, Any]) -> None:
    for identity in identities(*synthetic_run(**options)).values():
        assert identity["holds"] is not False, identity


def test_those_of_an_open_loop_are_not_asked_of_a_closed_one(synthetic_run: Any) -> None:
    seen = identities(*synthetic_run(concurrency=4))
    assert seen["delivered_rate"]["holds"] is None
    assert seen["delivered_dispersion"]["holds"] is None


def test_those_of_the_server_are_unknown_without_its_counters(synthetic_run: Any) -> None:
    run, table, _ = synthetic_run()
    seen = identities(run, table, None)
    assert seen["server_tokens"]["holds"] is None
    assert seen["server_in_flight"]["holds"] is None


def test_a_lost_call_breaks_conservation(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=50)
    lost = identities(run, table.slice(1), telemetry)["conservation"]
    assert (lost["holds"], lost["seen"], lost["expected"]) == (False, 49, 50)


def test_a_call_recorded_twice_breaks_conservation(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=50)
    twice = pa.concat_tables([table.slice(1), table.slice(5, 1)])
    assert identities(run, twice, telemetry)["conservation"]["holds"] is False


def test_an_interrupted_run_plans_no_more_than_it_tells_of(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=50, interrupted=True)
    assert identities(run, table.slice(0, 30), telemetry)["conservation"]["holds"] is True


@pytest.mark.parametrize(
    ("column", "shift_ms"), [("sent_ns", -1), ("first_byte_ns", -200), ("first_token_ns", -200), ("end_ns", -5000)]
)
def test_an_instant_before_the_one_it_follows_is_a_negative_interval(
    synthetic_run: Any, column: str, shift_ms: int
) -> None:
    run, table, telemetry = synthetic_run(requests=50)
    shifted = replace_column(table, column, pc.add(table[column], shift_ms * MS))
    assert identities(run, shifted, telemetry)["no_negative_interval"]["seen"] == 50


def test_arrivals_that_go_back_in_time_are_a_negative_interval(synthetic_run: Any, requests_table: Any) -> None:
    run, _, _ = synthetic_run(requests=3)
    arrivals = [[10, 20], [5, 7, 6, 3], []]
    table = requests_table(
        [
            {"seq": i, "phase": "measured", "arrivals_ns": t, "arrival_tokens": [1] * len(t)}
            for i, t in enumerate(arrivals)
        ]
    )
    assert identities(run, table, None)["no_negative_interval"]["seen"] == 1


def test_a_last_token_after_the_end_breaks_the_token_order(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=50)
    late = replace_column(table, "last_token_ns", pc.add(table["end_ns"], 1))
    seen = identities(run, late, telemetry)
    assert seen["token_order"]["seen"] == 50
    assert seen["no_negative_interval"]["holds"] is True


def test_littles_law_on_an_infinite_server_with_exact_service_time(synthetic_run: Any) -> None:
    """M/D/inf: 40 requests/s of 200.1 ms each keep 8 of them in flight."""
    run, table, telemetry = synthetic_run(requests=4000, tokens=13, rate_per_s=40, ttft_ms=80, itl_ms=10, jitter=0)
    law = identities(run, table, telemetry)["littles_law"]
    assert law["holds"] is True
    assert law["expected"] == pytest.approx(40 * 0.2001, rel=0.05)
    assert law["seen"] == pytest.approx(law["expected"], rel=0.01)


def test_littles_law_breaks_when_ends_are_missing_from_the_throughput(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=400, rate_per_s=40)
    summary = summarize(run, table, telemetry)
    summary["throughput"]["requests_per_s"] *= 0.8
    sound = manifest_of(run)
    terms = littles_law(Evidence(sound, table, telemetry, window(sound, table), summary_of(summary)))
    assert terms is not None
    seen, expected, tolerance = terms
    assert seen is not None and expected is not None and tolerance is not None
    assert abs(seen - expected) > tolerance


def test_load_that_is_not_ours_shows_in_the_servers_own_count(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=600, rate_per_s=40)
    assert identities(run, table, telemetry)["server_in_flight"]["holds"] is True
    foreign = pc.if_else(pc.equal(telemetry["name"], "queue"), 20.0, telemetry["value"])
    assert identities(run, table, replace_column(telemetry, "value", foreign))["server_in_flight"]["holds"] is False


def test_chunks_counted_as_tokens_show_in_the_servers_own_counter(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=100, tokens=20, warmup=10)
    seen = identities(run, table, telemetry)["server_tokens"]
    assert (seen["holds"], seen["seen"], seen["expected"]) == (True, 2200, 2200)
    halved = replace_column(table, "output_tokens", pc.divide(table["output_tokens"], 2))
    assert identities(run, halved, telemetry)["server_tokens"]["holds"] is False


def test_calls_that_were_sent_late_break_the_delivered_rate(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=400, rate_per_s=40)
    late = replace_column(table, "sent_ns", pc.cast(pc.multiply(table["due_ns"], 1.25), pa.int64(), safe=False))
    assert identities(run, late, telemetry)["delivered_rate"]["holds"] is False


def test_calls_that_were_dropped_break_the_delivered_rate(synthetic_run: Any) -> None:
    seen = identities(*synthetic_run(requests=400, rate_per_s=40, dropped=range(200, 400)))
    assert seen["delivered_rate"]["seen"] == pytest.approx(seen["delivered_rate"]["expected"] / 2, rel=0.01)
    assert seen["delivered_rate"]["holds"] is False


def test_calls_sent_thirty_at_a_time_break_the_delivered_dispersion(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=1200, rate_per_s=40, arrivals="constant")
    sent = table["sent_ns"].to_numpy()
    bunched = replace_column(table, "sent_ns", pa.array(np.repeat(sent[29::30], 30)))
    seen = identities(run, bunched, telemetry)
    assert seen["delivered_dispersion"]["expected"] < 0.05
    assert seen["delivered_dispersion"]["seen"] > 10
    assert seen["delivered_dispersion"]["holds"] is False
