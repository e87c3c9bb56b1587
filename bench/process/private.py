"""Files that nobody else reads: what a run leaves holds prompts and answers."""

import os
from typing import Final

FOLDER: Final = 0o700
"""The mode of a run's folder."""

_users_umask = -1


def be_private() -> None:
    """Let nobody else read what this process and its workers write from now on."""
    global _users_umask
    before = os.umask(0o077)
    if _users_umask == -1:
        _users_umask = before


def users_umask() -> int:
    """The mask that the user had, for programs that are not ours; -1 where this process still has it."""
    return _users_umask
