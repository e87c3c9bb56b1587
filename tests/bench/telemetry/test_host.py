import os
import socket
import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from bench.telemetry.host import host_readings, listener, network_readings, process_readings


def test_shares_of_cpu_time_come_from_the_second_reading_on() -> None:
    host = host_readings()
    first = next(host)
    time.sleep(0.05)
    second = next(host)
    assert first.keys() == {"memory_used_bytes", "load_1m"}
    assert first.keys() | {"busy_cores"} <= second.keys()
    assert 0 <= second["busy_cores"] <= (psutil.cpu_count() or 1)


@pytest.mark.clock
def test_work_of_a_server_is_not_counted_as_the_clients() -> None:
    code = "import time\nprint(flush=True)\nwhile time.process_time() < 10: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as server:
        assert server.stdout
        server.stdout.readline()
        readings = process_readings(server.pid, os.getpid())
        first = second = next(readings)
        while second["server"].get("busy_cores", 0) <= 0.01:  # others may have the cores for a while
            time.sleep(0.3)
            second = next(readings)
        server.kill()
    assert first["server"].keys() == {"rss_bytes"}
    assert second.get("client", {}).get("busy_cores", 0.0) < 0.05


def test_a_server_that_has_ended_has_no_reading() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    assert next(process_readings(ended.pid, os.getpid())).keys() <= {"client"}


# --- the wire ---------------------------------------------------------------------------------------------------

HERE = "http://127.0.0.1:8080"
# The way there leaves from 127.0.0.1, which the tests give to an interface of theirs.
ELSEWHERE = "http://127.0.0.2:8080"


@pytest.fixture
def wire(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The interface of a machine on which two seconds pass at each step; what it tells can be changed."""
    told = SimpleNamespace(speed=1000, bytes_sent=5, bytes_recv=5, address="127.0.0.1")
    clock = iter(range(0, 100, 2))

    def tells(**_: Any) -> dict[str, SimpleNamespace]:
        return {"eth1": SimpleNamespace(**vars(told))}

    monkeypatch.setattr("psutil.net_if_addrs", lambda: {"eth1": [told]})
    monkeypatch.setattr("psutil.net_if_stats", tells)
    monkeypatch.setattr("psutil.net_io_counters", tells)
    monkeypatch.setattr("bench.telemetry.host.time.monotonic", lambda: next(clock))
    return told


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="other systems have one loopback address")


@linux_only
def test_what_goes_over_the_wire_is_told_from_the_second_reading_on_beside_what_the_link_takes(wire: Any) -> None:
    readings = network_readings(ELSEWHERE)
    assert next(readings) == {}
    wire.bytes_sent, wire.bytes_recv = 205, 50_000_005
    rates = {"sent_bytes_per_s": 100.0, "received_bytes_per_s": 25e6}
    assert next(readings) == rates | {"link_bytes_per_s": 125e6}


@linux_only
def test_an_interface_that_does_not_tell_its_speed_has_no_link(wire: Any) -> None:
    wire.speed = 0
    readings = network_readings(ELSEWHERE)
    next(readings)
    assert next(readings) == {"sent_bytes_per_s": 0.0, "received_bytes_per_s": 0.0}


def test_a_server_here_is_behind_no_wire(wire: Any) -> None:
    readings = network_readings(HERE)
    assert (next(readings), next(readings)) == ({}, {})


def test_a_server_whose_name_is_not_found_has_no_readings(wire: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    readings = network_readings("http://somewhere:8080")
    assert (next(readings), next(readings)) == ({}, {})


def test_the_process_that_listens_where_a_url_points_to_is_found() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert listener(f"http://127.0.0.1:{port}") == os.getpid()
        assert listener(f"http://localhost:{port}/v1") == os.getpid()
    assert listener(f"http://127.0.0.1:{port}") is None
    assert listener("http://192.0.2.1:80") is None
