"""Records in, numbers and pictures out: pure functions over the files of a run folder; nothing here sends a request.

`analysis.load(folder)` is for notebooks (docs/python.md); it is imported when it is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from analysis.frames import load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    if name == "load":
        return import_module("analysis.frames").load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
