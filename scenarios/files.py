"""The files that a user means: one, all of a folder, or those that match a pattern."""

from glob import glob, has_magic
from pathlib import Path
from typing import Final

from bench.types import UserError

TRAFFIC: Final = (".jsonl", ".ndjson", ".json", ".csv", ".parquet", ".txt")
"""The files of a folder that are read, gzipped or not; others in it are ignored."""


def visible(folder: Path) -> list[Path]:
    """All files below a folder, in the order of their names, except hidden ones and those in hidden folders."""
    inside = (one for one in folder.rglob("*") if not any(map(_is_hidden, one.relative_to(folder).parts)))
    return sorted(one for one in inside if one.is_file())


def _is_hidden(part: str) -> bool:
    return part.startswith(".")


def files_of(name: str, flag: str) -> tuple[Path, ...]:
    """The files in the order of their names. Raises UserError if there is none."""
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
    # As in a shell, and unlike Path: hidden files do not match.
    found = sorted(one for one in map(Path, glob(name, recursive=True)) if one.is_file())  # noqa: PTH207
    if not found:
        raise UserError(f"{flag} {name}: no file matches")
    return tuple(found)
