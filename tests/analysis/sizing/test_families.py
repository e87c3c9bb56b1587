"""Every family and every key of transformers is sized as transformers itself counts, or refused by name.

The data are what `make sizing-facts` writes; its source and version stand in the files.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from analysis.sizing import memory
from analysis.sizing.architecture import active, count
from analysis.sizing.config import from_config
from analysis.sizing.families import FAMILIES, TOWERS
from analysis.sizing.keys import HARMLESS, SAME_KEY, read_keys
from bench.types import UserError

ROOT = Path(__file__).parents[3]
FIXTURES = ROOT / "tests" / "fixtures" / "sizing"
COUNTED = {row["family"]: row for row in map(json.loads, (FIXTURES / "counted.jsonl").read_text().splitlines())}
FACTS = json.loads((ROOT / "analysis" / "sizing" / "families.json").read_text())
# By default the heads of these cannot share the hidden size, and transformers rounds: the width is said for it.
ROUNDED = ("glm4_moe", "glm4v_moe_text")
KEYS = dict(line.split(": ", 1) for line in (FIXTURES / "keys.txt").read_text().splitlines()[1:])


def counted(family: str) -> Iterator[tuple[dict[str, Any], str | None, int, tuple[int, int]]]:
    """Configurations of a family, the key that is changed in each, and what transformers counts."""
    row = COUNTED[family]
    for key, value, weights, (sliding_layers, window) in row["counted"]:
        config = {"model_type": family} | row["base"] | ({key: value} if key else {})
        if family in ROUNDED:
            shape = FACTS["families"][family]["defaults"] | config
            config.setdefault("head_dim", shape["hidden_size"] // shape["num_attention_heads"])
        yield config, key, weights, (sliding_layers, window)


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_a_family_is_counted_as_transformers_counts_it_or_the_key_that_is_not_known_is_named(family: str) -> None:
    sized = 0
    for config, key, weights, (sliding_layers, window) in counted(family):
        try:
            model = from_config(config)
        except UserError as problem:
            assert key is not None and (key in str(problem) or key in SAME_KEY), problem
            continue
        assert count(model).total == weights, config
        assert (model.sliding_layers, model.sliding_window or 0) == (sliding_layers, window), config
        sized += 1
    assert sized >= 0.8 * len(COUNTED[family]["counted"])


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_no_key_that_is_called_harmless_changes_a_weight_or_a_window(family: str) -> None:
    (_, _, weights, windows), *changed = counted(family)
    for _, key, other_weights, other_windows in changed:
        if key in HARMLESS or key in FAMILIES[family].ignored:
            assert (other_weights, other_windows) == (weights, windows), key


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_every_key_of_a_family_is_known_or_at_another_value_than_the_usual_refused_by_its_name(family: str) -> None:
    usual, other_names = FACTS["families"][family]["defaults"], FACTS["families"][family]["other_names"]
    plain = {own: name for name, own in other_names.items()}
    known = read_keys(FAMILIES[family]) | HARMLESS | {*FAMILIES[family].ignored, *FAMILIES[family].usual}
    for key in KEYS[family].split():
        name = plain.get(key, key)
        if SAME_KEY.get(name, name) in known or key.endswith("_token_id"):
            continue
        other = "another" if usual.get(key) != "another" else "yet another"
        with pytest.raises(UserError, match=f"config.json: what .*{name}.* changes in {family} is not known here"):
            from_config({"model_type": family, key: other})


def test_every_other_family_of_transformers_is_refused_by_its_name() -> None:
    assert len(KEYS) > 250
    for family in set(KEYS) - set(FAMILIES) - set(TOWERS):
        with pytest.raises(UserError, match=f"config.json: the family '{family}' is not known here"):
            from_config({"model_type": family, "hidden_size": 64})


def test_the_data_are_of_one_version_and_of_all_families() -> None:
    source = FACTS["source"]
    assert (FIXTURES / "keys.txt").read_text().startswith(f"# {source}:")
    assert set(FACTS["families"]) == set(COUNTED) == set(FAMILIES)
    assert {*FAMILIES, *TOWERS} <= set(KEYS)
    assert set(TOWERS.values()) <= set(FAMILIES)


# --- models as they are shipped ---------------------------------------------------------------------------------

# Configurations as published, without what says nothing of the size, and the count of each model's safetensors files;
# of models that see, of their language model. Llama 4 Maverick is said to have 400 billion on its card.
SHIPPED = json.loads((FIXTURES / "shipped.json").read_text())


@pytest.mark.parametrize("name", SHIPPED)
def test_a_model_as_it_is_shipped_has_as_many_weights_as_its_files(name: str) -> None:
    assert count(from_config(SHIPPED[name]["config"])).total == SHIPPED[name]["weights"]


@pytest.mark.parametrize(
    ("name", "billions"),
    [("maverick", 17.2), ("scout", 17.2), ("gpt-oss-20b", 4.2), ("qwen3-30b-a3b", 3.35), ("qwen1.5-moe", 2.7)],
)
def test_a_token_passes_as_many_weights_as_the_card_says(name: str, billions: float) -> None:
    model = from_config(SHIPPED[name]["config"])
    assert active(model, count(model)) / 1e9 == pytest.approx(billions, abs=0.06)


@pytest.mark.parametrize(
    ("name", "per_token", "at_32k"),
    [
        ("gemma-3-4b", 34 * 4096, 5 * 4096 * 32768 + 29 * 4096 * 1024),
        ("gpt-oss-20b", 24 * 2048, 12 * 2048 * 32768 + 12 * 2048 * 128),
        ("scout", 48 * 4096, 12 * 4096 * 32768 + 36 * 4096 * 8192),
        ("deepseek-v3", 61 * 576 * 2, 61 * 576 * 2 * 32768),
        ("gemma-2-9b", 42 * 8192, 21 * 8192 * 32768 + 21 * 8192 * 4096),
    ],
)
def test_layers_with_a_window_hold_no_more_than_it(name: str, per_token: int, at_32k: int) -> None:
    model = from_config(SHIPPED[name]["config"])
    assert memory.kv_bytes_per_token(model) == per_token
    assert memory.kv_bytes(model, 32768) == at_32k
