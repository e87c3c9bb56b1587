"""bench.app as Python imports it."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench import app

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("name", app.__all__)
def test_all_that_is_named_is_there(name: str) -> None:
    assert callable(getattr(app, name))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'obvserve'"):
        app.obvserve  # noqa: B018


def test_to_import_it_imports_nothing_else() -> None:
    code = "import bench.app, sys; print([name for name in sys.modules if name.startswith(('bench.', 'analysis'))])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "['bench.app']\n"
