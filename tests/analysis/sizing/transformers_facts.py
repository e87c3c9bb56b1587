"""Asks transformers which keys its configurations have, and how many weights its models: `make sizing-facts`.

Run in an environment that has transformers and torch. Models are built without memory, on torch's meta device. Writes
  analysis/sizing/families.json           the defaults of every family that can be sized
  tests/fixtures/sizing/keys.txt          every key of every family of language models
  tests/fixtures/sizing/counted.jsonl     weights and windows of each family, for a change of every key
"""

import dataclasses
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, DynamicCache, PreTrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES,
)

ROOT = Path(__file__).parents[3]
sys.path.insert(0, str(ROOT))
from analysis.sizing.families import FAMILIES, TOWERS  # noqa: E402

SOURCE = f"transformers {transformers.__version__}"
LAYERS = 12
EVEN = {"hidden_size", "n_embd", "num_attention_heads", "n_head", "num_key_value_heads", "head_dim"}
# What a value that a configuration leaves out can be.
LEFT_OUT: dict[str, list[Any]] = {
    "head_dim": [72], "num_key_value_heads": [4], "sliding_window": [256], "q_lora_rank": [512],
    "layer_types": [["sliding_attention", "full_attention", "full_attention"] * (LAYERS // 3)],
    "mlp_only_layers": [[0, 3]], "moe_layers": [[1, 5, 6]], "n_inner": [1024], "pad_token_id": [1],
    "mlp_layer_types": [["dense", "dense", "sparse"] * (LAYERS // 3)],
}  # fmt: skip
# Without these the defaults of some families build no model.
NEEDED: dict[str, dict[str, Any]] = {
    "ministral": {"head_dim": 128, "num_key_value_heads": 8},
    "nemotron": {"head_dim": 128, "num_key_value_heads": 8},
    "deepseek_v2": {"num_experts_per_tok": 6},
    "qwen2_5_vl_text": {"tie_word_embeddings": False},
    "qwen2_vl_text": {"tie_word_embeddings": False},
    "qwen3_vl_text": {"tie_word_embeddings": False},
    "glm4v_text": {"tie_word_embeddings": False},
}
BASE = {field.name for field in dataclasses.fields(PreTrainedConfig)}


def defaults(kind: type[PreTrainedConfig]) -> dict[str, Any]:
    """What the class says of each key, before it works anything out."""
    found = {}
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            found[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            found[field.name] = field.default_factory()
        else:
            found[field.name] = None
    return {name: value for name, value in found.items() if name not in BASE and _plain(value)}


def _plain(value: Any) -> bool:
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


def count(config: PreTrainedConfig) -> int:
    """Weights of the language model that has this configuration."""
    with torch.device("meta"):
        if config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
            model = AutoModelForCausalLM.from_config(config)
        else:
            tower = next(name for name, text in TOWERS.items() if text == config.model_type)
            whole = CONFIG_MAPPING[tower](text_config=config.to_dict(), tie_word_embeddings=config.tie_word_embeddings)
            model = AutoModelForImageTextToText.from_config(whole)
    seen = {id(weight): weight for name, weight in model.named_parameters() if "visual" not in name}
    return sum(weight.numel() for weight in seen.values())


def windows(config: PreTrainedConfig) -> list[int]:
    """How many layers see a window, and how long it is."""
    layers = [layer for layer in DynamicCache(config=config).layers if getattr(layer, "is_sliding", False)]
    return [len(layers), layers[0].sliding_window if layers else 0]


def changes(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """One key after the other with another value."""
    for key, value in (values | {"head_dim": values.get("head_dim")}).items():
        if isinstance(value, bool):
            yield key, not value
        elif isinstance(value, int):
            # Heads must divide the rest evenly.
            others = (2 * value, value // 2) if key in EVEN else (2 * value, value + 1)
            yield from ((key, other) for other in others if other != value)
        elif isinstance(value, float):
            yield key, value / 2
        for other in LEFT_OUT.get(key, []):
            if other != value:
                yield key, other
        if value is not None and key in LEFT_OUT:
            yield key, None


def facts(family: str) -> dict[str, Any]:
    """Weights and windows of a family: of its `base`, and with each change (key, value) that makes a model."""
    kind = CONFIG_MAPPING[family]
    base = {"num_hidden_layers": LAYERS} | NEEDED.get(family, {})
    counted: list[tuple[str | None, Any, int, list[int]]] = [(None, None, *_counted(kind(**base)))]
    for key, value in changes(defaults(kind) | base):
        try:
            counted.append((key, value, *_counted(kind(**base | {key: value}))))
        except Exception:  # Whatever it is: a change that makes no model says nothing.
            continue
    return {"family": family, "base": base, "counted": counted}


def _counted(config: PreTrainedConfig) -> tuple[int, list[int]]:
    return count(config), windows(config)


def main() -> None:
    transformers.logging.set_verbosity_error()
    known = {
        family: {"defaults": defaults(CONFIG_MAPPING[family]), "other_names": CONFIG_MAPPING[family].attribute_map}
        for family in sorted(FAMILIES)
    }
    rows = ",\n".join(f'  "{family}": {json.dumps(found, sort_keys=True)}' for family, found in known.items())
    (ROOT / "analysis/sizing/families.json").write_text(f'{{"source": "{SOURCE}", "families": {{\n{rows}\n}}}}\n')
    language = {*MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES, *FAMILIES, *TOWERS}
    lines = [f"# {SOURCE}: its families of language models and the keys of their configurations"]
    for family in sorted(language):
        kind = CONFIG_MAPPING[family]
        names = {field.name for field in dataclasses.fields(kind)} | set(kind.attribute_map) - BASE
        lines.append(f"{family}: {' '.join(sorted(name for name in names if re.fullmatch('[a-z][a-z0-9_]*', name)))}")
    folder = ROOT / "tests/fixtures/sizing"
    (folder / "keys.txt").write_text("\n".join(lines) + "\n")
    with (folder / "counted.jsonl").open("w") as file:
        for family in sorted(FAMILIES):
            file.write(json.dumps(facts(family)) + "\n")


if __name__ == "__main__":
    main()
