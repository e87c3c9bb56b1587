"""What was imported is a run folder like any other: reported, compared and priced, and never taken for verified."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.compare.comparison import Comparison
from analysis.run import summary as summaries
from bench.app import imports, results
from bench.app.compare import compare_runs
from bench.app.options import JudgeOptions
from bench.app.sweep.cells import cells_of
from bench.app.sweep.results import conclude
from bench.app.sweep.running import yaml_of
from bench.app.sweep.study import study_of
from bench.runs import manifest
from bench.types import UserError
from tests.commands import bench

HERE = Path(__file__).parents[2] / "fixtures" / "imported"
FILES = [path for path in sorted(HERE.iterdir()) if path.suffix in (".json", ".jsonl")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    place = tmp_path_factory.mktemp("imported")
    made = imports.import_files(FILES, place, "m")
    return {path.name: Path(each.folder) for path, each in zip(FILES, made, strict=True)}


def test_a_run_folder_says_of_itself_that_it_was_imported_and_what_is_missing(folders: dict[str, Path]) -> None:
    for name, folder in folders.items():
        run, summary = manifest.read(folder), summaries.read(folder)
        assert run.imported is not None
        assert run.imported.file == name
        assert summary.verdict.status == "not verifiable"
        assert {"no_schedule", "no_client", "no_plan", "no_server"} <= summary.verdict.codes
        assert run.seed is None and run.timeout_s is None and summary.client.lag_ms.p99 is None


def test_its_report_has_what_is_missing_and_nothing_of_a_client_of_ours(folders: dict[str, Path]) -> None:
    for folder in folders.values():
        page = results.write_report(folder).read_text()
        assert "Not verifiable" in page and "Keys without an equivalent here" in page
        assert "How it was measured" not in page and "bench.py selftest" not in page


def test_two_tools_are_compared_and_nothing_is_decided_without_their_requests(folders: dict[str, Path]) -> None:
    vllm, aiperf = folders["vllm-0.32.0.json"], folders["aiperf-0.13.0.json"]
    found = compare_runs([[vllm], [aiperf]], JudgeOptions())
    assert found.verdict == "inconclusive"
    assert any("imported" in warning for warning in found.warnings)
    assert any("not verifiable" in warning for warning in found.warnings)
    # A run is the same as itself, whoever made it.
    for run in folders.values():
        same = compare_runs([[run], [run]], JudgeOptions())
        assert isinstance(same, Comparison)
        assert all((change.change, change.verdict) == (0.0, "same") for change in same.changes)


def test_breakeven_takes_an_imported_run_and_warns(folders: dict[str, Path]) -> None:
    told = bench(
        "breakeven", "--self", folders["vllm-rs-0.33.0.json"], "--usd-per-hour", "2", "--versus", "claude-haiku-4-5"
    )
    assert told.returncode == 0, told.stderr
    assert "30.4 requests/s" in told.stdout and "not verifiable" in told.stdout


def test_a_sweeps_page_shows_an_imported_run_as_a_contender_and_its_copy_of_the_study_has_it(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    theirs = {"name": "theirs", "imported": {"c4": str(folders["vllm-rs-0.33.0.json"])}}
    ours = {"name": "ours", "backend": "openai", "url": "http://127.0.0.1:9"}
    content = {"contenders": [ours, theirs], "loads": [{"name": "c4", "concurrency": 4}]}
    study = study_of(yaml.safe_load(yaml_of(study_of(content))))
    assert study == study_of(content)
    assert [cell.name for cell in cells_of(study)] == ["ours/c4-01"]
    shown = conclude(study, tmp_path).data
    (load,) = shown["contenders"][1]["loads"]
    assert (load["verdict"], shown["contenders"][1]["backend"]) == ("not verifiable", "vllm-bench")
    assert "theirs serves most, 487 tokens/s" in shown["answer"]


@pytest.mark.parametrize(
    ("imported", "says"),
    [({"c5": "x"}, "expected one of c4, got 'c5'"), ("x", "the load's name"), ({"c4": "x"}, "all")],
)
def test_what_a_study_says_of_imported_runs_is_checked(imported: Any, says: str) -> None:
    others = [] if says == "all" else [{"backend": "llamacpp"}]
    content = {"contenders": [{"imported": imported}, *others], "loads": [{"name": "c4", "concurrency": 4}]}
    with pytest.raises(UserError, match=says):
        study_of(content)


def test_there_is_nothing_to_decode_of_it(folders: dict[str, Path]) -> None:
    with pytest.raises(UserError, match="import it again"):
        results.summarise(folders["aiperf-0.13.0.json"])


def test_nothing_is_made_where_one_file_is_none(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{")
    told = bench("import", FILES[0], bad, "--out", tmp_path / "out")
    assert (told.returncode, told.stderr.count("\n")) == (2, 1)
    assert not (tmp_path / "out").exists()


def test_the_command_lists_what_it_made(tmp_path: Path) -> None:
    told = bench("import", HERE / "vllm-0.32.0.json", "--out", tmp_path / "one")
    assert told.returncode == 0, told.stderr
    assert str(tmp_path / "one") in told.stdout and "vLLM bench serve" in told.stdout
    assert (tmp_path / "one" / "report.html").exists()


def test_crosscheck_wants_a_run_of_ours_and_to_know_which_result(folders: dict[str, Path]) -> None:
    told = bench("crosscheck", folders["aiperf-0.13.0.json"], FILES[0])
    assert (told.returncode, told.stderr.count("\n")) == (2, 1)
    assert "expected a run of this tool" in told.stderr
