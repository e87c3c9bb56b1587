"""`bench.py models` as its user meets it, and the memory that it says each model takes."""

import json
from collections.abc import Callable

import pytest

from bench.app import lists as known
from bench.cli import lists
from bench.server.names import known_names, models
from tests.golden import same_as_before

Listed = Callable[..., str]


@pytest.fixture
def listed(capsys: pytest.CaptureFixture[str]) -> Listed:
    """`listed(*arguments)` gives what `bench.py models` prints."""

    def call(*arguments: str) -> str:
        lists.models.main(list(arguments), standalone_mode=False)
        return capsys.readouterr().out

    return call


def test_the_list_fits_a_terminal_and_has_a_line_for_each_model_below_its_headings(listed: Listed) -> None:
    headings, *lines = listed().splitlines()
    assert headings.split()[:4] == ["name", "params", "context", "quantizations"]
    assert [line.split()[0] for line in lines] == list(known_names())
    assert max(map(len, (headings, *lines))) <= 110
    words = [" ".join(line.split()) for line in lines]
    assert "mistral-7b 7.24B 32768 awq fp8 bf16 fp16 gguf 4.2 14.5 Apache-2.0" in words
    assert "pixtral-12b 12.2B 131072 fp8 bf16 fp16 – 24.5 Apache-2.0" in words


@pytest.mark.parametrize("kind", ["backends", "scenarios", "models"])
def test_it_reads_as_before(kind: str) -> None:
    same_as_before(kind, getattr(known, kind)())


def test_json_gives_what_each_kind_of_server_loads_and_what_that_takes(listed: Listed) -> None:
    rows = {row["name"]: row for row in json.loads(listed("--json"))}
    assert {frozenset(row) for row in rows.values()} == {frozenset(rows["tiny"])}
    mistral = rows["mistral-7b"]
    assert mistral["hf"]["awq"] == "TheBloke/Mistral-7B-Instruct-v0.2-AWQ"
    assert mistral["gguf"]["q4_k_m"] == "TheBloke/Mistral-7B-Instruct-v0.2-GGUF:Q4_K_M"
    assert mistral["weights_bytes"].keys() == mistral["hf"].keys() | mistral["gguf"].keys()
    assert (mistral["layers"], mistral["kv_bytes_per_token"], mistral["experts"]) == (32, 131_072, None)
    assert rows["mixtral-8x7b"]["active_experts"] == 2
    assert rows["tiny"]["weights_bytes"] == {"fp32": 4 * rows["tiny"]["parameters"]}


@pytest.mark.parametrize("alias", models())
def test_memory_follows_from_the_shape_the_count_and_the_quantization(alias: str, listed: Listed) -> None:
    model = models()[alias]
    needs = {row["name"]: row for row in json.loads(listed("--json"))}[alias]["weights_bytes"]
    attention = 2 * model.hidden * model.head_dim * (model.heads + model.kv_heads)
    mlp = 3 * model.hidden * model.intermediate * (model.experts or 1)
    matrices = model.layers * (attention + mlp)
    assert needs.pop("bf16") == needs.pop("fp16") == 2 * model.parameters
    assert needs.pop("fp8") == 2 * model.parameters - matrices
    if model.awq_repo:
        assert needs.pop("awq") == pytest.approx(2 * (model.parameters - matrices) + (4 + 20 / 128) / 8 * matrices)
    bits = {kind: 8 * size / model.parameters for kind, size in needs.items()}
    usual = {"q4_k_m": 4.84, "q5_k_m": 5.68, "q6_k": 6.5625, "q8_0": 8.5}
    assert bits == (pytest.approx(usual) if model.gguf_repo else {})


def test_mixtral_in_awq_takes_what_its_files_have_and_a_token_what_the_hand_reckons(listed: Listed) -> None:
    rows = {row["name"]: row for row in json.loads(listed("--json"))}
    assert rows["mixtral-8x7b"]["weights_bytes"]["awq"] == 24_653_602_816
    sizes = {"mixtral-8x7b": 131_072, "llama-3.1-70b": 327_680, "qwen3-4b": 147_456, "qwen2.5-7b": 57_344}
    assert {name: rows[name]["kv_bytes_per_token"] for name in sizes} == sizes
