"""The records of a Document as CSV, for a spreadsheet."""

import csv
import io
from typing import Any

from analysis.present.document import Document

_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render(document: Document) -> str:
    """A line for each record under the names of its values; unknown is empty, numbers have all their digits."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    if document.records:
        writer.writerow(document.records[0])
        writer.writerows([literal(value) for value in record.values()] for record in document.records)
    return text.getvalue()


def literal(value: Any) -> Any:
    """A value that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
