from hypothesis import given
from hypothesis import strategies as st

from bench.suggest import did_you_mean, nearest

NAMES = ["llamacpp", "openai", "claude", "vLLM"]


def test_what_is_near_is_offered_and_nothing_where_nothing_is() -> None:
    assert did_you_mean("lamacpp", NAMES) == "; did you mean 'llamacpp'?"
    assert did_you_mean("VLLM", NAMES) == "; did you mean 'vLLM'?"
    assert did_you_mean("zzz", NAMES) == did_you_mean("x", []) == ""
    assert did_you_mean("ab", ["abc", "abd", "q"], most=3) == "; did you mean 'abc' or 'abd'?"


@given(st.text(max_size=20), st.lists(st.text(max_size=12), max_size=8))
def test_whatever_is_offered_is_known_and_a_known_name_is_its_own_nearest(name: str, known: list[str]) -> None:
    assert set(nearest(name, known, 3)) <= set(known)
    assert nearest(name, [*known, name])[:1] in ([], [name]) or name.casefold() in map(str.casefold, known)
