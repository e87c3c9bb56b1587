import json
import re
from pathlib import Path

import pytest

from bench.runs import folder
from bench.types import UserError


def test_run_ids_sort_by_time_and_are_safe_as_folder_names() -> None:
    name = folder.new_run_id("openai", "/models/My model: v1.gguf", "chat")
    assert re.fullmatch(r"\d{8}-\d{6}-openai-My-model--v1-chat-[0-9a-f]{4}", name)
    assert re.fullmatch(r"\d{8}-\d{6}-openai-model-chat-[0-9a-f]{4}", folder.new_run_id("openai", "..", "chat"))


def test_a_new_folder_is_made_with_its_parents_and_stays(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    with folder.new(out):
        (out / folder.RUN).touch()
    assert sorted(path.name for path in out.iterdir()) == [folder.CAPTURE, folder.RUN]


def test_an_empty_folder_that_was_there_may_be_used(tmp_path: Path) -> None:
    with folder.new(tmp_path):
        assert (tmp_path / folder.CAPTURE).is_dir()


def test_a_folder_is_gone_when_the_run_fails_before_its_load(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(UserError), folder.new(out):
        (out / folder.LOAD_LOG).touch()
        (out / folder.CAPTURE / "worker-0.cap").touch()
        raise UserError("no")
    assert not out.exists()


def test_what_the_error_names_is_left_of_a_failed_run(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(UserError), folder.new(out):
        (out / folder.LOAD_LOG).touch()
        (out / folder.SERVER_LOG).write_text("why")
        raise UserError(f"the server died; see {out / folder.SERVER_LOG}")
    assert [path.name for path in out.iterdir()] == [folder.SERVER_LOG]


def test_folders_that_cannot_serve_are_the_users_error_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for out, message in (
        (tmp_path, "expected a new or empty folder, this one has files in it"),
        (tmp_path / "file", "expected a new or empty folder, this is a file"),
        (tmp_path / "file" / "below", "Not a directory; choose a folder that can be written"),
        (Path("/proc/run"), "No such file or directory; choose a folder that can be written"),
    ):
        with pytest.raises(UserError, match=re.escape(f"--out {out}: {message}")), folder.new(out):
            pass
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_takes_its_place_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file"
    folder.write_text(path, "old")
    with pytest.raises(ZeroDivisionError), folder.whole(path) as partial:
        partial.write_text("half of the n")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_the_disk_does_not_take_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no/such/run\.json cannot be written: No such file or directory; make room"):
        folder.write_json(tmp_path / "no" / "such" / "run.json", {})


def test_json_comes_back_as_it_was_written(tmp_path: Path) -> None:
    content = {"schema": folder.SCHEMA, "nested": {"none": None, "text": "é"}}
    folder.write_json(tmp_path / folder.RUN, content)
    assert folder.read_json(tmp_path, folder.RUN) == content == json.loads((tmp_path / folder.RUN).read_bytes())


def test_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"is not a run folder: run\.json: No such file or directory"):
        folder.read_json(tmp_path, folder.RUN)
    (tmp_path / folder.RUN).write_text("{")
    with pytest.raises(UserError, match=r"run\.json is not JSON"):
        folder.read_json(tmp_path, folder.RUN)
    with pytest.raises(UserError, match=rf"has no summary\.json; make it with: bench\.py decode {tmp_path}"):
        folder.read_json(tmp_path, folder.SUMMARY)


@pytest.mark.parametrize("content", ["[]", "{}", '{"schema": 2}'])
def test_a_run_of_another_version_is_not_misread(content: str, tmp_path: Path) -> None:
    (tmp_path / folder.RUN).write_text(content)
    with pytest.raises(UserError, match=r"run\.json: expected schema 1, found (None|2): another version"):
        folder.read_json(tmp_path, folder.RUN)
