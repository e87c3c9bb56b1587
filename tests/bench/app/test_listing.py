"""What lies in results: whatever is there is listed, at any time, by any number of commands, and kept as a page."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.present import index_page
from analysis.run.summary import RunSummary
from bench.app import listing as app
from bench.app.listing import ROOT, folder_of, lines_of, listing
from bench.types import UserError
from tests.files import ANYTHING, documents
from tests.summaries import MANIFEST, SUMMARY

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """`make(name, minute, **more)` leaves a run in results, begun at that minute; `done=False` one without results."""
    monkeypatch.chdir(tmp_path)

    def call(name: str, minute: int = 0, *, done: bool = True, **more: Any) -> Path:
        folder = tmp_path / ROOT / name
        folder.mkdir(parents=True, exist_ok=True)
        run = {**MANIFEST, "schema": 1, "created_at": f"2026-01-01T00:{minute:02}:00+00:00", **more}
        (folder / "run.json").write_bytes(orjson.dumps(run))
        if done:
            (folder / "summary.json").write_bytes(orjson.dumps({**SUMMARY, "schema": 1}))
            (folder / "report.html").touch()
        return folder

    return call


def names(root: Path = ROOT) -> list[str]:
    return [line.name for line in lines_of(root, {})]


def written_page() -> Path:
    page = listing().page
    assert page is not None
    return page


def test_runs_are_listed_newest_first_with_what_they_say(make: Make) -> None:
    make("b", 2, backend="vllm", model="mistral-7b")
    make("a", 1)
    make("z", 0, done=False, interrupted=True, stopped="the server is gone")
    found = lines_of(ROOT, {})
    assert [(line.name, line.status, line.page) for line in found] == [
        ("b", "valid", "b/report.html"), ("a", "valid", "a/report.html"), ("z", "unfinished", None),
    ]  # fmt: skip
    assert (found[0].backend, found[0].model, found[0].load) == ("vllm", "mistral-7b", found[1].load)
    assert found[2].said == "stopped early: the server is gone"


def test_a_folder_of_runs_is_one_line_and_says_what_its_file_says(make: Make, tmp_path: Path) -> None:
    for name, file, content in (
        ("rep", "repeats.json", {**SUMMARY, "schema": 1}),
        ("cap", "capacity.json", {"schema": 1, "asked": {}, "capacity": {"rate_per_s": 2.25}}),
        ("ab", "ab.json", {"schema": 1, "asked": {}, "comparison": {"verdict": "worse"}}),
        ("gate", "gate.json", {"schema": 1, "verdict": "passed"}),
        ("sweep", "study.json", {"schema": 1, "answer": "x is cheapest", "contenders": []}),
        ("begun", "capacity.json", {"schema": 1, "asked": {}}),
    ):
        for number, part in enumerate(("01", "x/02", "unfinished/01-1")):
            make(f"{name}/{part}", number)
        (tmp_path / ROOT / name / file).write_bytes(orjson.dumps(content))
        (tmp_path / ROOT / name / "campaign.json").write_text("{}")
    (tmp_path / ROOT / "sweep" / "study.yaml").touch()
    found = {line.name: (line.kind, line.status, line.said, line.runs) for line in lines_of(ROOT, {})}
    assert found == {
        "rep": ("repeats", "valid", "", 2),
        "cap": ("capacity", "found", "2.25 requests/s meet the objectives", 2),
        "ab": ("ab", "worse", "", 2),
        "gate": ("gate", "passed", "", 2),
        "sweep": ("sweep", "found", "x is cheapest", 2),
        "begun": ("capacity", "unfinished", "no results yet; after a crash, bench.py decode makes them", 2),
    }


# --- whatever lies there ----------------------------------------------------------------------------------------------

CONTENTS = (documents(RunSummary, strange=False) | ANYTHING | st.just(MANIFEST) | st.just(SUMMARY)).map(
    lambda content: orjson.dumps({"schema": 1, **content} if isinstance(content, dict) else content)
) | st.binary(max_size=20)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(["run.json", "summary.json", "repeats.json", "study.yaml", "study.json", "x"]),
                       st.none() | CONTENTS, max_size=4),
       st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=6))  # fmt: skip
def test_whatever_a_folder_holds_it_is_one_line_or_none_and_the_page_keeps_it(
    tmp_path_factory: pytest.TempPathFactory, content: dict[str, bytes | None], name: str
) -> None:
    root = tmp_path_factory.mktemp("r")
    folder = root / "-".join(["f", name.strip(".") or "x"])
    folder.mkdir()
    for file, data in content.items():
        (folder / file).mkdir() if data is None else (folder / file).write_bytes(data)
    found = listing(root)
    heads = {"run.json", "repeats.json", "study.yaml"} & content.keys()
    assert len(found.lines) == bool(heads)
    if heads:
        assert found.page is not None
        page = found.page.read_bytes()
        assert index_page.read(page) == found.lines
        assert page.count(b"</script>") == 2  # ours: that of the lines, and the one that draws them
        assert "\u202e" not in page.decode()
    assert lines_of(root, {line.name: line for line in found.lines}) == found.lines == lines_of(root, {})


def test_what_would_block_or_lead_astray_is_neither_read_nor_followed(make: Make, tmp_path: Path) -> None:
    inside = make("run", 1)
    elsewhere = tmp_path / "elsewhere" / "theirs"
    shutil.copytree(inside, elsewhere)
    root = tmp_path / ROOT
    targets = {"again": inside, "loop": root, "up": tmp_path, "theirs": elsewhere, "gone": Path("/none")}
    for link, target in targets.items():
        (root / link).symlink_to(target)
    (root / "pipe").mkdir()
    os.mkfifo(root / "pipe" / "run.json")
    make("summary-pipe", 0, done=False)
    os.mkfifo(root / "summary-pipe" / "summary.json")
    make("deep/er/run")
    make("too/deep/for/us/run")
    assert sorted(names()) == ["deep/er/run", "pipe", "run", "summary-pipe", "theirs"]
    assert {line.name: line.status for line in lines_of(ROOT, {})}["pipe"] == "broken"


def test_a_line_is_read_again_exactly_when_one_of_its_files_has_changed(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        make(f"r{number}", number)
    known = {line.name: line for line in listing().lines}
    read = list[str]()
    content = app._content

    def noted(folder: Path, name: str) -> dict[str, object]:
        read.append(folder.name)
        return content(folder, name)

    monkeypatch.setattr(app, "_content", noted)
    assert {line.name: line for line in lines_of(ROOT, known)} == known
    assert read == []
    make("r2", 9, backend="vllm")
    again = lines_of(ROOT, known)
    assert set(read) == {"r2"}
    assert again == lines_of(ROOT, {})


# --- the page ---------------------------------------------------------------------------------------------------------


def test_commands_that_end_together_leave_a_page_with_all_of_their_runs(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has looked and not yet written is overtaken by another, who writes first."""
    make("first", 1)
    render, others = index_page.render, ["second", "third"]

    def overtaken(lines: Any, root: str) -> str:
        if others:
            make(others.pop(), 2)
            listing()
        return render(lines, root)

    monkeypatch.setattr(index_page, "render", overtaken)
    found = listing()
    assert found.page is not None
    assert {line.name for line in index_page.read(found.page.read_bytes())} == {"first", "second", "third"}
    assert sorted(path.name for path in ROOT.iterdir()) == ["first", "index.html", "second", "third"]


def test_a_page_that_says_it_all_is_not_written_again_and_none_is_begun_for_nothing(make: Make, tmp_path: Path) -> None:
    (tmp_path / ROOT / "baselines").mkdir(parents=True)
    assert listing() == app.Listing(())
    assert not (tmp_path / ROOT / "index.html").exists()
    run = make("run")
    page = written_page()
    written = page.stat().st_ino
    assert listing().page == page
    assert page.stat().st_ino == written
    shutil.rmtree(run)
    assert listing().lines == ()
    assert index_page.read(page.read_bytes()) == ()


def test_a_page_of_somebody_else_is_left_as_it_is(make: Make, tmp_path: Path) -> None:
    make("run")
    page = tmp_path / ROOT / "index.html"
    page.write_text("<h1>mine</h1>")
    found = listing()
    assert (len(found.lines), found.page) == (1, None)
    assert found.problem == "results/index.html is not written: a page not written by this tool is in its place"
    assert page.read_text() == "<h1>mine</h1>"


@pytest.mark.parametrize("broken", ["", '{"root": 1, "columns": [], "rows": [[1]]}', '{"rows": [[null]]}'])
def test_a_page_of_ours_that_was_damaged_is_made_anew(make: Make, broken: str) -> None:
    make("run")
    page = written_page()
    whole = page.read_text()
    before, begin, _ = whole.partition(index_page._BEGIN)
    page.write_text(f"{before}{begin}{broken}</script>")
    listing()
    assert page.read_text() == whole


# --- latest -----------------------------------------------------------------------------------------------------------


def test_latest_is_the_newest_that_fits_and_a_folder_of_that_name_comes_first(make: Make, tmp_path: Path) -> None:
    make("old", 1)
    make("new", 2)
    make("cut", 3, done=False)
    (make("search/rate-1-1", 4).parent / "capacity.json").write_text('{"schema": 1, "capacity": {"rate_per_s": 1}}')
    assert folder_of("latest", "run") == "results/new"
    assert folder_of("latest~1", "run") == "results/old"
    assert folder_of("latest", "run", is_concluded=False) == "results/cut"
    assert folder_of("latest", "run", "capacity") == "results/search"
    for other in ("results/latest", "latest~x", "2..3", "latests", "./latest"):
        assert folder_of(other, "run") == other
    with pytest.raises(UserError, match=r"latest~2: expected a run with results in results, it has 2"):
        folder_of("latest~2", "run")
    (tmp_path / "latest").mkdir()
    assert folder_of("latest", "run") == "latest"


def test_without_results_latest_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="it has 0"):
        folder_of("latest", "run")
