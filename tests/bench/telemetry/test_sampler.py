"""The real sampler process, over real pynvml, on a fake driver library with two GPUs."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.telemetry import sampler as telemetry
from bench.telemetry.nvidia import throttle_names
from bench.telemetry.scraping import Engine

ROOT = Path(__file__).parents[3]
SECOND = 1_000_000_000
GIB = 2**30
HERE = "http://127.0.0.1"

Series = dict[tuple[str, str], list[tuple[int, float]]]


@pytest.fixture
def busy_server() -> Iterator[int]:
    """The pid of an idle guard whose child keeps one core busy; both end with the test, or by themselves soon."""
    spin = "import time\nwhile time.process_time() < 20: pass"
    guard_code = (
        "import subprocess, sys\n"
        "child = subprocess.Popen([sys.executable, '-c', sys.argv[1]])\n"
        "sys.stdin.read()\n"
        "child.kill()\n"
        "child.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", guard_code, spin], stdin=subprocess.PIPE) as guard:
        yield guard.pid


@pytest.fixture
def engine_url() -> Iterator[str]:
    """A metrics endpoint whose counter says how often it has been read."""

    class Metrics(BaseHTTPRequestHandler):
        scrapes = 0

        def do_GET(self) -> None:
            Metrics.scrapes += 1
            self.send_response(200)
            self.end_headers()
            text = f'vllm:num_requests_waiting{{engine="0"}} 7.0\nvllm:prefix_cache_hits_total {Metrics.scrapes}\n'
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Metrics) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()


def series_of(raw: Path, start_ns: int) -> Series:
    series: Series = {}
    for row in telemetry.to_table(raw, start_ns).to_pylist():
        series.setdefault((row["source"], row["name"]), []).append((row["t_ns"], row["value"]))
    return series


def values(series: Series, source: str, name: str) -> set[float]:
    return {value for _, value in series[source, name]}


def has_ended(process: psutil.Process) -> bool:
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def wait_for_rows(raw: Path, name: str, rows: int = 1) -> None:
    wait_for(lambda: raw.read_text().count(f",{name},") >= rows)


def start_plain(raw: Path) -> telemetry.Sampler:
    return telemetry.start(raw, url=HERE)


@pytest.mark.slow
def test_samples_gpus_host_processes_and_engine_together(
    tmp_path: Path, fake_nvml: Callable[..., None], busy_server: int, engine_url: str
) -> None:
    fake_nvml()
    raw = tmp_path / "telemetry.csv"
    gauges = {
        "queue": "vllm:num_requests_waiting",
        "prefix_cache_hits": "vllm:prefix_cache_hits_total",
        "preemptions": "vllm:num_preemptions_total",
    }
    start_ns = time.monotonic_ns()
    with telemetry.start(raw, url=HERE, server_pid=busy_server, engines=[Engine(engine_url, gauges)]) as sampler:
        wait_for_rows(raw, "gpu0,power_w", 10)
        wait_for_rows(raw, "engine,queue", 2)
        wait_for_rows(raw, "server,busy_cores", 2)
        ending_ns = time.monotonic_ns() - start_ns
    elapsed_ns = time.monotonic_ns() - start_ns
    series = series_of(raw, start_ns)

    assert sampler.notes == []
    everything = [t_ns for points in series.values() for t_ns, _ in points]
    assert min(everything) > 0
    assert max(everything) < elapsed_ns

    common = {"util_pct", "memory_used_bytes", "power_w", "sm_clock_mhz", "mem_clock_mhz", "temperature_c"}
    common |= {"throttle_reasons"}
    assert {name for source, name in series if source == "gpu0"} == common | {"energy_j"}
    assert {name for source, name in series if source == "gpu1"} == common  # it has no energy counter
    assert len(series["gpu0", "power_w"]) <= 10 * elapsed_ns / SECOND + 1
    constant = {
        ("gpu0", "util_pct"): 90, ("gpu1", "util_pct"): 40,
        ("gpu0", "memory_used_bytes"): 60 * GIB, ("gpu1", "memory_used_bytes"): 60 * GIB,
        ("gpu0", "sm_clock_mhz"): 1980, ("gpu1", "sm_clock_mhz"): 900,
        ("gpu0", "mem_clock_mhz"): 2619, ("gpu1", "mem_clock_mhz"): 2619,
        ("gpu0", "temperature_c"): 55, ("gpu1", "temperature_c"): 91,
        ("gpu0", "throttle_reasons"): 0x4, ("gpu1", "throttle_reasons"): 0x60,
        ("gpu1", "power_w"): 70,
    }  # fmt: skip
    assert {key: values(series, *key) for key in constant} == {key: {value} for key, value in constant.items()}

    power, energy = series["gpu0", "power_w"], series["gpu0", "energy_j"]
    integral_j = sum((a + b) / 2 * (u - t) / SECOND for (t, a), (u, b) in pairwise(power))
    assert energy[-1][1] - energy[0][1] == pytest.approx(integral_j, rel=0.1)
    assert energy[0][1] > 5000  # a counter since the driver was loaded, not since we began
    assert power[-1][1] > power[0][1] + 50

    assert 0 < series["host", "busy_cores"][0][1] <= (psutil.cpu_count() or 1)
    assert 0 < series["host", "memory_used_bytes"][0][1] < psutil.virtual_memory().total
    assert {("host", "stolen_cores"), ("host", "load_1m")} <= series.keys()

    server_cores, client_cores = series["server", "busy_cores"][-1][1], series["client", "busy_cores"][-1][1]
    assert client_cores < server_cores / 2  # all the work is done below the server's guard
    assert 0.01 < server_cores < 1.3
    assert min(values(series, "client", "rss_bytes")) >= psutil.Process().memory_info().rss / 2

    assert values(series, "engine", "queue") == {7.0}
    hits = series["engine", "prefix_cache_hits"]
    assert [value for _, value in hits] == list(range(1, len(hits) + 1))
    assert hits[-1][0] > ending_ns, "the last scrape is at the end, not up to a second before"
    assert ("engine", "preemptions") not in series


def test_an_older_driver_is_read_through_the_calls_it_has(tmp_path: Path, fake_nvml: Callable[..., None]) -> None:
    fake_nvml("OLD_DRIVER")
    raw = tmp_path / "telemetry.csv"
    with start_plain(raw):
        wait_for_rows(raw, "gpu1,temperature_c")
    series = series_of(raw, 0)
    assert values(series, "gpu1", "temperature_c") == {91.0}
    assert values(series, "gpu1", "throttle_reasons") == {0x60}
    assert values(series, "gpu1", "memory_used_bytes") == {61.0 * GIB}


def test_without_a_driver_one_note_says_so_and_the_host_is_sampled_all_the_same(
    tmp_path: Path, fake_nvml: Callable[..., None]
) -> None:
    fake_nvml("NO_DRIVER")
    raw = tmp_path / "telemetry.csv"
    with start_plain(raw) as sampler:
        wait_for_rows(raw, "client,rss_bytes")
    assert sampler.notes == ["no GPU metrics: Driver Not Loaded"]
    assert {source for source, _ in series_of(raw, 0)} == {"host", "client"}


def test_gpu_inventory_tells_name_driver_and_memory(fake_nvml: Callable[..., None]) -> None:
    fake_nvml()
    code = "from bench.telemetry.sampler import gpu_inventory; print([gpu[:3] for gpu in gpu_inventory()])"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert printed.strip() == str([("Fake H100", "580.65.06", 80 * GIB), ("Fake L4", "580.65.06", 80 * GIB)])


def test_a_card_in_slices_tells_what_it_can_and_the_rest_is_unknown(
    tmp_path: Path, fake_nvml: Callable[..., None]
) -> None:
    fake_nvml("MIG")
    raw = tmp_path / "telemetry.csv"
    with start_plain(raw):
        wait_for_rows(raw, "gpu1,temperature_c")
    series = series_of(raw, 0)
    told = {"power_w", "energy_j", "sm_clock_mhz", "mem_clock_mhz", "temperature_c", "throttle_reasons"}
    assert {name for source, name in series if source == "gpu0"} == told
    assert values(series, "gpu1", "util_pct") == {40.0}
    code = "from bench.telemetry.sampler import gpu_inventory; print([gpu.memory_bytes for gpu in gpu_inventory()])"
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert printed.strip() == str([None, 80 * GIB])


@pytest.mark.slow
def test_an_endpoint_that_never_answers_does_not_delay_the_gpus(tmp_path: Path, fake_nvml: Callable[..., None]) -> None:
    fake_nvml()
    raw = tmp_path / "telemetry.csv"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/metrics"
        with telemetry.start(raw, url=url, engines=[Engine(url, {"queue": "queue_size"})]):
            wait_for_rows(raw, "gpu0,power_w", 5)
    series = series_of(raw, 0)
    assert ("engine", "queue") not in series


def test_metrics_that_lead_elsewhere_are_not_followed_there(
    tmp_path: Path, fake_nvml: Callable[..., None], web_server: Callable[[type[BaseHTTPRequestHandler]], str]
) -> None:
    fake_nvml()
    asked: list[str] = []

    class Stranger(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"queue_size 7\n")

        def log_message(self, *_: object) -> None: ...

    stranger = web_server(Stranger)

    class Server(Stranger):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"{stranger}/metrics")
            self.end_headers()

    url, raw = web_server(Server), tmp_path / "telemetry.csv"
    gauges = {"queue": "queue_size"}
    with telemetry.start(raw, url=url, engines=[Engine(f"{url}/metrics", gauges)]):
        wait_for_rows(raw, "host,memory_used_bytes", 2)
    assert asked == [] and ("engine", "queue") not in series_of(raw, 0)


@pytest.mark.slow
def test_cards_of_an_exporter_take_the_place_of_those_here_and_what_does_not_answer_holds_nothing_up(
    tmp_path: Path, fake_nvml: Callable[..., None], web_server: Callable[[type[BaseHTTPRequestHandler]], str]
) -> None:
    fake_nvml()
    recorded = (ROOT / "tests/fixtures/exporters/dcgm-a800-mig.txt").read_bytes()

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(recorded)

        def log_message(self, *_: object) -> None: ...

    raw = tmp_path / "telemetry.csv"
    cards = {"GPU-9e5b8fec-61bf-5124-a0a9-079af1b65cc6": 0, "GPU-5022ce43-b44a-987b-71c3-dee05378a618": 1}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        exporters: list[dict[str, Any]] = [
            {"url": f"{web_server(Page)}/metrics", "gpus": cards, "node": None, "offset": [-0.5, 0.5]},
            {"url": f"http://127.0.0.1:{silent.getsockname()[1]}/", "gpus": {"0": 2}, "node": 0, "offset": None},
        ]
        with telemetry.start(raw, url=HERE, exporters=exporters) as sampler:
            wait_for_rows(raw, "gpu1,power_w", 2)
            wait_for_rows(raw, "host,load_1m", 2)
    series = series_of(raw, 0)
    assert {source for source, _ in series} == {"gpu0", "gpu1", "host", "client"}
    assert values(series, "gpu0", "power_w") == {55.942} and values(series, "gpu1", "energy_j") == {179711.977}
    first, second = sampler.accounts
    assert first["scrapes"] >= 2 and first["failed"] == 0
    assert first["clock_offset_s"] == pytest.approx(0.0, abs=first["clock_offset_within_s"])
    assert (second["scrapes"], second["scrape_s_max"], second["clock_offset_s"]) == (0, None, None)


@pytest.mark.slow
def test_what_a_killed_sampler_wrote_is_read_up_to_its_last_second(
    tmp_path: Path, fake_nvml: Callable[..., None]
) -> None:
    fake_nvml()
    raw = tmp_path / "telemetry.csv"
    sampler = start_plain(raw)
    wait_for_rows(raw, "gpu0,power_w", 7)
    sampler.process.kill()
    sampler.stop()
    with raw.open("ab") as file:
        file.write(b"12345,gpu0,pow")
    assert len(series_of(raw, 0)["gpu0", "power_w"]) >= 7
    assert sampler.notes == ["telemetry ended early (exit -9); samples so far are kept"]


def test_nothing_written_yet_is_an_empty_table_of_the_same_columns(tmp_path: Path) -> None:
    raw = tmp_path / "telemetry.csv"
    raw.write_bytes(b"12345,gp")
    table = telemetry.to_table(raw, 0)
    assert (table.num_rows, table.column_names) == (0, ["t_ns", "source", "name", "value"])


def test_times_count_from_the_start_of_the_run_and_rows_come_in_order_of_time(tmp_path: Path) -> None:
    raw = tmp_path / "telemetry.csv"
    raw.write_text("5000000,engine,queue,2\n1000000,host,load_1m,0.5\n")
    assert telemetry.to_table(raw, 3_000_000).to_pylist() == [
        {"t_ns": -2_000_000, "source": "host", "name": "load_1m", "value": 0.5},
        {"t_ns": 2_000_000, "source": "engine", "name": "queue", "value": 2.0},
    ]


@pytest.mark.slow
def test_the_sampler_ends_and_keeps_its_rows_when_the_process_that_started_it_is_killed(tmp_path: Path) -> None:
    raw = tmp_path / "telemetry.csv"
    code = (
        "import sys, time; from pathlib import Path; from bench.telemetry import sampler as telemetry\n"
        "nobody = dict(url='http://127.0.0.1')\n"
        "sampler = telemetry.start(Path(sys.argv[1]), **nobody)\n"
        "print(sampler.process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code, raw], cwd=ROOT, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        sampler = psutil.Process(int(parent.stdout.readline()))
        wait_for_rows(raw, "host,memory_used_bytes")
        os.kill(parent.pid, signal.SIGKILL)
    wait_for(lambda: has_ended(sampler))
    assert ("host", "memory_used_bytes") in series_of(raw, 0)


@pytest.mark.parametrize("begun", ["", '{"out": '])
def test_a_sampler_whose_parent_ends_before_it_has_said_what_to_sample_says_nothing(
    begun: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(begun))
    telemetry.main()


def test_a_sampler_whose_parent_goes_before_the_answer_says_nothing(tmp_path: Path) -> None:
    spec: dict[str, object] = {
        "out": str(tmp_path / "telemetry.csv"),
        "url": "http://127.0.0.1",
        "server_pid": None,
        "engines": [],
    }
    line = json.dumps(spec | {"exporters": [], "ca_file": None, "hz": 10.0}).encode() + b"\n"
    command = [sys.executable, "-m", "bench.telemetry.sampler"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdin and process.stdout and process.stderr
        process.stdout.close()
        process.stdin.write(line)
        process.stdin.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_throttle_reasons_are_named_bit_by_bit() -> None:
    assert throttle_names(0) == []
    assert throttle_names(0x60) == ["software thermal slowdown", "hardware thermal slowdown"]
    assert throttle_names(0x4 | 1 << 40) == ["software power cap", "unknown (0x10000000000)"]
