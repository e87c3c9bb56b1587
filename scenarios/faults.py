"""Report what is wrong with a scenario file, in one line with its place."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_origin

from pydantic import BaseModel, ValidationError

from bench.suggest import did_you_mean
from scenarios.lined import Location
from scenarios.numbers import leaves

_LENGTHS = "must be a number, {uniform: [low, high]} or {lognormal: {…}}"
_WANTED = {
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "greater_than": "must be more than {gt}",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number",
    "bool_type": "must be on or off",
    "string_type": "must be text",
    "string_pattern_mismatch": "must be at most 200 letters, digits and _.:/@+-",
    "list_type": "must be a list",
    "dict_type": "must be names with a value each",
    "too_short": "must have at least {min_length} entry",
    "too_long": "must have at most {max_length} entries",
    "literal_error": "must be {expected}",
    "model_type": "must be keys and values",
}


def explain(error: ValidationError, model: type[BaseModel], path: Path, lines: Mapping[Location, int]) -> str:
    """The first fault in file order, as `path:line: key: what is wrong`."""
    faults = []
    for fault in error.errors():
        wanted = at = tuple(map(str, fault["loc"]))
        while at and at not in lines:  # a missing key, or an internal name that is not in the file, such as `fixed`
            at = at[:-1]
        key = wanted if fault["type"] == "missing" else at
        faults.append((lines.get(at, 1), ".".join(key), _complaint(fault, model)))
    line, name, complaint = min(faults)
    return f"{path}:{line}: {name}: {complaint}"


def _complaint(fault: Any, model: type[BaseModel]) -> str:
    kind, at, got, context = fault["type"], fault["loc"], fault["input"], fault.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return _unknown(str(at[-1]), _mapping(model, at[:-1]))
    if kind == "value_error":
        return str(context["error"])
    if at[-1] == "uniform":
        return f"must be [low, high], got {got!r}"
    if context.get("class_name") == "_Lengths":
        return f"{_LENGTHS}, got {got!r}"
    return f"{_WANTED[kind].format(**context) if kind in _WANTED else fault['msg']}, got {got!r}"


def _mapping(model: type[BaseModel], at: Sequence[int | str]) -> type[BaseModel]:
    """The model of the mapping at a place of a file."""
    parts = iter(at)
    for part in parts:
        kind = model.model_fields[str(part)].annotation
        model = next(each for each in leaves(kind) if isinstance(each, type) and issubclass(each, BaseModel))
        if get_origin(kind) in (dict, list):
            next(parts)  # the name of a class, or the place in a list
    return model


def _unknown(key: str, model: type[BaseModel]) -> str:
    known = model.model_fields.keys() - {"fixed"}
    if "classes" in known and key in _mapping(model, ("classes", "")).model_fields:
        return "belongs to each class, below `classes`"
    return "unknown key" + (did_you_mean(key, known) or f"; expected one of {', '.join(sorted(known))}")
