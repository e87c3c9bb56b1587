"""The gate for values from outside: what a server sends is a count, a word or a text of sane size, or it is refused.

Nothing is checked again after it. `count` and `word` refuse with `UnsoundValue`, which makes one call `malformed`;
`known_count` and `known_word` treat bad values as unknown, if nothing depends on them.
"""

import json
from collections.abc import Mapping
from itertools import islice
from typing import Any

import orjson

MOST_TOKENS = 1_000_000_000
LONGEST_WORD = 100
LONGEST_LINE = 200
LONGEST_ID = 1000
MOST_SETTING, MOST_SETTINGS, DEEPEST_SETTING = 10**15, 100, 4


class UnsoundValue(ValueError):
    """A value that no sound server sends, described in one short line."""


def count(counts: Any, name: str) -> int | None:
    """The number under `name`, None if missing or null; UnsoundValue unless it is a whole number, 0 to 10⁹.

    12.0 is 12: JSON has one kind of number, and some proxies write it so.
    """
    value = counts.get(name) if isinstance(counts, dict) else None
    if value is None or (type(value) is int and 0 <= value <= MOST_TOKENS):
        return value
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or not 0 <= value <= MOST_TOKENS:
        raise UnsoundValue(f"{name} is {shown(value, 80)}, expected a whole number from 0 to {MOST_TOKENS:,}")
    return value


def known_count(counts: Any, name: str) -> int | None:
    """The same, with bad values as unknown."""
    try:
        return count(counts, name)
    except UnsoundValue:
        return None


def word(value: Any, name: str) -> str | None:
    """A server's name for something, None if empty; UnsoundValue unless it is short and printable."""
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > LONGEST_WORD or not value.isprintable():
        raise UnsoundValue(f"{name} is {shown(value, 80)}, expected a short word")
    return value


def known_word(value: Any) -> str | None:
    """The same, with bad values as unknown."""
    try:
        return word(value, "")
    except UnsoundValue:
        return None


def known_limit(counts: Any, name: str) -> int | None:
    """The most that a server accepts, if it says so: 0 accepts nothing."""
    return known_count(counts, name) or None


def known_setting(value: Any, depth: int = 0) -> Any:
    """A setting as run.json can hold it: numbers, lines, sizes and depth within bounds, and otherwise its text."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value if -MOST_SETTING <= value <= MOST_SETTING else shown(value)  # NaN is not
    if isinstance(value, str):
        return one_line(value)
    if depth < DEEPEST_SETTING and isinstance(value, list):
        return [known_setting(one, depth + 1) for one in value[:MOST_SETTINGS]]
    if depth < DEEPEST_SETTING and isinstance(value, dict):
        kept = islice(value.items(), MOST_SETTINGS)
        return {one_line(name, LONGEST_WORD): known_setting(one, depth + 1) for name, one in kept}
    return shown(value)


def known_fields(value: Any) -> Mapping[str, Any]:
    """An object's fields; empty if it is not an object."""
    return value if isinstance(value, dict) else {}


def known_id(value: Any) -> str | None:
    """The name of a model, which may be a path; None unless it is one line of text."""
    return value if isinstance(value, str) and value and len(value) <= LONGEST_ID and value.isprintable() else None


def one_line(text: str, most: int = LONGEST_LINE) -> str:
    """`text` on one line of at most `most` characters, without anything that a terminal or file would act upon.

    Not printable are control characters, those that change the direction of writing, and lone surrogates.
    """
    line = " ".join(text[: 16 * LONGEST_LINE].split())
    if not line.isprintable():
        line = "".join(letter if letter.isprintable() else "�" for letter in line)
    return line if len(line) <= most else line[: most - 1] + "…"


def shown(value: Any, most: int = LONGEST_LINE) -> str:
    """Any value, for a message: shortened, without first formatting more of it than is shown."""
    if isinstance(value, str | bytes):
        return one_line(repr(value[:LONGEST_LINE]), most)
    try:
        return one_line(repr(value), most)
    except RecursionError:
        return "a value nested too deep"
    except ValueError:
        return "a number of thousands of digits"


def encodable(text: str) -> str:
    """`text` with surrogate pairs that were split over chunks rejoined, and lone halves replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def lenient(data: bytes) -> Any:
    """The JSON value in `data`, or `data` itself if it is not JSON.

    orjson refuses what models make servers send (invalid UTF-8, half of a surrogate pair, NaN, a bare tab in a text);
    the standard library's parser accepts it, with bad bytes replaced.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data.decode("utf-8", "replace").removeprefix("\ufeff"), strict=False)
    except (ValueError, RecursionError):
        return data
