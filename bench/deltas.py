"""Arrivals of model output: a row for whoever asks for one, columns for whoever takes millions."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Literal, get_args

DeltaKind = Literal["text", "blank", "reasoning", "tool"]
Delta = tuple[int, int | None, DeltaKind]
"""(when, how many tokens or None where that is unknown, of what kind) model output arrived."""

KINDS: Final[tuple[DeltaKind, ...]] = get_args(DeltaKind)
KIND_CODES: Final = {kind: code for code, kind in enumerate(KINDS)}
"""The number that stands for a kind in a column of kinds."""


class Deltas(Sequence[Delta]):
    """Deltas in columns, to which those that arrive are added; `kinds` holds `KIND_CODES`.

    `tokens` is None where nobody counted any.
    """

    __slots__ = ("kinds", "t_ns", "tokens")

    def __init__(self, deltas: Iterable[Delta] = ()) -> None:
        rows = list(deltas)
        self.t_ns = array("q", [t_ns for t_ns, _, _ in rows])
        self.kinds = bytearray([KIND_CODES[kind] for _, _, kind in rows])
        self.tokens: Sequence[int | None] | None = [tokens for _, tokens, _ in rows] if rows else None

    @classmethod
    def of(cls, t_ns: "array[int]", kinds: bytearray, tokens: Sequence[int | None] | None) -> "Deltas":
        """Deltas of these columns, which become its own."""
        found = cls.__new__(cls)
        found.t_ns, found.kinds, found.tokens = t_ns, kinds, tokens
        return found

    def add(self, t_ns: int, kind: DeltaKind) -> None:
        """Add one whose tokens are unknown."""
        self.t_ns.append(t_ns)
        self.kinds.append(KIND_CODES[kind])

    def with_tokens(self, tokens: Sequence[int | None]) -> "Deltas":
        """The same arrivals with what each brought. Raises ValueError unless it is said of each."""
        if len(tokens) != len(self):
            raise ValueError(f"{len(tokens)} counts of {len(self)} arrivals")
        return Deltas.of(self.t_ns, self.kinds, tokens)

    def first(self, kind: DeltaKind) -> int | None:
        """When the first of a kind arrived."""
        at = self.kinds.find(KIND_CODES[kind])
        return None if at < 0 else self.t_ns[at]

    def __len__(self) -> int:
        return len(self.t_ns)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, slice):
            return list(self)[place]
        return self.t_ns[place], None if self.tokens is None else self.tokens[place], KINDS[self.kinds[place]]

    def __iter__(self) -> Iterator[Delta]:
        tokens = [None] * len(self) if self.tokens is None else self.tokens
        return zip(self.t_ns, tokens, map(KINDS.__getitem__, self.kinds), strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __repr__(self) -> str:
        return f"Deltas({list(self)})"

    __hash__ = None  # type: ignore[assignment]


def in_columns(deltas: Sequence[Delta]) -> Deltas:
    """The same deltas; no copy where they are in columns already."""
    return deltas if isinstance(deltas, Deltas) else Deltas(deltas)
