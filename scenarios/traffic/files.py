"""Which files a user means: one, all of a folder, or those that a pattern names."""

from glob import glob, has_magic
from pathlib import Path
from typing import Final

from bench.types import UserError

SUFFIXES: Final = (".jsonl", ".ndjson", ".json", ".csv", ".parquet", ".txt")
"""Of a folder these are read, packed by gzip or not; what else lies there is none of it."""


def files_of(name: str, flag: str) -> tuple[Path, ...]:
    """Give the files in the order of their names. Raises UserError where there is none."""
    path = Path(name)
    if path.is_dir():
        inside = (
            one for one in path.rglob("*") if not any(part.startswith(".") for part in one.parts[len(path.parts) :])
        )
        found = sorted(one for one in inside if one.is_file() and one.name.removesuffix(".gz").endswith(SUFFIXES))
        if not found:
            raise UserError(f"{flag} {name}: no file to read in this folder: expected {', '.join(SUFFIXES)}")
        return tuple(found)
    if path.exists() or not has_magic(name):
        if not path.exists():
            raise UserError(f"{flag} {name}: no such file")
        return (path,)
    # As a shell does it, and not as Path does: hidden files are none of them.
    found = sorted(one for one in map(Path, glob(name, recursive=True)) if one.is_file())  # noqa: PTH207
    if not found:
        raise UserError(f"{flag} {name}: no file has such a name")
    return tuple(found)
