"""`bench.py runs`, the page that every command leaves up to date, and `latest` in place of a folder."""

import json
import shutil
from pathlib import Path

import pytest

from analysis.present import index_page
from bench.truth.server import TruthOptions, launch
from tests.commands import bench
from tests.conftest import FIXTURES


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of results with one run in it that has no tables, where commands are given."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(FIXTURES / "run", tmp_path / "results" / "one")
    return tmp_path / "results"


def test_it_lists_prints_json_and_writes_the_page(results: Path) -> None:
    done = bench("runs")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0].split()[0] == "folder"
    assert done.stdout.splitlines()[1].startswith("one ")
    assert done.stdout.splitlines()[-1] == "page        results/index.html"
    (row,) = json.loads(bench("runs", "--json").stdout)
    summary = json.loads((FIXTURES / "run" / "summary.json").read_bytes())
    assert (row["folder"], row["kind"], row["status"]) == ("results/one", "run", summary["verdict"]["status"])
    assert row["ttft_ms_p50"] == summary["metrics"]["ttft_ms"]["p50"]
    assert index_page.read((results / "index.html").read_bytes())[0].name == "one"


def test_another_folder_can_be_named_and_none_is_no_bug(results: Path, tmp_path: Path) -> None:
    results.rename(tmp_path / "theirs")
    assert "theirs/index.html" in bench("runs", "theirs").stdout
    refused = bench("runs", "nowhere")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert bench("runs", "--json").stdout.strip() == "[]"
    assert bench("runs").returncode == 0


def test_a_terminal_shows_the_newest_and_says_how_many_more(results: Path) -> None:
    for number in range(45):
        shutil.copytree(results / "one", results / f"n{number:02}")
    assert "6 more folders: --all" in bench("runs").stdout
    assert len(json.loads(bench("runs", "--json").stdout)) == 46
    assert bench("runs", "--all").stdout.count(" run ") == 46


@pytest.mark.slow
def test_every_run_is_on_the_page_whatever_becomes_of_it_and_latest_is_it(results: Path) -> None:
    with launch(TruthOptions(ttft_ms=1, gap_ms=0.1)) as server:
        asked = (
            "run",
            "--backend",
            "openai",
            "--url",
            server.url,
            "--model",
            "truth",
            "--scenario",
            "smoke",
            "--requests",
            "4",
        )
        done = bench(*asked, "--slo", "ttft_ms:p50<0.0001")
        assert done.returncode in (1, 3), done.stderr
    newest, one = index_page.read((results / "index.html").read_bytes())
    assert (one.name, newest.backend) == ("one", "openai")
    assert (results / newest.name / "report.html").exists()
    assert bench("report", "latest").stdout.strip() == f"results/{newest.name}/report.html"
    assert newest.name in bench("decode", "latest").stdout
    assert (
        bench("report", "latest~1", "--format", "json").stdout
        == bench("report", "results/one", "--format", "json").stdout
    )


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["compare", "latest~1", "latest"], "latest~1"),
        (["compare", "latest,latest~1", "latest"], "latest~1"),
        (["report", "latest~3"], "latest~3"),
        (["decode", "latest~3"], "latest~3"),
        (["size", "tiny", "--gpu", "l4", "--measured", "latest~1"], "latest~1"),
        (["breakeven", "--self", "x=latest~1@l4", "--versus", "claude-haiku-4-5"], "latest~1"),
        (["breakeven", "--self", "2", "--gpu", "l4", "--versus", "latest~1"], "latest~1"),
        (["sweep", "latest"], "expected a sweep in results, it has 0"),
    ],
)
def test_every_argument_that_is_a_folder_of_runs_understands_latest(
    results: Path, command: list[str], says: str
) -> None:
    refused = bench(*command)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1), refused.stderr
    assert says in refused.stderr and "in results, it has" in refused.stderr


def test_a_page_that_cannot_be_written_is_said_once_and_changes_nothing_else(results: Path) -> None:
    (results / "index.html").mkdir()
    done = bench("runs")
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert done.stderr.startswith("note: results/index.html is not written: ")
    refused = bench("report", "results/nowhere")
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[0].startswith("note: ")
    assert refused.stderr.count("\n") == 2


def test_help_and_wrong_use_leave_nothing(results: Path) -> None:
    assert bench("report", "--help").returncode == 0
    assert bench("report", "--nonsense").returncode == 2
    assert not (results / "index.html").exists()
