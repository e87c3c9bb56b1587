"""Arbitrary JSON documents of a file's type: some keys left out as in old files, others that nobody knows."""

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from decimal import Decimal
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from bench.runs.sections import JsonSection

WORDS = st.sampled_from(["a", "ttft_ms", "other", "schema", "é\u2028"])
SCALARS = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
ANYTHING = st.recursive(
    SCALARS | WORDS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2), max_leaves=4
)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
AMOUNTS = st.decimals(-1000, 1000, places=6).map(lambda amount: f"{amount:f}")
PLAIN = {
    Any: ANYTHING, type(None): st.none(), bool: st.booleans(), int: st.integers(-(2**53), 2**53), float: NUMBERS,
    str: st.text(max_size=4), Decimal: AMOUNTS,
}  # fmt: skip


def documents(kind: Any, *, strange: bool = True) -> st.SearchStrategy[Any]:
    """JSON that the type takes; without `strange` no object has keys that its type does not know.

    A list of what is no section has no place for such keys.
    """
    section: Any = kind
    if is_dataclass(kind):
        return _objects(section, strange=strange)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return st.one_of(*(documents(each, strange=strange) for each in arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple and arguments[1:] == (...,):
        item = arguments[0]
        strange = strange and (not isinstance(item, type) or not is_dataclass(item) or issubclass(item, JsonSection))
        return st.lists(documents(arguments[0], strange=strange), max_size=2)
    if origin is tuple:
        return st.tuples(*(documents(each, strange=strange) for each in arguments)).map(list)
    if origin is Mapping:
        return st.dictionaries(st.text(max_size=4), documents(arguments[1], strange=strange), max_size=2)
    return PLAIN[kind]


@cache
def _objects(kind: Any, *, strange: bool) -> st.SearchStrategy[Any]:
    hints = get_type_hints(kind)
    own = [each for each in fields(kind) if each.name != "other"]
    needed = {each.name for each in own if each.default is MISSING and each.default_factory is MISSING}
    known = st.fixed_dictionaries(
        {name: documents(hints[name], strange=strange) for name in needed},
        optional={each.name: documents(hints[each.name], strange=strange) for each in own if each.name not in needed},
    )
    if not strange:
        return known
    unknown = st.dictionaries(st.sampled_from(["new", "newer"]), ANYTHING, max_size=1)
    return st.tuples(known, unknown).map(lambda parts: parts[0] | parts[1])


def keeps(found: Any, written: Any) -> bool:
    """Whether all keys and values of one are in the other, which may have more keys whose value was left out."""
    if isinstance(found, dict):
        return isinstance(written, dict) and all(
            name in written and keeps(each, written[name]) for name, each in found.items()
        )
    if isinstance(found, list):
        return len(found) == len(written) and all(map(keeps, found, written))
    return type(found) is type(written) and bool(found == written)
