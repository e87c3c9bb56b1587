"""The names that a shell completes: built-in lists, and the folders in results/."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Final

from analysis.sizing.gpus import gpus
from analysis.wording import ERROR_SHARE, LATENCIES
from backends import BACKENDS
from bench.runs import folder as files
from bench.server.names import known_names
from scenarios import names

_HEADS: Final = (files.RUN, files.CAMPAIGN, files.STUDY_FILE)


def _runs() -> list[str]:
    """The run folders in results/, newest first, and `latest`."""
    root = Path("results")
    found = sorted(root.iterdir(), reverse=True) if root.is_dir() else []
    return ["latest", *(str(path) for path in found if any((path / name).exists() for name in _HEADS))]


NAMES: Final[Mapping[str, Callable[[], Iterable[str]]]] = {
    "backends": lambda: BACKENDS,
    "gpus": gpus,
    "models": known_names,
    "objectives": lambda: (*LATENCIES, ERROR_SHARE),
    "runs": _runs,
    "scenarios": names,
}
