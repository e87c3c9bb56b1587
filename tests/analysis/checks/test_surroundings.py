from typing import Any

import pytest

CORES = 8  # of the synthetic machine
SAMPLES = 14


@pytest.mark.parametrize(("stolen", "codes"), [(0.2, []), (1.0, ["stolen_cores"])])
def test_cores_that_the_hypervisor_took_are_a_doubt(
    synthetic_run: Any, doubts: Any, sampled: Any, stolen: float, codes: list[str]
) -> None:
    run, table, _ = synthetic_run(requests=200)
    telemetry = sampled({("host", "busy_cores"): [4.0] * SAMPLES, ("host", "stolen_cores"): [stolen] * SAMPLES})
    assert list(doubts(run, table, telemetry)) == codes


@pytest.mark.parametrize(
    ("busy", "server", "codes"),
    [
        (8.0, 7.0, []),  # all busy, with the run itself
        (6.0, 2.0, []),  # others are there, and there is room
        (8.0, 5.0, ["other_load"]),
    ],
)
def test_others_are_a_doubt_only_where_there_was_no_core_to_spare(
    synthetic_run: Any, doubts: Any, sampled: Any, busy: float, server: float, codes: list[str]
) -> None:
    run, table, _ = synthetic_run(requests=200)
    telemetry = sampled(
        {
            ("host", "busy_cores"): [busy] * SAMPLES,
            ("client", "busy_cores"): [0.5] * SAMPLES,
            ("server", "busy_cores"): [server] * SAMPLES,
        }
    )
    assert list(doubts(run, table, telemetry)) == codes


@pytest.mark.parametrize(("received", "codes"), [(50e6, []), (110e6, ["wire_full"])])
def test_a_wire_that_is_nearly_full_is_a_doubt(
    synthetic_run: Any, doubts: Any, sampled: Any, received: float, codes: list[str]
) -> None:
    run, table, _ = synthetic_run(requests=200)
    rates = {"link": 125e6, "sent": 1e6, "received": received}
    telemetry = sampled({("host", f"{way}_bytes_per_s"): [rate] * SAMPLES for way, rate in rates.items()})
    assert list(doubts(run, table, telemetry)) == codes


@pytest.mark.parametrize(
    ("mask", "share", "code"),
    [
        (0x40, 0.02, None),
        (0x40, 0.2, "gpu_slowed"),
        (0x20, 0.2, "gpu_slowed"),
        (0x80, 0.2, "gpu_slowed"),
        (0x04, 0.2, None),
        (0x04, 0.9, "gpu_power_capped"),
        (0x01 | 0x02, 1.0, None),  # idle, and clocks that somebody chose
    ],
)
def test_a_gpu_that_was_held_back_is_a_doubt_that_names_why(
    synthetic_run: Any, doubts: Any, sampled: Any, mask: int, share: float, code: str | None
) -> None:
    run, table, _ = synthetic_run(requests=200)
    masks = [mask if i < share * 140 else 0 for i in range(140)]
    found = doubts(run, table, sampled({("gpu0", "throttle_reasons"): masks}, every_s=0.07))
    assert list(found) == ([] if code is None else [code])


@pytest.mark.parametrize(
    ("step_ms", "stamps", "codes"),
    [(0.5, "kernel", []), (5.0, "kernel", []), (50.0, "kernel", ["clock_step"]), (50.0, "user", ["user_stamps"])],
)
def test_a_clock_that_was_set_is_a_doubt_and_one_that_is_slewed_is_not(
    synthetic_run: Any, doubts: Any, step_ms: float, stamps: str, codes: list[str]
) -> None:
    run, table, _ = synthetic_run(requests=200, stamps=stamps)
    assert list(doubts(run | {"clock_step_ns": round(step_ms * 1e6)}, table)) == codes
