"""What files are as types: any file of a type comes back with all its keys and values, and what is none says so."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.run.summary import RunSummary
from bench.runs import manifest
from bench.runs.manifest import RunManifest
from bench.runs.sections import JsonSection, dump, load
from bench.types import UserError
from tests.files import ANYTHING, documents, keeps

FIXTURES = Path(__file__).parents[2] / "fixtures"
KINDS = {"run.json": RunManifest, "summary.json": RunSummary}
FILES = sorted(path for name in KINDS for path in FIXTURES.rglob(name))

each_kind = pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)


@each_kind
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_any_file_keeps_its_keys_and_values(kind: type[JsonSection], data: st.DataObject) -> None:
    content = data.draw(documents(kind))
    loaded = load(kind, content, "file")
    assert keeps(content, dump(loaded))
    assert load(kind, dump(loaded), "file") == loaded


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FIXTURES)))
def test_a_real_file_is_written_again_byte_for_byte(path: Path) -> None:
    loaded: Any = load(KINDS[path.name], orjson.loads(path.read_bytes()), path)
    assert orjson.dumps(dump(loaded), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE) == path.read_bytes()


@each_kind
@given(content=ANYTHING)
@settings(max_examples=25, deadline=None)
def test_what_is_no_such_file_is_one_line_that_names_it(kind: type[JsonSection], content: Any) -> None:
    with pytest.raises(UserError, match=r"^results/a\.json: .*expected") as raised:
        load(kind, content, "results/a.json")
    assert "\n" not in str(raised.value)


@dataclass(frozen=True, slots=True)
class Wheel(JsonSection):
    spokes: int
    size: float | None = None


@dataclass(frozen=True, slots=True)
class Cart(JsonSection):
    wheels: tuple[Wheel, ...]
    pair: tuple[float | None, float | None] = (None, None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({}, "expected a key 'wheels', there is none"),
        ({"wheels": [{"spokes": 3}, {"spokes": "3"}]}, "wheels[1].spokes: expected a whole number, found '3'"),
        ({"wheels": [{"spokes": True}]}, "wheels[0].spokes: expected a whole number, found True"),
        ({"wheels": [{"spokes": 3, "size": "large"}]}, "wheels[0].size: expected a number, found 'large'"),
        ({"wheels": {}}, "wheels: expected a list, found {}"),
        ({"wheels": [], "pair": [1]}, "pair: expected a list of 2, found [1]"),
    ],
)
def test_a_wrong_value_is_named_by_its_place(content: Any, said: str) -> None:
    with pytest.raises(UserError) as raised:
        load(Cart, content, "cart.json")
    assert str(raised.value).startswith("cart.json: ")
    assert said in str(raised.value)


def test_a_whole_number_stays_one_where_a_number_is_expected() -> None:
    assert dump(load(Wheel, {"spokes": 3, "size": 1}, "wheel.json"))["size"] == 1
    assert isinstance(load(Wheel, {"spokes": 3, "size": 1}, "wheel.json").size, int)


def test_an_old_manifest_has_unknowns_where_later_versions_have_keys(tmp_path: Path) -> None:
    content = orjson.loads((FIXTURES / "run/run.json").read_bytes())
    late = (
        "options", "adapted", "rehearsal", "cache", "window", "pricing", "spending", "body_bytes_max", "backoff",
        "quick_ack", "stamps", "nagle", "selftest", "packets", "stopped", "capture_torn_bytes", "clock_step_ns", "cut",
    )  # fmt: skip
    (tmp_path / "run.json").write_bytes(orjson.dumps({key: content[key] for key in content if key not in late}))
    found = manifest.read(tmp_path)
    assert {getattr(found, name) for name in late} == {None}


def test_a_manifest_of_another_version_is_refused(tmp_path: Path) -> None:
    content = orjson.loads((FIXTURES / "run/run.json").read_bytes())
    (tmp_path / "run.json").write_bytes(orjson.dumps({**content, "schema": 2}))
    with pytest.raises(UserError, match="another version"):
        manifest.read(tmp_path)
