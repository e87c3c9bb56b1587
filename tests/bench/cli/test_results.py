"""The exit code of a run, when it is made and whenever it is read again."""

import json
from pathlib import Path

import pytest

from bench.cli.results import recorded_code
from bench.load.controller import DEARER, INTERRUPTED, OUT_OF_BUDGET, SERVER_GONE


@pytest.mark.parametrize(
    ("stopped", "interrupted", "of_summary", "code"),
    [
        (None, False, 0, 0),
        (None, False, 1, 1),
        (None, False, 3, 3),
        (INTERRUPTED, True, 0, 130),
        (INTERRUPTED, True, 3, 130),
        (SERVER_GONE, True, 0, 3),
        ("a load process died: killed", True, 0, 3),
        (OUT_OF_BUDGET, True, 4, 4),
        (DEARER, True, 0, 4),
        (None, True, 0, 130),  # killed: it could say nothing of its end
        (None, True, 3, 130),
    ],
)
def test_a_run_that_is_read_again_has_the_exit_code_it_had(
    tmp_path: Path, stopped: str | None, interrupted: bool, of_summary: int, code: int
) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"schema": 1, "stopped": stopped, "interrupted": interrupted}))
    assert recorded_code(tmp_path, of_summary) == code
