"""JSON files as frozen types: one converter, so that a wrong file is found where it is read and nowhere else.

A file's type is a `JsonSection` of sections, plain dataclasses, tuples, mappings and scalars. What an older version
did not write yet has the field's default; what this version does not know stays in `other` and is written again.
"""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from decimal import Decimal, InvalidOperation
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from bench.types import UserError

T = TypeVar("T")
Read = Callable[[Any], Any]
"""From a value of JSON to a value of a type; raises `_WrongType`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonSection:
    """An object of a JSON file. `other` has the keys that this version does not know."""

    other: Mapping[str, Any] = field(default_factory=dict, repr=False)


class _WrongType(Exception):
    """A value is not what its type expects. On its way up each object and list adds where in it that is."""

    def __init__(self, expected: str) -> None:
        super().__init__(expected)
        self.inside_out: list[str | int] = []

    def __str__(self) -> str:
        place = ""
        for part in reversed(self.inside_out):
            place = f"{place}[{part}]" if isinstance(part, int) else f"{place}.{part}" if place else part
        return f"{place or 'the file'}: expected {self.args[0]}"


def load(kind: type[T], content: Any, file: Path | str) -> T:
    """Turn what was read of a file into its type. Raises UserError naming file and key where it is none."""
    wanted: Any = kind
    try:
        found: T = _reader(wanted)(content)
    except _WrongType as problem:
        raise UserError(f"{file}: {problem}; it was edited, or another version of this tool wrote it") from None
    return found


def dump(value: Any) -> Any:
    """Turn a value of a file's type into what JSON can hold, keys in the order of the type's fields."""
    kind = type(value)
    if kind in _PLAIN:
        return value
    if is_dataclass(kind):
        own = {name: dump(getattr(value, name)) for name in _names(kind)}
        return _merged(own, value.other) if isinstance(value, JsonSection) else own
    if isinstance(value, Mapping):
        return {name: dump(each) for name, each in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return dump(value._asdict())
    if isinstance(value, (tuple, list)):
        return [dump(each) for each in value]
    return f"{value:f}" if isinstance(value, Decimal) else value


@cache
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(each.name for each in fields(kind) if each.name != "other")


def pick(value: Any, *names: str) -> dict[str, Any]:
    """Some attributes of a value by their names, as JSON can hold them."""
    return {name: dump(getattr(value, name)) for name in names}


@cache
def _reader(kind: Any) -> Read:
    if kind is Any:
        return lambda value: value
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _union(arguments)
    if origin is Literal:
        return _checked(" or ".join(map(repr, arguments)), lambda value: value in arguments)
    if origin is tuple:
        return _tuple(arguments)
    if origin is Mapping:
        return _mapping(arguments[1])
    return _SCALARS[kind]


def _checked(expected: str, fits: Callable[[Any], bool]) -> Read:
    def read(value: Any) -> Any:
        if not fits(value):
            raise _unfit(expected, value)
        return value

    return read


def _unfit(expected: str, found: Any) -> _WrongType:
    text = repr(found)
    return _WrongType(f"{expected}, found {text if len(text) < 50 else text[:46] + ' ...'}")


def _decimal(value: Any) -> Decimal:
    try:
        amount = Decimal(value) if isinstance(value, str) else Decimal("NaN")
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise _unfit("an amount as text", value)
    return amount


def _is(*kinds: type) -> Callable[[Any], bool]:
    # True is an int to Python, and no number to JSON. Nearly every value of a file is of just the type wanted.
    return lambda value: (
        type(value) in kinds or (isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)))
    )


_PLAIN: Final = frozenset({type(None), bool, int, float, str})
# A whole number stays one where a float is expected: a file is written again as it was.
_SCALARS: Mapping[Any, Read] = {
    type(None): _checked("null", lambda value: value is None),
    bool: _checked("true or false", _is(bool)),
    int: _checked("a whole number", _is(int)),
    float: _checked("a number", _is(int, float)),
    str: _checked("text", _is(str)),
    Decimal: _decimal,
}


def _union(kinds: tuple[Any, ...]) -> Read:
    *others, last = (_reader(kind) for kind in kinds if kind is not type(None))
    optional = type(None) in kinds

    def read(value: Any) -> Any:
        if optional and value is None:
            return None
        for reader in others:
            try:
                return reader(value)
            except _WrongType:
                continue
        return last(value)

    return read


def _tuple(kinds: tuple[Any, ...]) -> Read:
    readers = [_reader(kind) for kind in kinds if kind is not Ellipsis]
    length = None if Ellipsis in kinds else len(readers)

    def read(value: Any) -> Any:
        if not isinstance(value, (list, tuple)) or len(value) != (len(value) if length is None else length):
            raise _unfit("a list" if length is None else f"a list of {length}", value)
        found: list[Any] = []
        try:
            for reader, each in zip(readers * len(value) if length is None else readers, value, strict=True):
                found.append(reader(each))
        except _WrongType as problem:
            problem.inside_out.append(len(found))
            raise
        return tuple(found)

    return read


def _mapping(kind: Any) -> Read:
    reader = _reader(kind)
    return lambda value: _object(value, dict.fromkeys(value, reader) if isinstance(value, dict) else {})


def _object(value: Any, readers: Mapping[str, Read]) -> dict[str, Any]:
    """What readers make of those keys that they are for, in the order of the readers."""
    if not isinstance(value, dict):
        raise _unfit("an object", value)
    found: dict[str, Any] = {}
    for name, reader in readers.items():
        if name in value:
            try:
                found[name] = reader(value[name])
            except _WrongType as problem:
                problem.inside_out.append(name)
                raise
    return found


def _dataclass(kind: type[Any]) -> Read:
    hints = get_type_hints(kind)
    own = [each for each in fields(kind) if each.init and each.name != "other"]
    readers = {each.name: _reader(hints[each.name]) for each in own}
    required = [each.name for each in own if each.default is MISSING and each.default_factory is MISSING]
    # Types that are no sections have no place for what they do not know: the section around them keeps it.
    foreign = [name for name, hint in hints.items() if is_dataclass(hint) and not issubclass(hint, JsonSection)]  # type: ignore[arg-type]
    keeps_other = issubclass(kind, JsonSection)

    def read(value: Any) -> Any:
        if isinstance(value, dict):
            for name in required:
                if name not in value:
                    raise _WrongType(f"a key {name!r}, there is none")
        known = _object(value, readers)
        if not keeps_other:
            return kind(**known)
        other = {name: each for name, each in value.items() if name not in readers} if len(value) > len(known) else {}
        for name in foreign:
            if name in known and (beyond := _beyond(value[name], dump(known[name]))):
                other[name] = beyond
        return kind(**known, other=other)

    return read


def _beyond(found: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """What of an object is not in another, at any depth."""
    beyond = {name: value for name, value in found.items() if name not in known}
    for name, value in known.items():
        if isinstance(value, dict) and isinstance(found.get(name), dict) and (deeper := _beyond(found[name], value)):
            beyond[name] = deeper
    return beyond


def _merged(known: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    both = {name: _merged(known[name], value) for name, value in other.items() if isinstance(known.get(name), dict)}
    return {**known, **other, **both}
