"""What is known by name as a Document: one table, a row each."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from analysis.present.document import Column, Document, Table, row


def document(
    rows: Sequence[Mapping[str, Any]], data: Sequence[Mapping[str, Any]], *, numbers: Collection[str] = ()
) -> Document:
    """Rows with the same keys, those of `numbers` to the right, the last one broken into lines; `data` is for JSON."""
    names = list(rows[0])
    columns = tuple(Column(n, "right" if n in numbers else "left", wraps=n == names[-1]) for n in names)
    table = Table(columns, tuple(row(*(_text(value) for value in each.values())) for each in rows))
    return Document(title="", blocks=(table,), data=data)


def _text(value: Any) -> str:
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)
