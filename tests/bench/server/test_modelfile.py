"""Heads of model files: real ones made here, and broken ones."""

import json
from pathlib import Path

import gguf
import numpy as np
import pytest

from bench.server import modelfile, tinymodel
from bench.types import UserError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tinymodel.TinyModel:
    return tinymodel.build("tiny", tmp_path_factory.mktemp("models"))


def write_part(path: Path, tensors: dict[str, gguf.GGMLQuantizationType], *, file_type: int | None = None) -> None:
    """A GGUF file with a tensor of 2 x 256 numbers for each name."""
    writer = gguf.GGUFWriter(path, "llama")
    if file_type is not None:
        writer.add_file_type(file_type)
    for name, kind in tensors.items():
        writer.add_tensor(name, gguf.quants.quantize(np.ones((2, 256), np.float32), kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_gives_its_metadata_without_the_tokenizer_and_every_tensor(tiny: tinymodel.TinyModel) -> None:
    head = modelfile.read_gguf(tiny.gguf)
    assert head.metadata["general.architecture"] == "llama"
    assert head.metadata["llama.block_count"] == 2
    assert not [key for key in head.metadata if key.startswith("tokenizer.")]
    numbers = tinymodel.parameters(tinymodel.SIZES["tiny"])
    assert sum(head.elements.values()) == numbers
    assert sum(head.tensor_bytes.values()) == 4 * numbers
    assert modelfile.file_type(head) == "F32"


def test_every_tensor_has_the_bytes_of_its_own_type(tmp_path: Path) -> None:
    kinds = gguf.GGMLQuantizationType
    write_part(tmp_path / "m.gguf", {"a": kinds.Q8_0, "b": kinds.F16}, file_type=gguf.LlamaFileType.MOSTLY_Q8_0)
    head = modelfile.read_gguf(tmp_path / "m.gguf")
    assert head.elements == {"a": 512, "b": 512}
    assert head.tensor_bytes == {"a": 512 * 8.5 / 8, "b": 1024}
    assert modelfile.file_type(head) == "Q8_0"


def test_a_file_that_does_not_say_its_type_is_just_gguf(tmp_path: Path) -> None:
    write_part(tmp_path / "m.gguf", {"a": gguf.GGMLQuantizationType.F32})
    assert modelfile.file_type(modelfile.read_gguf(tmp_path / "m.gguf")) == "GGUF"


def test_of_a_model_in_parts_all_are_read_whichever_is_named(tmp_path: Path) -> None:
    first, second = (tmp_path / f"m-0000{part}-of-00002.gguf" for part in (1, 2))
    write_part(first, {"a": gguf.GGMLQuantizationType.F32})
    write_part(second, {"b": gguf.GGMLQuantizationType.F32})
    for part in (first, second):
        assert modelfile.read_gguf(part).elements == {"a": 512, "b": 512}
    first.unlink()
    with pytest.raises(UserError, match=r"m-00001-of-00002.gguf: No such file or directory; expected a GGUF file"):
        modelfile.read_gguf(second)


@pytest.mark.parametrize("kept_bytes", [0, 3, 100, 3000, 300_000])
def test_a_gguf_file_that_was_cut_off_is_named(tiny: tinymodel.TinyModel, tmp_path: Path, kept_bytes: int) -> None:
    path = tmp_path / "cut.gguf"
    path.write_bytes(tiny.gguf.read_bytes()[:kept_bytes])
    with pytest.raises(UserError, match=r"cut.gguf: expected a GGUF file, but it is not one, damaged or truncated"):
        modelfile.read_gguf(path)


def test_a_config_is_read_from_its_file_or_its_folder(tiny: tinymodel.TinyModel) -> None:
    config = modelfile.read_config(tiny.hf)
    assert config["num_hidden_layers"] == 2
    assert modelfile.read_config(tiny.hf / "config.json") == config


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "expected a model's config.json, but this is not JSON"),
        (b"\x85\x00", "expected a model's config.json, but this is not JSON"),
        (b"[" * 100_000, "expected a model's config.json, but this is not JSON"),
        (json.dumps([1]).encode(), "expected a model's config.json, but it is not a JSON object"),
    ],
)
def test_a_config_that_is_none_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UserError, match=message):
        modelfile.read_config(tmp_path)


def test_a_folder_without_a_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config.json: No such file or directory; expected a model's config.json"):
        modelfile.read_config(tmp_path)
