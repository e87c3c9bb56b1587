"""Where this user's own files lie: by XDG, under the home folder, or without one in a private temporary folder."""

import os
import tempfile
from pathlib import Path
from typing import Final

from bench.process.printable import is_text
from bench.types import UserError

_NAME: Final = "llm-serving-bench"


def cache() -> Path:
    """For what can be made again: tiny models, compiled servers."""
    return _folder("XDG_CACHE_HOME", ".cache")


def config() -> Path:
    """For what the user wrote: prices."""
    return _folder("XDG_CONFIG_HOME", ".config")


def state() -> Path:
    """For what is known of this machine: its selftests."""
    return _folder("XDG_STATE_HOME", ".local/state")


def _folder(variable: str, under_home: str) -> Path:
    folder = _wherever(variable, under_home)
    if not is_text(str(folder)):
        raise UserError(f"{folder}: expected a name in UTF-8; set {variable} to another folder")
    return folder


def _wherever(variable: str, under_home: str) -> Path:
    folder = os.environ.get(variable)
    if folder and Path(folder).is_absolute():  # the specification has others ignored
        return Path(folder) / _NAME
    home = _home()
    return home / under_home / _NAME if home is not None else _temporary() / under_home / _NAME


def _home() -> Path | None:
    """None for a user without one, as in many containers, and for one whose home is another's."""
    try:
        home = Path.home()
    except RuntimeError:  # neither HOME nor an entry in the list of users
        return None
    return home if home.is_absolute() and os.access(home, os.X_OK) else None


def _temporary() -> Path:
    """A folder that nobody else can write, as a server compiled into it is run. UserError where another has it."""
    folder = Path(tempfile.gettempdir()) / f"{_NAME}-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if found.st_uid != os.getuid() or found.st_mode & 0o170077 != 0o040000:
        raise UserError(f"{folder}: expected a folder of this user's alone; set HOME to one that can be written")
    return folder


def as_typed(path: Path) -> Path:
    """A path as a command in this folder takes it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
