"""How often something holds is tried on few simulations in the fast suite, and on many in the slow one."""

import pytest


def few_or_many(name: str, few: int, many: int) -> pytest.MarkDecorator:
    """A parameter: so many simulations, or so many where there is time."""
    return pytest.mark.parametrize(name, [few, pytest.param(many, marks=pytest.mark.slow)])
