"""From what a file says of its sessions to calls: how long they are by the model's tokenizer, and which fit into it.

Nothing that a file leaves open is guessed in silence: an `Account` says what was counted, drawn and left out.
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.plan.prompts import FRESH_TOKENS, Count, Vocabulary
from bench.plan.recorded import NO_TEXT, UNKNOWN, Blocks, Recorded, TurnSizes
from bench.plan.rng import stream, uniform
from bench.plan.synthetic import draw_pause_ns, sample
from bench.plan.texts import Texts, TurnText
from bench.types import Message, Scenario, UserError

Output = Literal["file", "scenario"]
TextPlace = tuple[int, int]
"""From where to where a text lies, as `TextsWriter.add` gives it."""
ReadTexts = Callable[[Sequence[TextPlace]], Texts]

BYTES_A_TOKEN = 4.0
"""Of English, where nobody counts."""
_PIECE_BYTES = 64


class RecordedTurn(NamedTuple):
    """One turn as a file has it: where its text lies and how long it and its answer are, or its lengths alone."""

    place: TextPlace | None = None
    text_bytes: int = 0
    answer_bytes: int = 0
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    pause_ns: int = 0
    blocks: tuple[int, ...] = ()
    retrieval_ns: int | None = None


class RecordedSession(NamedTuple):
    """Turns that follow each other, and when the first of them came; None where nobody knows."""

    turns: tuple[RecordedTurn, ...]
    due_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """What became of the sessions that were looked at, and of the lengths that the file does not have."""

    sessions: int
    turns: int
    too_long: int
    estimated: int
    drawn_prompts: int
    drawn_outputs: int
    without_text: int


@dataclass(frozen=True, slots=True)
class DatasetLimits:
    """`tokens` are the most of a prompt and its answer together, `sessions` the most of them; None: no limit."""

    tokens: int | None = None
    sessions: int | None = None
    counted_turns: int | None = None


class _Draft(NamedTuple):
    """A turn as it will be sent; see `TurnSizes` and, for what the file has of it, `RecordedTurn`."""

    prompt_tokens: int
    max_tokens: int
    cacheable: int
    counted: bool
    since: int = 0
    words: int = 0
    pause_ns: int = 0
    place: TextPlace | None = None
    blocks: tuple[int, ...] = ()
    retrieval_ns: int | None = None


@dataclass(slots=True)
class SourceMaker:
    """Makes calls of recorded sessions, one after the other; what is counted and drawn is kept account of.

    `read` opens the texts of some places. `planned` has the recorded answers stand in place of those that come back.
    """

    read: ReadTexts
    scenario: Scenario
    seed: int
    salt: int
    vocabulary: Vocabulary
    count: Count
    limits: DatasetLimits
    output: Output
    planned: bool
    block_tokens: int | None
    _too_long: int = 0
    _drawn_prompts: int = 0
    _drawn_outputs: int = 0
    _asked: int = 0
    _bare_tokens: int | None = None
    _tokens_counted: int = 0
    _bytes_counted: int = 0
    _blocks_seen: set[int] = field(default_factory=set)
    _pieces_seen: set[bytes] = field(default_factory=set)

    def source(self, sessions: Iterable[RecordedSession], content: str, name: str) -> tuple[Recorded, Account]:
        """The calls of these sessions, in their order, and what is to be said of them.

        Raises UserError, which begins with the name, where no session fits into the model's context.
        """
        drafts: list[_Draft] = []
        firsts, due_ns = [0], []
        looked_at = 0
        for session in sessions:
            if self.limits.sessions is not None and len(firsts) > self.limits.sessions:
                break
            looked_at += 1
            if made := self._session(session, len(firsts) - 1):
                drafts += made
                firsts.append(len(drafts))
                due_ns.append(session.due_ns)
        if not drafts:
            raise UserError(
                f"{name}: none of {looked_at} sessions fits into {self.limits.tokens} tokens with its answer"
            )
        places = [draft.place for draft in drafts if draft.place is not None]
        account = Account(
            sessions=len(firsts) - 1,
            turns=len(drafts),
            too_long=self._too_long,
            estimated=sum(not draft.counted for draft in drafts),
            drawn_prompts=self._drawn_prompts,
            drawn_outputs=self._drawn_outputs,
            without_text=len(drafts) - len(places),
        )
        source = Recorded(
            seed=self.seed,
            salt=self.salt,
            vocabulary=self.vocabulary,
            content=content,
            firsts=np.array(firsts, np.int64),
            sizes=_sizes(drafts),
            texts=self.read(places) if places else None,
            blocks=_blocks(drafts, self.block_tokens),
            due_ns=None if None in due_ns else np.array(due_ns, np.int64),
            planned=self.planned,
            retrieval_ns=_retrieval_ns(drafts),
        )
        return source, account

    def _session(self, session: RecordedSession, number: int) -> list[_Draft]:
        """The turns of a session up to the first that does not fit; none where the first does not."""
        made: list[_Draft] = []
        draws = uniform(stream(self.seed, "session", number).take(3 * len(session.turns))).reshape(-1, 3)
        pauses_ns = self._pauses_ns(session, draws[:, 2])
        for turn, pause_ns, (prompt_draw, output_draw) in zip(
            session.turns, pauses_ns, draws[:, :2].tolist(), strict=True
        ):
            draft = self._turn(turn, made, prompt_draw, output_draw)._replace(pause_ns=pause_ns)
            limit = self.limits.tokens
            if limit is not None and draft.prompt_tokens + draft.max_tokens > limit:
                self._too_long += 1
                break
            made.append(draft)
        return made

    def _pauses_ns(self, session: RecordedSession, draws: NDArray[np.float64]) -> list[int]:
        """Before each turn: a trace has its own, a dataset knows of none."""
        turns = self.scenario.turns
        if session.due_ns is not None or turns is None:
            return [turn.pause_ns for turn in session.turns]
        return [0, *(draw_pause_ns(turns.pause, draw) for draw in draws[1:].tolist())]

    def _turn(self, turn: RecordedTurn, before: list[_Draft], prompt_draw: float, output_draw: float) -> _Draft:
        said = self.read([turn.place])[0] if turn.place is not None else None
        output = self._output_tokens(turn, said, output_draw)
        held = before[-1].prompt_tokens + before[-1].max_tokens + self.vocabulary.turn_tokens if before else 0
        if said is not None:
            own, counted = self._text_tokens(turn, said, is_first=not before)
            seen = self._remembered(before[-1]) if before else self._text_seen(said, own)
            return _Draft(held + own, output, seen, counted, place=turn.place, retrieval_ns=turn.retrieval_ns)
        wanted = turn.prompt_tokens
        if wanted is None:
            self._drawn_prompts += 1
            wanted = sample(self.scenario.prompt_tokens, prompt_draw)
        # A prompt that is shorter than what was said before it is a new beginning.
        goes_on = bool(before) and wanted - held >= FRESH_TOKENS
        least = self.vocabulary.overhead_tokens + FRESH_TOKENS
        words = wanted - held if goes_on else max(wanted, least) - self.vocabulary.overhead_tokens
        prompt_tokens = wanted if goes_on else max(wanted, least)
        seen = self._remembered(before[-1]) if goes_on else self._blocks_known(turn.blocks, prompt_tokens)
        since = before[-1].since if goes_on else len(before)
        return _Draft(prompt_tokens, output, seen, self.vocabulary.exact, since, words, blocks=turn.blocks)

    def _remembered(self, before: _Draft) -> int:
        """What a prompt has of the turn before: its answer too, unless another stands in its place, but for the last
        token, which was given out and never read.
        """
        return before.prompt_tokens + (0 if self.planned else before.max_tokens - 1)

    # --- how long they are

    def _output_tokens(self, turn: RecordedTurn, said: TurnText | None, draw: float) -> int:
        from_file = self.output == "file"
        if from_file:
            if said is not None and said.answer:
                if (counted := self._answer_counted(said.answer)) is not None:
                    return max(1, counted)
                if turn.output_tokens is None:
                    return max(1, self._estimated(turn.answer_bytes))
            if turn.output_tokens is not None:
                return max(1, turn.output_tokens)
        self._drawn_outputs += from_file
        return sample(self.scenario.output_tokens, draw)

    def _answer_counted(self, answer: str) -> int | None:
        if self._bare_tokens is None and (bare := self._ask("a")) is not None:
            self._bare_tokens = bare - 1
        counted = None if self._bare_tokens is None else self._ask(answer)
        return None if counted is None or self._bare_tokens is None else counted - self._bare_tokens

    def _text_tokens(self, turn: RecordedTurn, said: TurnText, *, is_first: bool) -> tuple[int, bool]:
        """What a turn adds in tokens, and whether that was counted: a later turn's depends on the answers before."""
        counted = self._counted(said.messages) if is_first else None
        if counted is not None:
            self._tokens_counted += max(0, counted - self.vocabulary.overhead_tokens)
            self._bytes_counted += turn.text_bytes
            return counted, True
        template = self.vocabulary.overhead_tokens if is_first else 0
        return template + max(1, self._estimated(turn.text_bytes)), False

    def _estimated(self, size: int) -> int:
        known = self._bytes_counted >= _PIECE_BYTES
        return round(size * self._tokens_counted / self._bytes_counted if known else size / BYTES_A_TOKEN)

    def _ask(self, text: str) -> int | None:
        return self._counted((Message("user", text),))

    def _counted(self, messages: tuple[Message, ...]) -> int | None:
        most = self.limits.counted_turns
        if most is not None and self._asked >= most:
            return None
        self._asked += 1
        return self.count(messages)

    # --- what has been there before

    def _blocks_known(self, blocks: tuple[int, ...], prompt_tokens: int) -> int:
        """The tokens of the blocks at its front that an earlier prompt had; an id stands for all before it, too."""
        known = next((i for i, block in enumerate(blocks) if block not in self._blocks_seen), len(blocks))
        self._blocks_seen.update(blocks)
        return min(prompt_tokens, known * (self.block_tokens or 0))

    def _text_seen(self, said: TurnText, tokens: int) -> int:
        """The share of a prompt's text that an earlier prompt began with, in tokens, by pieces of so many bytes."""
        text = "\0".join(f"{role}\0{text}" for role, text in said.messages).encode("utf-8", "replace")
        digest, known, is_known = hashlib.blake2b(digest_size=12), 0, True
        for at in range(0, len(text), _PIECE_BYTES):
            digest.update(text[at : at + _PIECE_BYTES])
            piece = digest.digest()
            is_known = is_known and piece in self._pieces_seen
            known += _PIECE_BYTES if is_known else 0
            self._pieces_seen.add(piece)
        return round(tokens * min(known, len(text)) / len(text)) if text else 0


def _sizes(drafts: Sequence[_Draft]) -> TurnSizes:
    of_drafts = ("words", "prompt_tokens", "max_tokens", "pause_ns", "since", "cacheable")
    has_text = np.array([draft.place is not None for draft in drafts], np.bool_)
    return TurnSizes(
        **{name: np.array([getattr(draft, name) for draft in drafts], np.int64) for name in of_drafts},
        text=np.where(has_text, np.cumsum(has_text) - 1, NO_TEXT),
        counted=np.array([draft.counted for draft in drafts], np.bool_),
    )


def _retrieval_ns(drafts: Sequence[_Draft]) -> NDArray[np.int64] | None:
    if all(draft.retrieval_ns is None for draft in drafts):
        return None
    return np.array([UNKNOWN if draft.retrieval_ns is None else draft.retrieval_ns for draft in drafts], np.int64)


def _blocks(drafts: Sequence[_Draft], block_tokens: int | None) -> Blocks | None:
    if block_tokens is None or not any(draft.blocks for draft in drafts):
        return None
    ids = np.array([block for draft in drafts for block in draft.blocks], np.int64)
    return Blocks(block_tokens, ids, np.cumsum([len(draft.blocks) for draft in drafts]))
