"""A user's own file as the sessions of a load: a dataset's in random order by seed, a trace's in order of time."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

from bench.plan.recording import Output, RecordedSession, RecordedTurn
from bench.plan.rng import stream
from bench.plan.texts import TextsWriter, TurnText
from bench.types import Lengths, Message, UserError
from scenarios.files import files_of
from scenarios.traffic import read_all
from scenarios.traffic.rows import SECOND_NS, TrafficRow

SAMPLE_MAX = 100_000
"""The most sessions of a dataset that are drawn; a longer load repeats them."""
_PRIORITIES = 4096
_DATASETS_KEPT = 4  # each holds a temporary file of what was drawn

Kind = Literal["dataset", "trace", "documents"]


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """What a file, a folder or a pattern of files offers, in the order in which it is sent.

    `sha256` is of the files' bytes, for documents of the prompts made from them. The files have `available` sessions,
    of which `sessions` were drawn; `empty` rows have no prompt (documents: no passage), `failed` rows got no answer
    when they were recorded. Lengths (prompts, answers) that the files lack are `drawn` from these.
    """

    kind: Kind
    name: str
    sha256: str
    rows: int
    empty: int
    failed: int
    available: int
    sessions: tuple[RecordedSession, ...]
    writer: TextsWriter
    block_tokens: int | None
    output: Output
    speed: Fraction = Fraction(1)
    drawn: tuple[Lengths, Lengths] | None = None

    @property
    def turns_max(self) -> int:
        """The most turns of any session."""
        return max(len(session.turns) for session in self.sessions)

    @property
    def stem(self) -> str:
        """A short name for it."""
        return Path(self.name).name.split(".")[0] or self.kind


class TraceCut(NamedTuple):
    """Which part of a trace is sent, up to how many requests, and at what multiple of its speed."""

    from_s: Fraction = Fraction(0)
    for_s: Fraction | None = None
    speed: Fraction = Fraction(1)


def read_dataset(name: str, *, seed: int, wanted: int, output: Output, flag: str = "--dataset") -> Recording:
    """Read a dataset once, from end to end, and keep at least `wanted` sessions, drawn by the seed.

    The next load of a study reuses what was read, unless the files have changed. Raises UserError for a file that
    cannot be read, or has no text.
    """
    stats = [path.stat() for path in files_of(name, flag)]
    size = min(1 << (wanted - 1).bit_length(), SAMPLE_MAX)
    return _read(name, seed, size, output, flag, tuple((each.st_ino, each.st_size, each.st_mtime_ns) for each in stats))


@lru_cache(_DATASETS_KEPT)
def _read(name: str, seed: int, size: int, output: Output, flag: str, _files: tuple[tuple[int, ...], ...]) -> Recording:
    reader = _Reader(flag, name)
    sample = _Sample(seed, size)
    for rows in reader.sessions():
        if not rows[0].messages:
            raise UserError(
                f"{flag} {name}: line {rows[0].line} has no text; expected prompts or messages (for times and "
                "lengths, use --trace)"
            )
        if sample.takes():
            sample.add(reader.session(rows, None))
    return reader.recording("dataset", sample.offered, sample.in_order(), output)


def read_trace(name: str, cut: TraceCut, output: Output) -> Recording:
    """Read a trace: its sessions are due when they arrived, in ns after the start of the part, at exactly its speed.

    Raises UserError for a file that cannot be read, has no times, or nothing within the part.
    """
    reader = _Reader("--trace", name)
    found = []
    for rows in reader.sessions():
        for part in [rows] if any(row.pause_ns is not None for row in rows) else [[row] for row in rows]:
            if part[0].t_ns is None:
                raise UserError(
                    f"--trace {name}: line {part[0].line} has no time; expected the arrival time of each request (for "
                    "prompts without times, use --dataset)"
                )
            found.append((part[0].t_ns, reader.session(part, cut.speed)))
    found.sort(key=lambda one: one[0])
    begin_ns = (found[0][0] if found else 0) + cut.from_s * SECOND_NS
    end_ns = None if cut.for_s is None else begin_ns + cut.for_s * SECOND_NS
    chosen = tuple(
        session._replace(due_ns=round((t_ns - begin_ns) / cut.speed))
        for t_ns, session in found
        if begin_ns <= t_ns and (end_ns is None or t_ns < end_ns)
    )
    if found and not chosen:
        span_s = (found[-1][0] - found[0][0]) / SECOND_NS
        raise UserError(
            f"--from and --for: {name} has no request in that time; its last one came {span_s:g} s after its first"
        )
    return replace(reader.recording("trace", len(found), chosen, output), speed=cut.speed)


class _Reader:
    """Reads the files once, keeping counts, and writes their text to a temporary file."""

    def __init__(self, flag: str, name: str) -> None:
        self._flag, self._name = flag, name
        self._writer = TextsWriter()
        self._rows = self._empty = self._failed = 0
        self._block_tokens: int | None = None

    def sessions(self) -> Iterator[list[TrafficRow]]:
        """Yield the rows of each session: rows of one line, each continuing the one before."""
        for _, rows in groupby(self._each(), key=lambda one: (one[0], one[1].line)):
            session: list[TrafficRow] = []
            for _, row in rows:
                if session and not _goes_on(session[-1], row):
                    yield session
                    session = []
                session.append(row)
            yield session

    def _each(self) -> Iterator[tuple[Path, TrafficRow]]:
        before: tuple[Path, int] | None = None
        for path, row in read_all(self._name, self._flag):
            self._rows += 1
            if row.t_ns is not None and row.session is None:
                if before is not None and before[0] == path and row.t_ns < before[1]:
                    back_s = (before[1] - row.t_ns) / SECOND_NS
                    raise UserError(
                        f"{path}:{row.line}: its time is {back_s:g} s before the previous one; sort the file by time"
                    )
                before = path, row.t_ns
            self._failed += row.failed
            if row.is_empty or (row.messages and not row.messages[-1].text.strip()):
                self._empty += 1
            else:
                yield path, row

    def session(self, rows: Iterable[TrafficRow], speed: Fraction | None) -> RecordedSession:
        """Write a session's text to the temporary file and keep its position."""
        turns = []
        before: TrafficRow | None = None
        for row in rows:
            turn = TurnText(_added(before, row), row.answer)
            blocks = row.blocks if row.block_tokens else ()
            self._block_tokens = row.block_tokens or self._block_tokens
            turns.append(
                RecordedTurn(
                    place=self._writer.add(turn) if row.messages else None,
                    text_bytes=sum(len(message.text.encode("utf-8", "replace")) for message in turn.messages),
                    answer_bytes=len((row.answer or "").encode("utf-8", "replace")),
                    prompt_tokens=row.prompt_tokens,
                    output_tokens=1 if row.failed else row.output_tokens,
                    pause_ns=round((row.pause_ns or 0) / (speed or 1)),
                    blocks=blocks,
                )
            )
            before = row
        return RecordedSession(tuple(turns))

    def recording(self, kind: Kind, available: int, sessions: tuple[RecordedSession, ...], output: Output) -> Recording:
        """What was read. Raises UserError if there is nothing to send."""
        if not sessions:
            raise UserError(f"{self._flag} {self._name}: nothing to send; all {self._rows} rows are empty")
        digest = hashlib.sha256()
        for path in files_of(self._name, self._flag):
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return Recording(
            kind=kind,
            name=self._name,
            sha256=digest.hexdigest(),
            rows=self._rows,
            empty=self._empty,
            failed=self._failed,
            available=available,
            sessions=sessions,
            writer=self._writer,
            block_tokens=self._block_tokens,
            output=output,
        )


class _Sample:
    """Draws sessions without replacement, by numbers that depend only on the seed and a session's position.

    The first n of a larger sample are the sample of n, and at most twice as many are ever kept.
    """

    def __init__(self, seed: int, size: int) -> None:
        self._seed, self._size = seed, size
        self._kept: list[tuple[int, int, RecordedSession]] = []
        self._highest = 1 << 64
        self._next = 0
        self._numbers: list[int] = []
        self.offered = 0

    def takes(self) -> bool:
        """Draw the number of the next session; returns whether it may be in the sample."""
        at = self.offered % _PRIORITIES
        if at == 0:
            self._numbers = stream(self._seed, "dataset", self.offered // _PRIORITIES).take(_PRIORITIES).tolist()
        self.offered += 1
        self._next = self._numbers[at]
        return self._next < self._highest

    def add(self, session: RecordedSession) -> None:
        """Keep it, unless enough better ones come later."""
        self._kept.append((self._next, self.offered, session))
        if len(self._kept) >= 2 * self._size:
            self._cut()

    def in_order(self) -> tuple[RecordedSession, ...]:
        """The sample, in the order in which it is sent."""
        self._cut()
        return tuple(session for _, _, session in self._kept)

    def _cut(self) -> None:
        self._kept.sort(key=lambda one: one[:2])
        del self._kept[self._size :]
        if len(self._kept) == self._size:
            self._highest = self._kept[-1][0]


def _goes_on(before: TrafficRow, row: TrafficRow) -> bool:
    """Whether a row's prompt extends the conversation so far, answer included."""
    if not row.messages:
        return not before.messages
    conversation = (*before.messages, Message("assistant", before.answer or ""))
    return (
        before.answer is not None
        and row.messages[: len(conversation)] == conversation
        and len(row.messages) > len(conversation)
    )


def _added(before: TrafficRow | None, row: TrafficRow) -> tuple[Message, ...]:
    return row.messages if before is None or not row.messages else row.messages[len(before.messages) + 1 :]
