from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from backends.dialect.outside import (
    LONGEST_LINE,
    MOST_TOKENS,
    UnsoundValue,
    count,
    encodable,
    known_count,
    known_setting,
    known_word,
    one_line,
    shown,
    word,
)

ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()) | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


@given(ANYTHING)
def test_a_count_is_a_whole_number_of_sane_size_or_nothing_or_unfit(value: Any) -> None:
    known = known_count({"n": value}, "n")
    assert known is None or (type(known) is int and 0 <= known <= MOST_TOKENS and known == value)
    try:
        assert count({"n": value}, "n") == known
    except UnsoundValue as problem:
        assert known is None
        assert value is not None
        assert "\n" not in str(problem)
        assert len(str(problem)) <= LONGEST_LINE
    assert count(value, "no such name") is None


@given(ANYTHING)
def test_a_word_is_short_and_can_be_printed_and_written_or_nothing_or_unfit(value: Any) -> None:
    known = known_word(value)
    assert known is None or (known == value and known.isprintable() and known.encode())
    try:
        assert word(value, "w") == known
    except UnsoundValue as problem:
        assert len(str(problem)) <= LONGEST_LINE


@given(ANYTHING | st.sampled_from([10**400, -(2**64), float("nan"), "\ud800", {"\ud800": [[[[[1]]]]]}, ["x" * 10**6]]))
def test_a_setting_is_small_and_can_be_written(value: Any) -> None:
    assert len(orjson.dumps(known_setting(value))) < 10**5
    assert known_setting({"slots": 4, "type": "Q4_K", "on": [True, None, 0.5]}) == {
        "slots": 4, "type": "Q4_K", "on": [True, None, 0.5]}  # fmt: skip


@given(st.text(st.characters()))
def test_a_line_has_nothing_in_it_that_acts(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert len(line) <= LONGEST_LINE
    line.encode()


@given(st.text(st.characters()))
def test_a_text_can_be_encoded_and_keeps_what_is_whole(text: str) -> None:
    assert encodable(encodable(text)) == encodable(text)
    encodable(text).encode()
    if max(text, default="") < "\ud800":
        assert encodable(text) == text


def test_any_value_can_be_shown_in_a_line() -> None:
    values = [10**5000, [10**5000], -(10**300), "x" * 10**6, b"\xff" * 10**6, [[]] * 10**4, {"a": "\x1b"}]
    for value in values:
        assert len(shown(value)) <= LONGEST_LINE
        assert shown(value).isprintable()


def test_a_value_nested_too_deep_can_be_shown() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert shown(deep) in ("a value nested too deep", shown(deep))
