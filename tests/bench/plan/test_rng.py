import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.plan.rng import stream, uniform

INTEGERS = st.integers(-(2**70), 2**70)


def test_the_bits_are_those_of_every_other_version_and_machine() -> None:
    assert stream(1, "call", 2, 3).take(2).tolist() == [3921895121137381644, 8899492199819326356]


def test_each_argument_gives_bits_of_its_own() -> None:
    variants = [(1, "call", 0, 0), (2, "call", 0, 0), (1, "prefix", 0, 0), (1, "call", 1, 0), (1, "call", 0, 1)]
    heads = {tuple(stream(*variant).take(2).tolist()) for variant in variants}  # type: ignore[arg-type]
    assert len(heads) == len(variants)


@settings(deadline=None, max_examples=50)
@given(seed=INTEGERS, salt=INTEGERS, count=st.integers(1, 50))
def test_a_longer_draw_begins_with_the_shorter(seed: int, salt: int, count: int) -> None:
    long = stream(seed, "call", salt=salt).take(100)
    assert (stream(seed, "call", salt=salt).take(count) == long[:count]).all()


def test_uniform_covers_zero_to_one_and_never_one() -> None:
    assert uniform(np.array([0, 2**64 - 1], np.uint64)).tolist() == [0.0, 1 - 2**-53]
    draws = uniform(stream(5, "call").take(100_000))
    assert abs(draws.mean() - 0.5) < 0.005
