"""Pages in folders: which of them link to each other, who carries the charts' library, and what a copy of one shows."""

from pathlib import Path

import pytest

from analysis.present import chart_library, to_html
from analysis.present.document import Document
from analysis.present.pages import Link
from bench.app.around import around, share_library

BUNDLE = chart_library.BUNDLE.name


def campaign(folder: Path, marker: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "campaign.json").write_text("{}")
    (folder / marker).write_text("{}")
    return folder


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results"


def test_a_page_links_to_those_above_it_by_what_lies_there(results: Path) -> None:
    study = campaign(results / "my study", "study.yaml")
    search = campaign(study / "vllm" / "capacity", "capacity.json")
    for folder in (results / "run", study / "vllm" / "c1-01", search / "rate-1-1"):
        folder.mkdir(parents=True)
    share_library(study)
    share_library(search)
    assert not (search / BUNDLE).exists()
    alone, of_study = around(results / "run" / "report.html"), around(study / "study.html")
    assert alone == (None, (Link("all runs", "../index.html"),), "run/report.html")
    assert of_study == (None, (Link("all runs", "../index.html"),), "my study/study.html")
    cell = around(study / "vllm" / "c1-01" / "report.html")
    assert cell.library == f"../../{BUNDLE}"
    assert cell.above == (Link("all runs", "../../../index.html"), Link("the study", "../../study.html"))
    deepest = around(search / "rate-1-1" / "report.html")
    assert deepest.library == f"../../../{BUNDLE}"
    assert [link.text for link in deepest.above] == ["all runs", "the study", "the search"]
    assert around(search / "capacity.html").library == f"../../{BUNDLE}"


def test_only_results_of_the_folder_one_is_in_and_those_with_a_page_are_linked_to(
    results: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "run").mkdir(parents=True)
    assert around(elsewhere / "run" / "report.html").above == ()
    (elsewhere / "index.html").touch()
    assert around(elsewhere / "run" / "report.html").above == (Link("all runs", "../index.html"),)
    # A library that no campaign of ours has laid there is not used.
    (elsewhere / BUNDLE).write_text("theirs")
    assert around(elsewhere / "run" / "report.html").library is None


def test_names_of_folders_do_nothing_in_an_address(results: Path) -> None:
    odd = campaign(results / 'a"b<c>#d?e%20' / "x", "repeats.json")
    (odd / "01").mkdir()
    page = to_html.render(Document(title="t"), around(odd / "01" / "report.html"))
    assert 'href="../repeats.html"' in page
    assert '"b<c>' not in page
    assert around(odd / "repeats.html").above == (Link("all runs", "../../index.html"),)
