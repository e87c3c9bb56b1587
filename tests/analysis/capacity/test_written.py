"""What is read of capacity.json, by whoever did not write it."""

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.capacity.search import Capacity
from analysis.capacity.written import read
from bench.types import UserError

FOUND = {"rate_per_s": 2.0, "low_per_s": 1.5, "high_per_s": None, "reason": "saturated above it"}
PROBE = {"rate_per_s": 2, "folder": "rate-2-0", "outcome": "met", "is_sure": True}


def written(folder: Path, **content: Any) -> Path:
    (folder / "capacity.json").write_text(json.dumps({"schema": 1, "asked": {}, **content}))
    return folder


def test_a_search_that_has_ended_has_its_capacity_and_its_runs(tmp_path: Path) -> None:
    found = read(written(tmp_path, capacity=FOUND, probes=[PROBE], closed_loop_rps=3.0))
    assert found.capacity == Capacity(2.0, 1.5, None, "saturated above it")
    assert [(run.rate_per_s, run.folder) for run in found.probes] == [(2, "rate-2-0")]


def test_one_that_goes_on_has_none_yet(tmp_path: Path) -> None:
    assert read(written(tmp_path)).capacity is None


@pytest.mark.parametrize("wrong", [{"capacity": {**FOUND, "rate_per_s": "2"}}, {"probes": [{"rate_per_s": 2}]}])
def test_one_that_was_edited_is_named_with_its_key(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=rf"capacity\.json: {next(iter(wrong))}"):
        read(written(tmp_path, **wrong))
