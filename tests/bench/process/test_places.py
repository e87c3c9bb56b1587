"""Where a user's files lie, with a home, without one, and with one that is another's."""

from pathlib import Path

import pytest

from bench.process import places
from bench.types import UserError

NO_HOME = "neither HOME nor an entry in the list of users"


@pytest.fixture(autouse=True)
def _nothing_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()


def no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def home() -> Path:
        raise RuntimeError(NO_HOME)

    monkeypatch.setattr(Path, "home", home)


def test_files_lie_where_the_specification_has_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert places.cache() == tmp_path / ".cache/llm-serving-bench"
    assert places.config() == tmp_path / ".config/llm-serving-bench"
    assert places.state() == tmp_path / ".local/state/llm-serving-bench"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "mine"))
    assert places.cache() == tmp_path / "mine/llm-serving-bench"
    monkeypatch.setenv("XDG_CACHE_HOME", "not/absolute")
    assert places.cache() == tmp_path / ".cache/llm-serving-bench"


def test_a_user_without_a_home_has_a_folder_of_their_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_home(monkeypatch)
    folder = places.cache()
    assert folder.is_relative_to(tmp_path / "tmp")
    assert next((tmp_path / "tmp").iterdir()).stat().st_mode & 0o777 == 0o700
    assert places.cache() == folder


@pytest.mark.parametrize("home", ["relative", "", "/no/such/folder"])
def test_a_home_that_is_none_is_as_no_home(home: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path(home))
    assert places.state().is_relative_to(tmp_path / "tmp")


def test_a_folder_that_others_can_write_is_not_trusted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    no_home(monkeypatch)
    places.cache()
    next((tmp_path / "tmp").iterdir()).chmod(0o777)
    with pytest.raises(UserError, match="expected a folder of this user's alone; set HOME"):
        places.cache()


def test_a_home_whose_name_is_no_text_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    home = tmp_path / "b\udcffd"
    home.mkdir()
    monkeypatch.setattr(Path, "home", lambda: home)
    with pytest.raises(UserError, match="expected a name in UTF-8; set XDG_CACHE_HOME to another folder"):
        places.cache()
