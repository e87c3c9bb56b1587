"""Which files a user means: one, all of a folder, or those that a pattern names."""

from glob import glob, has_magic
from pathlib import Path
from typing import Final

from bench.types import UserError

TRAFFIC: Final = (".jsonl", ".ndjson", ".json", ".csv", ".parquet", ".txt")
"""Of a folder these are read, packed by gzip or not; what else lies there is none of it."""


def visible(folder: Path) -> list[Path]:
    """All files below a folder, in the order of their names, but those that are hidden or in a hidden folder."""
    inside = (one for one in folder.rglob("*") if not any(map(_is_hidden, one.relative_to(folder).parts)))
    return sorted(one for one in inside if one.is_file())


def _is_hidden(part: str) -> bool:
    return part.startswith(".")


def files_of(name: str, flag: str) -> tuple[Path, ...]:
    """Give the files in the order of their names. Raises UserError where there is none."""
    path = Path(name)
    if path.is_dir():
        inside = tuple(one for one in visible(path) if one.name.removesuffix(".gz").endswith(TRAFFIC))
        if not inside:
            raise UserError(f"{flag} {name}: no file to read in this folder: expected {', '.join(TRAFFIC)}")
        return inside
    if path.exists() or not has_magic(name):
        if not path.exists():
            raise UserError(f"{flag} {name}: no such file")
        return (path,)
    # As a shell does it, and not as Path does: hidden files are none of them.
    found = sorted(one for one in map(Path, glob(name, recursive=True)) if one.is_file())  # noqa: PTH207
    if not found:
        raise UserError(f"{flag} {name}: no file has such a name")
    return tuple(found)
