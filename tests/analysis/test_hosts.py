import pyarrow as pa
import pytest

from analysis.hosts import host
from analysis.window import Window

SPAN = Window(0, 10_000_000_000)
HERE = {"launched": True, "url": "http://127.0.0.1:8080", "hardware": {"cores": 4}}
ELSEWHERE = {"launched": False, "url": "https://api.example.com", "hardware": {"cores": 4}}


def telemetry(samples: int = 5, **busy: float) -> pa.Table:
    """Constant busy cores of host, client and server, a few microseconds apart as the sampler writes them."""
    rows = [
        (i * 1_000_000_000 + delay, source, "busy_cores", value)
        for i in range(samples)
        for delay, (source, value) in enumerate(busy.items())
    ]
    t_ns, source, name, value = zip(*rows, strict=True)
    return pa.table({"t_ns": t_ns, "source": source, "name": name, "value": value})


def test_others_have_what_client_and_server_have_not() -> None:
    found = host(HERE, telemetry(host=4.0, client=0.5, server=2.0), SPAN)
    assert found["other_busy_cores"] == pytest.approx(1.5)
    assert found["contended_share"] == 1.0


def test_a_machine_with_a_core_to_spare_is_not_contended() -> None:
    assert host(HERE, telemetry(host=3.0, client=0.5, server=1.0), SPAN)["contended_share"] == 0.0


def test_a_server_elsewhere_takes_no_core_here() -> None:
    assert host(ELSEWHERE, telemetry(host=3.0, client=1.0), SPAN)["other_busy_cores"] == pytest.approx(2.0)


def test_a_server_here_that_was_not_launched_cannot_be_told_from_others() -> None:
    found = host(HERE | {"launched": False}, telemetry(host=4.0, client=1.0), SPAN)
    assert (found["busy_cores"], found["other_busy_cores"], found["contended_share"]) == (4.0, None, None)


def test_two_samples_say_nothing() -> None:
    assert set(host(HERE, telemetry(2, host=4.0, client=1.0, server=1.0), SPAN).values()) == {None}
    assert set(host(HERE, None, SPAN).values()) == {None}
