"""The exit code of a run, when it is made and whenever it is read again."""

import json
from pathlib import Path
from typing import Any

import pytest

from bench.app.results import captured_is_kept, exit_code, recorded_stop
from bench.errors import DEARER, INTERRUPTED, OUT_OF_BUDGET, SERVER_GONE
from tests.summaries import MANIFEST, slo_result, summary_of

SUMMARIES: dict[int, dict[str, Any]] = {
    0: {"verdict": {"status": "valid"}, "requests": {"by_error": {}}, "slo": [slo_result(True), slo_result(None)]},
    1: {"verdict": {"status": "suspect"}, "requests": {"by_error": {}}, "slo": [slo_result(True), slo_result(False)]},
    3: {"verdict": {"status": "invalid"}, "requests": {"by_error": {}}, "slo": [slo_result(False)]},
    4: {"verdict": {"status": "suspect"}, "requests": {"by_error": {"budget": 1}}, "slo": []},
}


@pytest.mark.parametrize(
    ("stopped", "interrupted", "of_summary", "code"),
    [
        (None, False, 0, 0),
        (None, False, 1, 1),
        (None, False, 3, 3),
        (None, False, 4, 4),
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
    content = MANIFEST | {"schema": 1, "stopped": stopped, "interrupted": interrupted}
    (tmp_path / "run.json").write_text(json.dumps(content))
    assert exit_code(recorded_stop(tmp_path), summary_of(SUMMARIES[of_summary])) == code


def test_what_fails_says_where_the_captures_are_if_there_are_any(tmp_path: Path) -> None:
    for folder, noted in ((tmp_path, True), (tmp_path / "none", False)):
        with pytest.raises(ZeroDivisionError) as failed, captured_is_kept(folder):
            raise ZeroDivisionError
        notes = [f"the captures are kept; make a report from them with: bench.py decode {folder}"] if noted else []
        assert getattr(failed.value, "__notes__", []) == notes
