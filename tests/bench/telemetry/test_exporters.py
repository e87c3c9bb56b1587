"""What recorded text of exporters says, in our names."""

from pathlib import Path

import pytest

from backends.gauges import SGLANG
from bench.telemetry import exporters
from bench.telemetry.exporters import NodeSeconds, cores, gpus, matches, node
from bench.telemetry.prometheus import read_metrics

RECORDED = Path(__file__).parents[2] / "fixtures" / "exporters"
MIB = 2**20
CUT = "GPU-1f027ee8-6e1e-2b8c-0108-3d370e5f0418"


def recorded(name: str) -> str:
    return (RECORDED / f"{name}.txt").read_text(encoding="utf-8")


def test_a_card_of_nvidia_is_read_in_our_units() -> None:
    (card,) = gpus(recorded("dcgm-l4")).values()
    assert card.reading == {
        "util_pct": 0, "memory_used_bytes": 0, "power_w": 16.365, "energy_j": pytest.approx(4742.776),
        "sm_clock_mhz": 210, "mem_clock_mhz": 405, "temperature_c": 31,
    }  # fmt: skip
    assert (card.label("modelName"), card.parts, card.timestamp_ms) == ("NVIDIA L4", (), None)


def test_the_power_of_a_card_that_is_cut_up_counts_once() -> None:
    cards = gpus(recorded("dcgm-a800-mig"))
    assert [card.label("gpu") for card in cards.values()] == ["0", "1", "2"]
    assert cards[CUT].parts == ("3", "5", "6")
    assert cards[CUT].reading["power_w"] == 78.446
    assert cards[CUT].reading["energy_j"] == pytest.approx(257_858.316)
    assert "util_pct" not in cards[CUT].reading, "nobody tells the utilisation of a card that is cut up"


def test_memory_of_instances_adds_up_and_a_card_that_pods_share_has_what_each_says() -> None:
    of_instances = "".join(
        f'DCGM_FI_DEV_FB_USED{{gpu="0",UUID="GPU-1",GPU_I_ID="{part}"}} {used}\n' for part, used in ((3, 100), (5, 50))
    )
    assert gpus(of_instances)["GPU-1"].reading == {"memory_used_bytes": 150 * MIB}
    shared = "".join(f'DCGM_FI_DEV_FB_USED{{gpu="0",UUID="GPU-1",pod="{pod}"}} 100\n' for pod in "ab")
    assert gpus(shared)["GPU-1"].reading == {"memory_used_bytes": 100 * MIB}


def test_a_card_of_amd_is_read_in_our_units() -> None:
    card = gpus(recorded("amd-mi300x"))["692409005408"]
    assert card.reading == {
        "util_pct": 0, "memory_used_bytes": 183265 * MIB, "power_w": 748, "energy_j": pytest.approx(1.4e11),
        "sm_clock_mhz": 1533, "mem_clock_mhz": 1292, "temperature_c": 76,
    }  # fmt: skip
    assert card.label("card_series") == "AMD Instinct MI300X OAM"


def test_sensors_of_an_amd_card_that_is_cut_up_are_its_first_partitions() -> None:
    card = gpus(recorded("amd-mi300x"))["692409005296"]
    assert [card.reading[name] for name in ("power_w", "energy_j")] == [751, pytest.approx(1.5e11)]
    other = [line for line in recorded("amd-mi300x").splitlines() if 'gpu_partition_id="1"' in line]
    assert gpus("\n".join(other)) == {}, "a partition without sensors draws nothing that is known"


def test_metrics_under_amds_prefix_are_the_same() -> None:
    prefixed = recorded("amd-mi300x").replace("\ngpu_", "\namd_gpu_")
    assert gpus(prefixed) == gpus(recorded("amd-mi300x"))


@pytest.mark.parametrize(
    "value", ["NaN", "+Inf", "-1", "140737488355328", "9223372036854775792", "2147483632", "x", "1e300"]
)
def test_a_value_that_stands_for_none_is_none(value: str) -> None:
    text = f'DCGM_FI_DEV_POWER_USAGE{{gpu="0",UUID="a"}} {value}\nDCGM_FI_DEV_GPU_UTIL{{gpu="0",UUID="a"}} 7\n'
    assert gpus(text)["a"].reading == {"util_pct": 7}


def test_cards_of_two_hosts_without_uuids_are_two() -> None:
    text = "".join(f'DCGM_FI_DEV_POWER_USAGE{{gpu="0",Hostname="{host}"}} 100\n' for host in "ab")
    assert len(gpus(text)) == 2


@pytest.mark.parametrize(
    ("selector", "numbers"),
    [("1", ["1"]), (CUT, ["0"]), ("GPU_I_ID=5", ["0"]), ("Hostname=msxf-hpc-64-35-ai", ["0", "1", "2"]), ("9", [])],
)
def test_a_selector_names_cards_by_number_uuid_or_label(selector: str, numbers: list[str]) -> None:
    cards = gpus(recorded("dcgm-a800-mig")).values()
    assert [card.label("gpu") for card in cards if matches(card, [selector])] == numbers


def test_a_machine_tells_its_memory_its_load_its_energy_and_its_processor_time() -> None:
    found = node(recorded("node"))
    used = 1_028_694_016 - 584_622_080
    assert found.reading == {"memory_used_bytes": used, "load_1m": 0.56, "energy_j": 38354.045387}
    assert found.cpu is not None
    assert list(found.cpu) == [pytest.approx(0.01 + 0.74 + 46.96 + 34.35 + 1.63 + 48.48 + 32.54), 0.0]


def test_cores_are_between_readings_and_none_where_the_machine_began_anew() -> None:
    first, second = NodeSeconds(0, 100.0, 1.0), NodeSeconds(2_000_000_000, 103.0, 2.0)
    assert cores(first, second) == {"busy_cores": 1.5, "stolen_cores": 0.5}
    assert cores(None, first) == cores(second, first) == cores(second, NodeSeconds(3_000_000_000, 1.0, 0.0)) == {}


def test_what_knows_nothing_of_gpus_or_machines_has_none() -> None:
    assert gpus(recorded("sglang")) == {} == gpus(recorded("node"))
    assert node(recorded("dcgm-l4")) == exporters.NodeReading({}, None, None)


def test_metrics_of_an_sglang_server() -> None:
    assert read_metrics(recorded("sglang"), SGLANG) == {
        "prompt_tokens_total": 8_128_902, "generation_tokens_total": 7_557_572, "kv_use_fraction": 0.28,
        "server_ttft_s_sum": pytest.approx(2_351_897.947), "server_ttft_s_count": 11_008, "running": 162,
        "queue": 2826,
    }  # fmt: skip


def test_ranks_and_priorities_of_sglang_that_say_the_same_are_not_added_up() -> None:
    ranks = "".join(f'sglang:num_running_reqs{{tp_rank="{rank}",pp_rank="0",priority=""}} 4\n' for rank in range(8))
    ranks += 'sglang:num_running_reqs{tp_rank="0",pp_rank="0",priority="1"} 3\n'
    replicas = "".join(f'sglang:num_queue_reqs{{tp_rank="0",dp_rank="{rank}"}} 2\n' for rank in range(3))
    assert read_metrics(ranks + replicas, SGLANG) == {"running": 4, "queue": 6}
