import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.streams import stream, uniform

INTEGERS = st.integers(-(2**70), 2**70)


def test_the_bits_are_those_of_every_other_version_and_machine() -> None:
    assert stream(1, "call", 2, 3).random_raw(2).tolist() == [10357336667704265850, 10420058420800895476]


def test_each_argument_gives_bits_of_its_own() -> None:
    variants = [(1, "call", 0, 0), (2, "call", 0, 0), (1, "prefix", 0, 0), (1, "call", 1, 0), (1, "call", 0, 1)]
    heads = {tuple(stream(*variant).random_raw(2).tolist()) for variant in variants}  # type: ignore[arg-type]
    assert len(heads) == len(variants)


@settings(deadline=None, max_examples=50)
@given(seed=INTEGERS, salt=INTEGERS, count=st.integers(1, 50))
def test_a_longer_draw_begins_with_the_shorter(seed: int, salt: int, count: int) -> None:
    long = stream(seed, "call", salt=salt).random_raw(100)
    assert (stream(seed, "call", salt=salt).random_raw(count) == long[:count]).all()


def test_uniform_covers_zero_to_one_and_never_one() -> None:
    assert uniform(np.array([0, 2**64 - 1], np.uint64)).tolist() == [0.0, 1 - 2**-53]
    draws = uniform(stream(5, "call").random_raw(100_000))
    assert abs(draws.mean() - 0.5) < 0.005
