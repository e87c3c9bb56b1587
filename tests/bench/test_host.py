import os
import subprocess
import sys
import time

import psutil

from bench.host import host_readings, process_readings


def test_shares_of_cpu_time_come_from_the_second_reading_on() -> None:
    host = host_readings()
    first = next(host)
    time.sleep(0.05)
    second = next(host)
    assert first.keys() == {"memory_used_bytes", "load_1m"}
    assert first.keys() | {"busy_cores"} <= second.keys()
    assert 0 <= second["busy_cores"] <= (psutil.cpu_count() or 1)


def test_work_of_a_server_is_not_counted_as_the_clients() -> None:
    code = "import time\nprint(flush=True)\nwhile time.process_time() < 10: pass"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as server:
        assert server.stdout
        server.stdout.readline()
        readings = process_readings(server.pid, os.getpid())
        first = next(readings)
        time.sleep(0.3)
        second = next(readings)
        server.kill()
    assert first["server"].keys() == {"rss_bytes"}
    assert second["server"]["busy_cores"] > 0.1
    assert second.get("client", {}).get("busy_cores", 0.0) < 0.05


def test_a_server_that_has_ended_has_no_reading() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    assert next(process_readings(ended.pid, os.getpid())).keys() <= {"client"}
