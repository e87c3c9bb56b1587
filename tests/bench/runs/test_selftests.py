"""What a selftest found is kept for its machine and its number of workers, and anything else counts as none."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.runs import selftests
from bench.runs.manifest import Machine, MachineSelftest, SelftestLimit, SelftestStep

MACHINE = Machine(cpu="a processor", cores=8, os="Linux")
STEPS = [
    {"per_s": 20_000.0, "error_ms": 0.01, "bounded_by": None, "streams": 200},
    {"per_s": 40_000.0, "error_ms": 9.0, "bounded_by": "others", "streams": 400},
    {"per_s": 90_000.0, "error_ms": None, "bounded_by": "error", "streams": 1600},
    {"per_s": 80_000.0, "error_ms": 3.0, "bounded_by": "error", "streams": 800},
]


def found(workers: int = 1, limit_per_s: float = 20_000.0, stamps: str = "kernel") -> dict[str, Any]:
    ladder = {"limit_per_s": limit_per_s, "bounded_by": "error", "steps": STEPS}
    return {
        "measured_at": "2026-11-21T10:00:00+00:00",
        "workers": workers,
        "stamps": stamps,
        "events": ladder,
        "requests": ladder,
    }


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path


def test_a_run_gets_the_limits_and_the_errors_that_are_the_clients_own(home: Path) -> None:
    path = selftests.keep(MACHINE, found())
    assert path.parent == home / "llm-serving-bench"
    ladder = SelftestLimit(20_000.0, "error", (SelftestStep(20_000.0, 0.01), SelftestStep(80_000.0, 3.0)))
    assert selftests.for_run(MACHINE, 1, "kernel") == MachineSelftest(
        measured_at="2026-11-21T10:00:00+00:00", workers=1, events=ladder, requests=ladder
    )


def test_each_number_of_workers_has_its_own_and_the_last_one_counts() -> None:
    selftests.keep(MACHINE, found(workers=1))
    selftests.keep(MACHINE, found(workers=2, limit_per_s=1.0))
    selftests.keep(MACHINE, found(workers=2, limit_per_s=2.0))
    one, two = selftests.for_run(MACHINE, 1, "kernel"), selftests.for_run(MACHINE, 2, "kernel")
    assert one is not None and two is not None
    assert (one.events.limit_per_s, two.events.limit_per_s) == (20_000.0, 2.0)
    assert selftests.for_run(MACHINE, 4, "kernel") is None


def test_packet_stamps_have_their_own() -> None:
    selftests.keep(MACHINE, found(limit_per_s=1.0))
    selftests.keep(MACHINE, found(limit_per_s=2.0, stamps="packets"))
    limits = [selftests.for_run(MACHINE, 1, stamps) for stamps in ("kernel", "packets")]
    assert [each.events.limit_per_s for each in limits if each is not None] == [1.0, 2.0]
    assert selftests.for_run(MACHINE, 2, "packets") is None


@pytest.mark.parametrize("other", [{"cpu": "another"}, {"cores": 16}])
def test_another_machine_with_the_same_home_has_none(other: dict[str, Any]) -> None:
    selftests.keep(MACHINE, found())
    assert selftests.for_run(replace(MACHINE, **other), 1, "kernel") is None


def test_the_name_of_the_file_does_not_tell_the_machines(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftests, "_machine", lambda: "alices-laptop")
    name = selftests.keep(MACHINE, found()).name
    monkeypatch.setattr(selftests, "_machine", lambda: "bobs-laptop")
    assert selftests.keep(MACHINE, found()).name != name
    assert "alice" not in name


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{broken",
        "[]",
        '{"schema": 2, "selftests": {}}',
        '{"schema": 1}',
        '{"schema": 1, "selftests": []}',
        '{"schema": 1, "selftests": {"1": {"measured_at": "today"}}}',
        '{"schema": 1, "selftests": {"1": {"measured_at": "today", "events": {"limit_per_s": "many"}}}}',
        '{"schema": 1, "selftests": {"1": 7}}',
    ],
)
def test_a_file_that_cannot_be_read_counts_as_none_and_is_overwritten(content: str) -> None:
    path = selftests.path(MACHINE)
    path.parent.mkdir()
    path.write_text(content)
    assert selftests.for_run(MACHINE, 1, "kernel") is None
    selftests.keep(MACHINE, found())
    assert selftests.for_run(MACHINE, 1, "kernel") is not None


def test_without_a_place_of_its_own_it_lies_in_the_users_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(home))
    assert selftests.path(MACHINE).parent == home / ".local/state/llm-serving-bench"
