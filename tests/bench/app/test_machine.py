import platform

from bench.app.machine import hardware, versions
from bench.runs.sections import dump


def test_hardware_names_the_processor_and_counts_in_plain_units() -> None:
    machine = hardware()
    assert dump(machine).keys() == {"cpu", "cpu_id", "cores", "memory_bytes", "os", "gpus"}
    assert machine.cpu
    assert (machine.cores or 0) >= 1
    assert (machine.memory_bytes or 0) > 2**28
    assert platform.system() in machine.os or platform.system() == "Darwin"


def test_versions_tell_python_and_what_is_installed_only() -> None:
    found = versions()
    assert found["python"] == platform.python_version()
    assert {"locust", "pyarrow"} <= found.keys()
    assert all(found.values())
