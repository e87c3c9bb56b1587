"""What a model's files say about it: a config.json, or the header of a GGUF file; weights are never read."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from bench.types import UserError

_PART = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")


class GgufHead(NamedTuple):
    """A GGUF file's metadata (except the tokenizer's), and the numbers and bytes of each tensor."""

    metadata: Mapping[str, Any]
    elements: Mapping[str, int]
    tensor_bytes: Mapping[str, int]


def read_config(path: Path) -> dict[str, Any]:
    """Read a config.json, or the one in a model's folder. Raises UserError if there is none."""
    path = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(path.read_bytes())
    except OSError as problem:
        raise UserError(f"{path}: {problem.strerror}; expected a model's config.json") from None
    except (ValueError, RecursionError) as problem:
        raise UserError(f"{path}: expected a model's config.json, but this is not JSON: {problem}") from None
    if not isinstance(config, dict):
        raise UserError(f"{path}: expected a model's config.json, but it is not a JSON object")
    return config


def read_gguf(path: Path) -> GgufHead:
    """Read the header of a GGUF file; for a split one, name any part and all are read.

    Raises UserError for a file that is not GGUF or truncated, or whose other parts are missing.
    """
    heads = [_read_part(part) for part in _parts(path)]
    return GgufHead(
        heads[0].metadata,
        {name: count for head in heads for name, count in head.elements.items()},
        {name: size for head in heads for name, size in head.tensor_bytes.items()},
    )


def file_type(head: GgufHead) -> str:
    """The type of most of a GGUF file's tensors, such as Q4_K_M; GGUF if it does not say."""
    import gguf

    try:
        kind = gguf.LlamaFileType(head.metadata.get("general.file_type", -1))
    except ValueError:
        return "GGUF"
    return str(kind.name).removeprefix("MOSTLY_").removeprefix("ALL_")


def _parts(path: Path) -> list[Path]:
    """All files of a model that is split over several."""
    match = _PART.search(path.name)
    if match is None:
        return [path]
    stem, count = path.name[: match.start()], int(match[2])
    return [path.with_name(f"{stem}-{part:05d}-of-{count:05d}.gguf") for part in range(1, count + 1)]


def _read_part(path: Path) -> GgufHead:
    import gguf

    try:
        reader = gguf.GGUFReader(path)
    except OSError as problem:
        raise UserError(f"{path}: {problem.strerror}; expected a GGUF file") from None
    # Errors that a damaged or truncated file causes in the reader's arithmetic, which checks nothing.
    except (ValueError, IndexError, KeyError, OverflowError, MemoryError):
        raise UserError(f"{path}: expected a GGUF file, but it is not one, damaged or truncated") from None
    metadata = {
        name: field.contents() for name, field in reader.fields.items() if not name.startswith(("GGUF.", "tokenizer."))
    }
    elements = {tensor.name: int(tensor.n_elements) for tensor in reader.tensors}
    return GgufHead(metadata, elements, {tensor.name: int(tensor.n_bytes) for tensor in reader.tensors})
