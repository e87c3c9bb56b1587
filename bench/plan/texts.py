"""Prompts of the user's own, kept out of memory: in one file that nobody else can open and that ends with the process.

Every process of a run reads its own calls' from it. Nothing of it is ever written into a run's folder.
"""

import json
import os
import tempfile
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.types import Message


class TurnText(NamedTuple):
    """What one turn adds to a conversation, and the answer that it was once given."""

    messages: tuple[Message, ...]
    answer: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Turns by their number; `begins[i]` to `ends[i]` is where turn i lies in the file. Cheap to send to a process.

    `key` is this file's alone: of another there may be the same path later.
    """

    key: str
    path: str
    begins: NDArray[np.int64]
    ends: NDArray[np.int64]

    def __getitem__(self, turn: int) -> TurnText:
        begin, end = int(self.begins[turn]), int(self.ends[turn])
        messages, answer = json.loads(os.pread(_opened(self.key, self.path), end - begin, begin))
        return TurnText(tuple(Message(role, text) for role, text in messages), answer)


class TextsWriter:
    """Collects turns; without a name in the file system where that can be, and else removed at the end."""

    def __init__(self) -> None:
        descriptor, name = tempfile.mkstemp(prefix="bench-")
        self.key = name
        self._file = os.fdopen(descriptor, "wb", buffering=1 << 20)
        self.path = f"/proc/{os.getpid()}/fd/{descriptor}"
        if Path(self.path).exists():
            Path(name).unlink()
        else:
            self.path = name
            weakref.finalize(self, Path(name).unlink)
        # It is there for as long as this is: calls are read from it to the end of the load.
        weakref.finalize(self, self._file.close)

    def add(self, said: TurnText) -> tuple[int, int]:
        """Write a turn; gives from where to where it lies."""
        # Half of a surrogate pair is in JSON and in no text: it would fail when the prompt is sent.
        line = json.dumps(said, ensure_ascii=False).encode("utf-8", "replace")
        begin = self._file.tell()
        self._file.write(line)
        return begin, begin + len(line)

    def texts(self, places: Sequence[tuple[int, int]]) -> Texts:
        """The turns that lie there."""
        self._file.flush()
        begins, ends = np.array(places, np.int64).reshape(-1, 2).T
        return Texts(self.key, self.path, np.ascontiguousarray(begins), np.ascontiguousarray(ends))


@lru_cache(8)
def _opened(_key: str, path: str) -> int:
    return os.open(path, os.O_RDONLY)
