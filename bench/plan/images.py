"""Images for prompts: those of a folder, drawn by the seed, each encoded once."""

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.plan.rng import stream
from bench.types import Image, UserError

MOST_BYTES, MOST_BYTES_OF_ALL = 20 << 20, 256 << 20
"""Limits for an image and a folder: every load process holds all of it, and no API takes larger images."""

# The type, its first bytes, and its last bytes when complete.
_KINDS = (
    ("image/png", (b"\x89PNG\r\n\x1a\n",), b"IEND\xaeB`\x82"),
    ("image/jpeg", (b"\xff\xd8\xff",), b"\xff\xd9"),
    ("image/gif", (b"GIF87a", b"GIF89a"), b"\x00;"),
)


@dataclass(frozen=True, slots=True)
class Images:
    """The images of a folder in the order of their contents, and the hash of them all; names do not matter."""

    folder: str
    sha256: str
    images: tuple[Image, ...]

    def of(self, seed: int, seq: int) -> Image:
        """The image of call number `seq`; by number, none repeats before all were used."""
        among = len(self.images)
        return self.images[int(_order(seed, seq // among, among)[seq % among])]


@lru_cache(maxsize=16)
def _order(seed: int, again: int, among: int) -> NDArray[np.intp]:
    return np.argsort(stream(seed, "image", again).take(among), kind="stable")


@lru_cache(maxsize=2)
def read(folder: str) -> Images:
    """Read a folder's images (PNG, JPEG, GIF and WebP). Raises UserError for anything else in it."""
    try:
        paths = sorted(path for path in Path(folder).iterdir() if not path.name.startswith("."))
        found, left = dict[Path, bytes](), MOST_BYTES_OF_ALL
        for path in paths:
            found[path] = _bytes_of(path)
            left -= len(found[path])
            if left < 0:
                raise UserError(f"--images {folder}: has more than {MOST_BYTES_OF_ALL >> 20} MiB; remove some")
    except OSError as problem:
        at = problem.filename or folder
        raise UserError(f"--images {at}: expected a folder of images ({problem.strerror})") from None
    if not paths:
        raise UserError(f"--images {folder}: is empty; expected PNG, JPEG, WebP or GIF files")
    return of_bytes(folder, [(str(path), data) for path, data in found.items()])


def of_bytes(folder: str, files: Sequence[tuple[str, bytes]]) -> Images:
    """Images from files, given as (name, bytes). Raises UserError for one that is not an image."""
    made, hashes = dict[str, Image](), list[str]()
    for name, data in files:
        digest = hashlib.sha256(data).hexdigest()
        hashes.append(digest)
        made[digest] = Image(_media_type(name, data), base64.b64encode(data).decode(), len(data))
    hashes.sort()
    return Images(folder, hashlib.sha256("\n".join(hashes).encode()).hexdigest(), tuple(map(made.__getitem__, hashes)))


def of_sizes(folder: str, sha256: str, sizes: Sequence[int]) -> Images:
    """Images of which only the sizes are known, in order: enough to decode a run."""
    return Images(folder, sha256, tuple(Image("", "", size) for size in sizes))


def _bytes_of(path: Path) -> bytes:
    if path.is_dir():
        raise UserError(f"--images {path}: is a folder; expected only images")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise UserError(f"--images {path}: has {size:,} bytes, expected at most {MOST_BYTES:,}")
    return path.read_bytes()


def _media_type(name: str, data: bytes) -> str:
    """The type according to a file's first bytes; UserError for others, and for a truncated file."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kind, is_whole = "image/webp", len(data) >= int.from_bytes(data[4:8], "little") + 8
    else:
        kind, end = next(((kind, end) for kind, heads, end in _KINDS if data.startswith(heads)), ("", b""))
        is_whole = end in data
    if not kind:
        raise UserError(f"--images {name}: is not a PNG, JPEG, WebP or GIF by its first bytes; remove it")
    if not is_whole:
        raise UserError(f"--images {name}: is a truncated {kind.removeprefix('image/').upper()}; replace or remove it")
    return kind
