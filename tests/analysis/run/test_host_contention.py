from dataclasses import replace

import pyarrow as pa
import pytest

from analysis.run.host_contention import host
from analysis.run.sections import HostUse
from analysis.run.window import Window
from tests.summaries import manifest_of

SPAN = Window(0, 10_000_000_000)
HERE = manifest_of({"launched": True, "url": "http://127.0.0.1:8080", "hardware": {"cores": 4}})
ELSEWHERE = manifest_of({"launched": False, "url": "https://api.example.com", "hardware": {"cores": 4}})


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
    assert found.other_busy_cores == pytest.approx(1.5)
    assert found.contended_share == 1.0


def test_a_machine_with_a_core_to_spare_is_not_contended() -> None:
    assert host(HERE, telemetry(host=3.0, client=0.5, server=1.0), SPAN).contended_share == 0.0


def test_a_server_elsewhere_takes_no_core_here() -> None:
    assert host(ELSEWHERE, telemetry(host=3.0, client=1.0), SPAN).other_busy_cores == pytest.approx(2.0)


def test_a_server_here_that_was_not_launched_cannot_be_told_from_others() -> None:
    found = host(replace(HERE, launched=False), telemetry(host=4.0, client=1.0), SPAN)
    assert (found.busy_cores, found.other_busy_cores) == (4.0, None)
    assert found.contended_share == 1.0  # nobody knows by whom, but full they were
    idle = host(replace(HERE, launched=False), telemetry(host=2.0, client=1.0), SPAN)
    assert idle.contended_share == 0.0


def test_a_server_that_was_not_launched_and_tells_its_process_is_told_from_others() -> None:
    found = host(replace(HERE, launched=False), telemetry(host=4.0, client=1.0, server=2.9), SPAN)
    assert found.other_busy_cores == pytest.approx(0.1)
    assert found.contended_share == 0.0


def test_a_window_of_less_than_a_second_has_what_its_samples_tell() -> None:
    rows = [(i * 250_000_000, source, "busy_cores", 4.0 if source == "host" else 1.0)
            for i in range(8) for source in ("host", "client", "server")]  # fmt: skip
    t_ns, source, name, value = zip(*rows, strict=True)
    table = pa.table({"t_ns": t_ns, "source": source, "name": name, "value": value})
    short = Window(600_000_000, 1_100_000_000)
    assert host(HERE, table, short).other_busy_cores == pytest.approx(2.0)
    assert host(HERE, table, short).contended_share == 1.0
    assert host(HERE, table, Window(600_000_000, 700_000_000)).contended_share is None


def test_a_second_of_ten_says_nothing() -> None:
    assert host(HERE, telemetry(2, host=4.0, client=1.0, server=1.0), SPAN) == HostUse()
    assert host(HERE, None, SPAN) == HostUse()


# --- the wire ---------------------------------------------------------------------------------------------------

LINK = {"link_bytes_per_s": [1000.0] * 4, "sent_bytes_per_s": [100.0] * 4, "received_bytes_per_s": [0.0, 900, 900, 600]}


def wire(**series: list[float]) -> pa.Table:
    rows = [(i * 1_000_000_000, name, value) for name, values in series.items() for i, value in enumerate(values)]
    t_ns, name, value = zip(*rows, strict=True)
    return pa.table({"t_ns": t_ns, "source": ["host"] * len(rows), "name": name, "value": value})


def test_a_link_is_as_full_as_its_fuller_direction_in_the_window() -> None:
    assert host(ELSEWHERE, wire(**LINK), SPAN).link_share == pytest.approx(0.8)
    first_second_left_out = Window(500_000_000, 10_000_000_000)
    assert host(ELSEWHERE, wire(**LINK), first_second_left_out).link_share == pytest.approx(0.78)


def test_a_link_of_unknown_speed_has_no_share() -> None:
    unknown = {name: values for name, values in LINK.items() if name != "link_bytes_per_s"}
    assert host(ELSEWHERE, wire(**unknown), SPAN).link_share is None
