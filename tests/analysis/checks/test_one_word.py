"""What a user reads of a verdict has one word for what was asked: request. In code a planned one is a Call."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def sentences(path: Path) -> Iterator[str]:
    """The texts with a space in them, docstrings left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    texts = (node for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str))
    yield from (str(node.value) for node in texts if id(node) not in docs and " " in str(node.value).strip())


@pytest.mark.parametrize("path", sorted((ROOT / "analysis/checks").glob("*.py")), ids=lambda path: path.name)
def test_a_verdict_speaks_of_requests(path: Path) -> None:
    assert [text for text in sentences(path) if re.search(r"\bcalls?\b", text)] == []
