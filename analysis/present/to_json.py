"""A Document for programs."""

import orjson

from analysis.present.document import Document


def render(document: Document) -> str:
    """The document's data, indented, without a line end."""
    return orjson.dumps(document.data, option=orjson.OPT_INDENT_2, default=str).decode()
