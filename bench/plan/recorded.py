"""Calls as they were recorded: texts, lengths and times of a file in place of drawn ones.

Turns lie one after the other in arrays, session after session. What a turn has of text is sent as it is; what has only
a length is made of random words, of which prompts share exactly the blocks that they name.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.plan import prompts
from bench.plan.prompts import Vocabulary
from bench.plan.rng import stream
from bench.plan.texts import Texts
from bench.types import Call, Message

Ints = NDArray[np.int64]

NO_TEXT = -1
UNKNOWN = -1


@dataclass(frozen=True, slots=True, eq=False)
class TurnSizes:
    """One number for each turn: the tokens of its own words, of its whole prompt and of its longest answer, its pause.

    `since` is the oldest turn that its prompt has, `cacheable` how many of its tokens have been there before, `text`
    the number of its text. `counted` says whether its prompt's tokens were counted, by whoever, or are an estimate.
    """

    words: Ints
    prompt_tokens: Ints
    max_tokens: Ints
    pause_ns: Ints
    since: Ints
    cacheable: Ints
    text: Ints
    counted: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Blocks:
    """The blocks that prompts begin with: those of turn i are `ids[ends[i - 1]:ends[i]]`, each of `tokens` tokens."""

    tokens: int
    ids: Ints
    ends: Ints

    def of(self, turn: int) -> list[int]:
        """The blocks of a turn."""
        begin = int(self.ends[turn - 1]) if turn else 0
        return [int(block) for block in self.ids[begin : int(self.ends[turn])]]


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """The calls of a file; made by `bench.plan.recording`.

    Turns of session i are numbered from `firsts[i]` on. When all sessions are used up they come again. With `planned`
    the recorded answers stand in place of those that come back. `content` is the hash of all that the file has to do
    with it. Texts are sent as they are, unless there is an `opening`. `retrieval_ns` of each turn decides nothing and
    is in no hash.
    """

    seed: int
    salt: int
    vocabulary: Vocabulary
    content: str
    firsts: Ints
    sizes: TurnSizes
    texts: Texts | None
    blocks: Blocks | None
    due_ns: Ints | None
    planned: bool = False
    opening: str = ""
    retrieval_ns: Ints | None = None

    @property
    def sessions(self) -> int:
        """How many there are before they come again."""
        return len(self.firsts) - 1

    @property
    def turns_max(self) -> int:
        return int(np.diff(self.firsts).max())

    @property
    def least(self) -> tuple[int, int]:
        return int(self.sizes.prompt_tokens.min()), int(self.sizes.max_tokens.min())

    def salted(self, salt: int) -> "Recorded":
        """Other words where they are made, and before texts one that they do not have."""
        return replace(self, salt=salt, opening=f"({salt})")

    def turns(self, session: int) -> int:
        at = session % self.sessions
        return int(self.firsts[at + 1] - self.firsts[at])

    def lengths(self, session: int, turn: int) -> tuple[int, int]:
        at = self._turn(session, turn)
        return int(self.sizes.prompt_tokens[at]), int(self.sizes.max_tokens[at])

    def cacheable(self, session: int, turn: int) -> int:
        at, sizes = self._turn(session, turn), self.sizes
        again = turn == 0 and session >= self.sessions and sizes.text[at] != NO_TEXT
        return int(sizes.prompt_tokens[at] if again else sizes.cacheable[at])

    def call(self, session: int, turn: int) -> Call:
        at, sizes = self._turn(session, turn), self.sizes
        return Call(
            seq=session,
            due_ns=None,
            session=session,
            turn=turn,
            phase=None,
            messages=self._messages(at, turn),
            max_tokens=int(sizes.max_tokens[at]),
            seed=int(stream(self.seed, "call", at).take(1)[0]) % 2**31,
            prompt_tokens=int(sizes.prompt_tokens[at]) if sizes.counted[at] else None,
            pause_ns=int(sizes.pause_ns[at]),
            since=int(sizes.since[at]),
            cacheable_tokens=self.cacheable(session, turn),
            retrieval_ns=self._retrieval_ns(at),
        )

    def facts(self) -> Mapping[str, object]:
        numbers = (self.firsts, *(getattr(self.sizes, field.name) for field in fields(TurnSizes)))
        digest = hashlib.sha256()
        for each in numbers:
            digest.update(each.astype("<i8").tobytes())
        return {
            "recorded": self.content,
            "lengths": digest.hexdigest(),
            "planned": self.planned,
            "seed": self.seed,
            "vocabulary": prompts.fingerprint(self.vocabulary),
        }

    def _retrieval_ns(self, at: int) -> int | None:
        took_ns = UNKNOWN if self.retrieval_ns is None else int(self.retrieval_ns[at])
        return None if took_ns == UNKNOWN else took_ns

    def _turn(self, session: int, turn: int) -> int:
        return int(self.firsts[session % self.sessions]) + turn

    def _messages(self, at: int, turn: int) -> tuple[Message, ...]:
        text = int(self.sizes.text[at])
        if text != NO_TEXT:
            if self.texts is None:
                return ()
            before = self.texts[text - 1].answer if turn and self.planned else None
            messages = self.texts[text].messages
            if self.opening and turn == 0:
                messages = (messages[0]._replace(text=f"{self.opening} {messages[0].text}"), *messages[1:])
            return messages if before is None else (Message("assistant", before), *messages)
        words = int(self.sizes.words[at])
        blocks = self.blocks.of(at) if self.blocks else []
        if blocks:
            return prompts.messages(self._blocks(blocks, words))
        fresh, rest = stream(self.seed, "fresh words", at, self.salt), stream(self.seed, "turn words", at)
        return prompts.messages(prompts.unseen_text(self.vocabulary, fresh, rest, words))

    def _blocks(self, ids: list[int], words: int) -> str:
        """So many words, from the first block on; a short prompt's last blocks have none."""
        assert self.blocks is not None
        size, made = self.blocks.tokens, []
        for block, left in zip(ids, range(words, 0, -size), strict=False):
            bits = stream(self.seed, "block", block, self.salt)
            made.append(prompts.text(self.vocabulary, bits, min(size, left)))
        return "".join(made)


def keep(source: Recorded, path: Path) -> None:
    """Keep what the file's calls are but for their text: numbers, by which a run can be decoded."""
    arrays: dict[str, Any] = {field.name: getattr(source.sizes, field.name) for field in fields(TurnSizes)}
    arrays |= {"firsts": source.firsts, "due_ns": source.due_ns, "retrieval_ns": source.retrieval_ns}
    with path.open("wb") as file:
        np.savez_compressed(file, **{name: array for name, array in arrays.items() if array is not None})


def restore(path: Path, seed: int, salt: int, vocabulary: Vocabulary) -> Recorded:
    """What `keep` has kept: its calls have no text."""
    with np.load(path, allow_pickle=False) as kept:
        sizes = TurnSizes(**{field.name: kept[field.name] for field in fields(TurnSizes)})
        # All stand for texts, of which there are none: no words are made in their place.
        sizes = replace(sizes, text=np.zeros_like(sizes.text))
        due_ns, retrieval_ns = kept.get("due_ns"), kept.get("retrieval_ns")
        return Recorded(
            seed, salt, vocabulary, "", kept["firsts"], sizes, None, None, due_ns, retrieval_ns=retrieval_ns
        )
