"""YAML with the line of every key, so that faults are reported with their place."""

from pathlib import Path
from typing import Any

import yaml

from bench.types import UserError

Location = tuple[str, ...]


def parse(content: str, path: Path) -> tuple[Any, dict[Location, int]]:
    """The YAML's data, and the line of every key in it."""
    try:
        loader = yaml.SafeLoader(content)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise UserError(f"{path}:1: expected keys and values, such as prompt_tokens: 256")
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path}:1: not valid YAML: {' '.join(str(error).split())}") from error
    lines: dict[Location, int] = {}
    for at, line in _lines(node):
        if at in lines:
            raise UserError(f"{path}:{line}: {'.'.join(at)}: given twice, first in line {lines[at]}")
        lines[at] = line
    return data, lines


def _lines(node: yaml.Node, at: Location = ()) -> list[tuple[Location, int]]:
    if isinstance(node, yaml.MappingNode):
        children = [((*at, str(key.value)), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [((*at, str(i)), value, value) for i, value in enumerate(node.value)]
    else:
        return []
    found = [(here, key.start_mark.line + 1) for here, key, _ in children]
    return found + [line for here, _, value in children for line in _lines(value, here)]
