import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from analysis.run.metrics import METRICS
from analysis.run.summary import read, write
from analysis.stats.distributions import LEVELS
from bench.runs.folder import REQUESTS
from bench.runs.sections import dump
from bench.runs.table import read_requests
from tests.summaries import summarize, summary_of

MS = 1_000_000
SECOND = 1_000_000_000

CONTRACT = {
    "": ["schema", "run_id", "backend", "model", "scenario", "plan_hash", "seed", "verdict", "window", "requests",
         "metrics", "throughput", "client", "gpu", "cost"],
    "verdict": ["status", "reasons"],
    "window": ["start_s", "seconds"],
    "requests": ["planned", "succeeded", "failed", "dropped", "unfinished", "by_error"],
    "metrics": ["ttft_ms", "ttft_text_ms", "itl_ms", "chunk_gap_ms", "tpot_ms", "service_ms", "response_ms",
                "lateness_ms", "prompt_tokens", "output_tokens"],
    "throughput": ["requests_per_s", "output_tokens_per_s", "total_tokens_per_s", "goodput_rps", "slo_attainment"],
    "client": ["cpu_fraction", "lag_ms", "stamps", "coalesced_reads", "token_events_per_s"],
}  # fmt: skip
FIRST = CONTRACT[""][:8]  # which run, then whether to believe it
STATISTICS = ["count", "mean", "std", "min", "max", "p50", "p90", "p95", "p99", "ci95", "worth", "why"]
GPU = ["index", "name", "util_pct_mean", "memory_used_bytes_max", "power_w_mean", "energy_j"]


def assert_keeps_the_contract(summary: dict[str, Any]) -> None:
    for section, names in CONTRACT.items():
        assert set(names) <= set(summary[section] if section else summary)
    assert list(summary)[: len(FIRST)] == FIRST
    assert list(summary["metrics"]) == list(METRICS)
    for described in summary["metrics"].values():
        assert list(described) == STATISTICS
        assert {name: len(bounds) for name, bounds in described["ci95"].items()} == {"mean": 2} | dict.fromkeys(
            LEVELS, 2
        )
    assert set(summary["client"]["lag_ms"]) == {"p50", "p99", "max"}
    assert all(set(GPU) <= set(gpu) for gpu in summary["gpu"])
    assert all(set(reason) == {"code", "message", "value", "limit"} for reason in summary["verdict"]["reasons"])
    assert summary["verdict"]["status"] in ("valid", "suspect", "invalid")
    json.dumps(summary, allow_nan=False)


RUNS = {
    "closed": {"requests": 200},
    "open": {"requests": 200, "rate_per_s": 50, "slo": ["ttft_ms:p99<500"]},
    "duration": {"requests": 100, "rate_per_s": 20, "duration_s": 4.0, "warmup": 10},
    "empty": {"requests": 0},
    "only warm-up": {"requests": 0, "warmup": 5},
    "all failed": {"requests": 20, "failed": range(20), "slo": ["itl_ms:p99<500", "ttft_ms<500"]},
    "all dropped": {"requests": 20, "rate_per_s": 5, "dropped": range(20)},
    "one request": {"requests": 1, "slo": ["ttft_ms<500"]},
    "one request, open loop": {"requests": 1, "rate_per_s": 5},
    "one token": {"requests": 30, "tokens": 1},
    "interrupted": {"requests": 30, "unfinished": range(20, 30), "interrupted": True},
    "user stamps": {"requests": 30, "stamps": "user", "gpus": 0},
}


@pytest.mark.parametrize("options", RUNS.values(), ids=RUNS)
def test_every_run_keeps_the_contract(synthetic_run: Any, options: dict[str, Any]) -> None:
    assert_keeps_the_contract(summarize(*synthetic_run(**options)))


def test_a_run_without_telemetry_keeps_the_contract(synthetic_run: Any) -> None:
    run, table, _ = synthetic_run()
    summary = summarize(run, table, None)
    assert_keeps_the_contract(summary)
    assert summary["gpu"] == []


def test_outcomes_are_counted_over_measured_calls(synthetic_run: Any) -> None:
    options = {"requests": 20, "warmup": 5, "failed": [0, 6, 7], "dropped": [8], "unfinished": [1, 9, 10]}
    found = summarize(*synthetic_run(**options))["requests"]
    assert found.pop("error_share") == 0.25
    assert found.pop("ci95")["error_share"] == pytest.approx([0.0866, 0.4910], abs=1e-4)  # the printed tables
    assert found == {
        "planned": 20,
        "succeeded": 15,
        "failed": 2,
        "dropped": 1,
        "unfinished": 2,
        "by_error": {"http_500": 2, "dropped": 1, "unfinished": 2},
        "why": {},
    }


@pytest.mark.parametrize(
    ("told", "load", "expected"),
    [
        ([{"waits": 2, "seat_s": 1.5}, {"waits": 1, "seat_s": 0.5}], {"concurrency": 4}, (3, 2.0, 0.05)),
        ([{"waits": 0, "seat_s": 0.0}], {"rate_per_s": 5.0}, (0, 0.0, None)),
        ([{"waits": 2, "seat_s": 1.5}, None], {"concurrency": 4}, (None, None, None)),
    ],
)
def test_how_long_slots_waited_is_added_up_over_all_processes(
    synthetic_run: Any, told: list[Any], load: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    run, table, telemetry = synthetic_run(requests=20, **load)
    run["clients"] = [
        {"worker": n, "cpu_s": 1.0, "wall_s": 10.0, "stamps": "kernel"} | ({"backoff": one} if one else {})
        for n, one in enumerate(told)
    ]
    assert tuple(summarize(run, table, telemetry)["backoff"].values()) == pytest.approx(expected)


def test_calls_that_a_server_was_gone_for_are_unfinished_and_told_apart(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=20, unfinished=[18, 19])
    codes = [*table["error"].to_pylist()[:19], "not_sent"]
    table = table.set_column(table.schema.get_field_index("error"), "error", [codes])
    counts = summarize(run, table, telemetry)["requests"]
    assert (counts["failed"], counts["unfinished"]) == (0, 2)
    assert counts["by_error"] == {"unfinished": 1, "not_sent": 1}


def test_a_call_without_end_or_error_is_unfinished(synthetic_run: Any, requests_table: Any) -> None:
    run, _, _ = synthetic_run()
    summary = summarize(run, requests_table([{"seq": 0, "phase": "measured", "sent_ns": 0, "due_ns": 0}]), None)
    assert summary["requests"]["unfinished"] == 1
    assert summary["requests"]["by_error"] == {"unfinished": 1}


def test_exact_timings_come_back_exactly(synthetic_run: Any) -> None:
    summary = summarize(*synthetic_run(requests=160, tokens=11, ttft_ms=80, itl_ms=10, jitter=0))
    for name, value in {"ttft_ms": 80, "itl_ms": 10, "tpot_ms": 10, "service_ms": 180.1, "lateness_ms": 0.05}.items():
        described = summary["metrics"][name]
        for statistic in ("mean", "min", "max", "p50", "p90", "p95", "p99"):
            assert described[statistic] == pytest.approx(value), (name, statistic)
        assert described["ci95"]["p50"] == pytest.approx([value, value])
    assert summary["metrics"]["itl_ms"]["count"] == 160 * 10
    assert summary["verdict"] == {"status": "valid", "reasons": []}


def test_warmup_calls_are_not_in_the_metrics(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(requests=50, warmup=30)
    assert summarize(run, table, telemetry)["metrics"]["ttft_ms"]["count"] == 50


def call(seq: int, phase: str, sent_s: int, arrivals_s: list[int], **other: Any) -> Any:
    return {
        "seq": seq,
        "phase": phase,
        "due_ns": sent_s * SECOND,
        "sent_ns": sent_s * SECOND,
        "first_token_ns": arrivals_s[0] * SECOND,
        "first_text_ns": arrivals_s[0] * SECOND,
        "last_token_ns": arrivals_s[-1] * SECOND,
        "end_ns": arrivals_s[-1] * SECOND,
        "prompt_tokens": 100,
        "output_tokens": 2 * len(arrivals_s),
        "arrivals_ns": [at * SECOND for at in arrivals_s],
        "arrival_tokens": [2] * len(arrivals_s),
        "coalesced_reads": 1,
        "lags_ns": [MS] * len(arrivals_s),
    } | other


# Window 10 s to 20 s of a closed loop. Inside it: all of two calls' output and half of the third's. The failed call's
# arrivals are no throughput, though the client had to take them.
FIVE_CALLS = [
    call(0, "warmup", 6, [8, 10]),
    call(1, "measured", 10, [12, 14]),
    call(2, "measured", 14, [17, 18]),
    call(3, "measured", 18, [20, 22]),
    call(4, "measured", 18, [19], error="stalled"),
]


def ten_seconds(synthetic_run: Any, **options: Any) -> Any:
    run, _, _ = synthetic_run(concurrency=1, duration_s=10.0, **options)
    run["load"] |= {"warmup_s": 10.0, "warmup_requests": None}
    return run


def test_throughput_counts_calls_by_the_output_that_comes_inside_the_window(
    synthetic_run: Any, requests_table: Any
) -> None:
    summary = summarize(ten_seconds(synthetic_run), requests_table(FIVE_CALLS), None)
    assert summary["window"] == {"start_s": 10.0, "seconds": 10.0}
    throughput = summary["throughput"]
    assert throughput["rates_unknown"] is None
    assert throughput["requests_per_s"] == (1 + 1 + 0.5) / 10
    assert throughput["output_tokens_per_s"] == (4 + 4 + 2) / 10
    assert throughput["total_tokens_per_s"] == (4 + 4 + 2 + 100 + 100 + 50) / 10
    assert (throughput["goodput_rps"], throughput["slo_attainment"]) == (None, None)
    assert summary["client"]["token_events_per_s"] == 0.7
    assert summary["client"]["coalesced_reads"] == 5
    # The drain's latencies count: the third call ends after the window.
    assert summary["metrics"]["service_ms"]["count"] == 3


def test_goodput_is_of_the_window_and_attainment_of_the_measured_calls_planned(
    synthetic_run: Any, requests_table: Any
) -> None:
    run = ten_seconds(synthetic_run, slo=["ttft_ms<2500", "service_ms<5000"])
    summary = summarize(run, requests_table(FIVE_CALLS), None)
    assert summary["throughput"]["goodput_rps"] == (1 + 0.5) / 10
    assert summary["throughput"]["slo_attainment"] == 2 / 4
    assert [(result["objective"], result["met"]) for result in summary["slo"]] == [
        ("ttft_ms<2500", False),
        ("service_ms<5000", False),
    ]


def test_a_run_too_short_for_a_rate_has_none_and_says_why(synthetic_run: Any) -> None:
    for options in ({"requests": 8, "concurrency": 8}, {"requests": 5, "rate_per_s": 5}):
        summary = summarize(*synthetic_run(**options, slo=["ttft_ms<500"]))
        rates = {name: value for name, value in summary["throughput"].items() if name != "slo_attainment"}
        assert rates.pop("rates_unknown").endswith("raise --requests or --duration")
        assert list(rates.pop("ci95")) == ["slo_attainment"]
        rates.pop("why")
        assert set(rates.values()) == {None}
        assert next(law for law in summary["identities"] if law["name"] == "littles_law")["holds"] is None


def test_a_duration_without_goodput_says_zero_and_an_empty_window_says_unknown(synthetic_run: Any) -> None:
    failed = summarize(*synthetic_run(requests=20, rate_per_s=10, duration_s=2.0, failed=range(20), slo=["ttft_ms<1"]))
    assert failed["throughput"]["requests_per_s"] == 0.0
    assert failed["throughput"]["goodput_rps"] == 0.0
    empty = summarize(*synthetic_run(requests=0))
    assert [empty["throughput"].pop(name) for name in ("ci95", "why")] == [{}, {}]
    assert set(empty["throughput"].values()) == {None}


def test_one_token_outputs_have_a_first_token_and_no_gap(synthetic_run: Any) -> None:
    metrics = summarize(*synthetic_run(requests=30, tokens=1))["metrics"]
    assert metrics["ttft_ms"]["count"] == 30
    for name in ("itl_ms", "chunk_gap_ms", "tpot_ms"):
        assert (metrics[name]["count"], metrics[name]["mean"]) == (0, None)


def test_tokens_that_come_several_at_a_time_are_told(synthetic_run: Any) -> None:
    single = summarize(*synthetic_run(requests=20))
    assert single["tokens"] == {
        "tokens_equal_chunks": True,
        "tokens_per_arrival": 1.0,
        "token_sources": {"server usage": 20},
        "output_of_max": 1.0,
    }
    assert single["metrics"]["itl_ms"] == single["metrics"]["chunk_gap_ms"]
    packed = summarize(*synthetic_run(requests=20, tokens=32, tokens_per_arrival=4))
    assert (packed["tokens"]["tokens_equal_chunks"], packed["tokens"]["tokens_per_arrival"]) == (False, 4.0)
    assert packed["metrics"]["itl_ms"]["count"] == 20 * 31
    assert packed["metrics"]["chunk_gap_ms"]["count"] == 20 * 7
    assert packed["metrics"]["itl_ms"]["p50"] == 0.0


def test_the_offered_rate_and_its_burstiness_are_told(synthetic_run: Any) -> None:
    poisson = summarize(*synthetic_run(requests=2000, tokens=2, rate_per_s=100))["offered"]
    assert poisson["wanted_rps"] == 100
    assert poisson["achieved_rps"] == pytest.approx(100, rel=0.1)
    assert poisson["index_of_dispersion"] == pytest.approx(1.0, abs=0.3)
    constant = summarize(*synthetic_run(requests=2000, tokens=2, rate_per_s=100, arrivals="constant"))["offered"]
    assert constant["achieved_rps"] == pytest.approx(100, rel=1e-4)
    assert constant["index_of_dispersion"] < 0.05


def test_a_closed_loop_offers_no_rate(synthetic_run: Any) -> None:
    assert set(summarize(*synthetic_run(concurrency=4))["offered"].values()) == {None}


def test_the_drain_is_neither_in_the_offered_rate_nor_in_what_was_served(synthetic_run: Any) -> None:
    summary = summarize(*synthetic_run(requests=200, rate_per_s=2000, arrivals="constant"))
    assert summary["offered"]["achieved_rps"] == pytest.approx(2000, rel=1e-3)
    assert summary["throughput"]["requests_per_s"] in (None, pytest.approx(2000, rel=1e-3))


def test_client_section_tells_the_busiest_worker_and_the_weakest_stamp(synthetic_run: Any) -> None:
    run, table, telemetry = synthetic_run(lag_ms=0.2)
    client = summarize(run, table, telemetry)["client"]
    assert client["cpu_fraction"] == pytest.approx(0.1)
    assert client["stamps"] == "kernel"
    assert 0 < client["lag_ms"]["p50"] < client["lag_ms"]["p99"] < client["lag_ms"]["max"]
    run["clients"].append({"worker": 1, "cpu_s": 9.0, "wall_s": 10.0, "stamps": "user"})
    client = summarize(run, table, telemetry)["client"]
    assert (client["cpu_fraction"], client["stamps"]) == (0.9, "user")


def test_unknown_lag_is_null_not_zero(synthetic_run: Any) -> None:
    assert summarize(*synthetic_run(stamps="user"))["client"]["lag_ms"] == {"p50": None, "p99": None, "max": None}


def test_gpu_energy_is_that_of_the_window(synthetic_run: Any) -> None:
    summary = summarize(*synthetic_run(requests=400, gpus=2))
    assert [gpu["index"] for gpu in summary["gpu"]] == [0, 1]
    assert summary["gpu"][0]["energy_j"] == pytest.approx(300 * summary["window"]["seconds"])


def test_a_written_summary_reads_back_the_same(synthetic_run: Any, tmp_path: Path) -> None:
    summary = summarize(*synthetic_run(requests=20))
    json.dumps(summary, allow_nan=False)
    write(tmp_path, summary_of(summary))
    assert dump(read(tmp_path)) == summary


def test_owned_hardware_is_priced_with_the_power_that_its_gpus_drew(synthetic_run: Any) -> None:
    """Two cards of 300 W at $0.50 a kWh add 30 cents to the dollar of the hour."""
    run, requests, telemetry = synthetic_run(requests=200, gpus=2)
    run["pricing"] = {"usd_per_hour": "1", "usd_per_kwh": "0.50"}
    cost = summarize(run, requests, telemetry)["cost"]
    assert cost["usd_per_hour"] == [1.3, 1.3]
    assert any("600 W" in note for note in cost["notes"])
    run, requests, telemetry = synthetic_run(requests=200, gpus=0)
    run["pricing"] = {"usd_per_hour": "1", "usd_per_kwh": "0.50"}
    cost = summarize(run, requests, telemetry)["cost"]
    assert cost["usd_per_hour"] == [1.0, 1.0]
    assert any(note.startswith("electricity not included") for note in cost["notes"])


@pytest.mark.parametrize("options", [{"tokens_per_arrival": 3, "warmup": 9}, {"duration_s": 20.0}], ids=str)
def test_what_is_read_a_few_calls_at_a_time_has_the_summary_of_what_is_read_at_once(
    options: dict[str, Any], synthetic_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, requests, telemetry = synthetic_run(requests=60, failed=[5, 50], **options)
    pq.write_table(requests, tmp_path / REQUESTS)
    at_once = summarize(run, requests, telemetry)
    monkeypatch.setattr("bench.runs.table._CALLS", 7)
    for table in (requests, read_requests(tmp_path, lists=False)):
        # A sum of shares depends in its last digit on where it is cut.
        assert rounded(summarize(run, table, telemetry)) == rounded(at_once)


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value
