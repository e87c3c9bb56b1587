"""`bench.py compare` as its user meets it: what it reads, prints, writes and exits with."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow.parquet as pq
import pytest

from bench.cli import compare as command
from bench.runs import folder
from bench.types import UserError
from tests.summaries import summarize

Write = Callable[..., Path]
Call = Callable[..., tuple[int, str]]


@pytest.fixture
def write(synthetic_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """`write(name, **options of a synthetic run) -> its folder`, below the working directory."""
    monkeypatch.chdir(tmp_path)

    def build(name: str, **options: Any) -> Path:
        run, requests, telemetry = synthetic_run(tokens=8, rate_per_s=20.0, gpus=0, **options)
        path = Path(name)
        path.mkdir(parents=True)
        folder.write_json(path / folder.RUN, run)
        folder.write_json(path / folder.SUMMARY, summarize(run, requests, telemetry))
        pq.write_table(requests, path / folder.REQUESTS)
        return path

    return build


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Call:
    """`call(*arguments) -> (exit code, standard output)`."""

    def run(*arguments: str) -> tuple[int, str]:
        code = command.compare.main(list(arguments), standalone_mode=False)
        return int(code), capsys.readouterr().out

    return run


def repeats(write: Write, name: str, **options: Any) -> None:
    for seed in range(1, 6):
        write(f"{name}/{seed}", seed=seed, **options)


def test_folders_of_runs_are_compared_run_by_run_and_a_slower_candidate_exits_with_one(
    write: Write, call: Call
) -> None:
    repeats(write, "before")
    repeats(write, "after", ttft_ms=96.0)
    code, out = call("before", "after")
    assert code == 1
    lines = out.splitlines()
    assert next(line for line in lines if line.startswith("ttft_ms:p50")).split()[-1] == "worse"
    assert next(line for line in lines if line.startswith("itl_ms:p50")).split()[-1] == "same"
    assert any(line.startswith("verdict     Worse: 0 better, ") for line in lines)
    assert "The unit is the run" in out


def test_the_table_fits_a_terminal_of_110_columns(write: Write, call: Call) -> None:
    write("a-run-with-a-long-name", seed=1, prompt_tokens=10**6)
    write("b", seed=2, ttft_ms=123_456.789, itl_ms=12_345.6789)
    _, out = call("a-run-with-a-long-name", "b", "--different-plans")
    last_words = {"verdict", "worse", "better", "same", "inconclusive"}
    table = [line for line in out.splitlines() if line.split()[-1:] and line.split()[-1] in last_words]
    assert len(table) > 5
    assert max(map(len, table)) <= 110


def test_a_run_compared_with_itself_is_the_same_and_exits_with_zero(write: Write, call: Call) -> None:
    write("run")
    code, out = call("run", "run", "--json", "--inconclusive", "fail")
    found = json.loads(out)
    assert (code, found["verdict"], found["unit"]) == (0, "same", "block")
    assert {change["verdict"] for change in found["changes"]} == {"same"}


def test_inconclusive_passes_unless_it_is_to_fail(write: Write, call: Call) -> None:
    write("a", seed=1, jitter=0.8)
    write("b", seed=2, jitter=0.8)
    code, out = call("a", "b")
    assert code == 0
    assert "verdict     Inconclusive" in out
    assert call("a", "b", "--inconclusive", "fail")[0] == 1


def test_it_writes_markdown_junit_and_a_page(write: Write, call: Call) -> None:
    write("a", seed=1, requests=1000)
    write("b", seed=2, requests=1000, ttft_ms=160.0)
    code, out = call("a", "b", "--format", "markdown", "--junit", "junit.xml", "--html", "page.html")
    assert code == 1
    assert "\n**Worse: " in out
    assert "ttft_ms:p50" in {case.get("name") for case in ElementTree.parse("junit.xml").iter("testcase")}
    assert "Comparison of runs" in Path("page.html").read_text(encoding="utf-8")


def test_several_runs_with_commas_between_are_one_side(write: Write, call: Call) -> None:
    for name in "abcdef":
        write(name, seed=ord(name))
    _, out = call("a,b,c", "d,e,f", "--json")
    found = json.loads(out)
    assert [run["name"] for run in found["base"]] == ["a", "b", "c"]
    assert [run["name"] for run in found["candidate"]] == ["d", "e", "f"]


def test_three_sides_are_compared_pair_by_pair_as_text_a_page_markdown_csv_and_json(write: Write, call: Call) -> None:
    repeats(write, "a")
    repeats(write, "b", ttft_ms=160.0)
    repeats(write, "c")
    code, out = call("a", "b", "c", "--html", "page.html", "--junit", "junit.xml")
    assert code == 1
    assert "between 3 sides (3 pairs): " in out
    best = next(line for line in out.splitlines() if line.startswith("ttft_ms:p50")).split()
    assert best[-2:] == ["A", "C"]
    assert "B ttft_ms:p50" in {case.get("name") for case in ElementTree.parse("junit.xml").iter("testcase")}
    page = Path("page.html").read_text(encoding="utf-8")
    assert page.count("A to B: ") == page.count("B to C: ") == 1
    found = json.loads(call("a", "b", "c", "--json")[1])
    assert [(pair["base"], pair["candidate"]) for pair in found["pairs"]] == [("A", "B"), ("A", "C"), ("B", "C")]
    rows = list(csv.DictReader(call("a", "b", "c", "--format", "csv")[1].splitlines()))
    assert len(rows) == sum(len(pair["changes"]) for pair in found["pairs"]) == sum(found["found"].values())
    assert float(rows[0]["change"]) == found["pairs"][0]["changes"][0]["change"]
    assert "| ttft\\_ms:p50 |" in call("a", "b", "c", "--format", "markdown")[1]


def test_a_candidate_with_another_plan_is_named(write: Write, call: Call) -> None:
    write("a", seed=1)
    write("b", seed=2)
    path = write("c", seed=3)
    run = folder.read_json(path, folder.RUN)
    folder.write_json(path / folder.RUN, {**run, "plan_hash": "f" * 64})
    with pytest.raises(UserError, match="BASE and CANDIDATE 2 have different plans"):
        call("a", "b", "c")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nowhere", "run"), "BASE nowhere: expected a run folder"),
        (("run", "empty"), "CANDIDATE empty: no run found"),
        (("run", "run", "empty"), "CANDIDATE 2 empty: no run found"),
        (("run", "other", "run"), "run is on more than one side"),
        (("run", "run", "--threshold", "ttft=5%"), "--threshold 'ttft=5%'"),
        (("run", "run", "--html", "nowhere/x.html"), "--html nowhere/x.html: the folder nowhere does not exist"),
    ],
)
def test_wrong_use_is_one_line_that_names_it(write: Write, call: Call, arguments: tuple[str, ...], says: str) -> None:
    write("run")
    write("other")
    Path("empty").mkdir()
    with pytest.raises(UserError) as refused:
        call(*arguments)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_run_that_was_not_decoded_is_refused_with_what_to_do(write: Write, call: Call) -> None:
    (write("run") / folder.REQUESTS).unlink()
    with pytest.raises(UserError, match=r"bench\.py decode run"):
        call("run", "run")
