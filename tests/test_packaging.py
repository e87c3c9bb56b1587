"""An installed package has every file that it needs beside its modules."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
DATA = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
PACKAGES = ("bench", "backends", "scenarios", "analysis")


def test_every_folder_with_modules_is_a_package() -> None:
    folders = {path.parent for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").exists()] == []


def test_every_file_that_is_no_module_is_packaged_with_one() -> None:
    packaged = {
        path
        for name, patterns in DATA.items()
        for pattern in patterns
        for path in (ROOT / name.replace(".", "/")).glob(pattern)
    }
    kept = {
        path
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert sorted(kept - packaged) == []


def test_what_is_vendored_has_its_licence_beside_it() -> None:
    vendored = [path for path in (ROOT / "analysis/present/vendor").iterdir() if path.suffix == ".js"]
    assert vendored
    for path in vendored:
        licence = path.with_name(path.name.replace(".min.js", ".LICENSE"))
        assert "Permission is hereby granted" in licence.read_text()
