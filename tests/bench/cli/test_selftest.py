"""`bench.py selftest` as its user meets it: its table, what it keeps, and once for real."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.app.machine import hardware
from bench.app.selftest import climb, measure
from bench.app.selftest.document import document, where
from bench.app.selftest.ladder import EVENTS, REQUESTS, Ladder
from bench.app.selftest.measure import Cores, LoadResult, SelftestLoad
from bench.cli.root import cli
from bench.runs import selftests
from bench.runs.sections import dump
from bench.truth import server as truth
from bench.types import TakenStamps, UserError
from tests.bench.app.selftest.machines import Machine
from tests.golden import same_as_before

ROOT = Path(__file__).parents[3]
Shown = Callable[..., tuple[int, str, str]]
KINDS = {"events": EVENTS, "requests": REQUESTS}

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="the ground-truth server is compiled, and for Linux"
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shown:
    """`shown(machine, *arguments)` gives the exit code and what was said, with the measuring made up."""

    def call(machine: Machine, *arguments: str) -> tuple[int, str, str]:
        def made_up(case: SelftestLoad, cores: Cores, workers: int, limit_s: float, stamps: str) -> LoadResult:
            return machine.measure(KINDS[case.name], case.streams)

        monkeypatch.setattr(measure, "measure", made_up)
        monkeypatch.setattr(measure, "choose_cores", lambda workers: Cores((0,), 1))
        code = cli.main(["selftest", *arguments], standalone_mode=False)
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_the_table_has_a_line_for_each_load_and_says_what_the_limit_means_in_streams(shown: Shown) -> None:
    code, out, err = shown(Machine(client_up_to=45_000))
    assert code == 0
    assert err.splitlines()[:2] == [f"token events/s: {streams} streams, for about 6 s" for streams in (200, 400)]
    lines = out.splitlines()
    assert lines[0].startswith("1 load process on core 0, ground-truth server on core 1; ")
    first = next(line for line in lines if line.split()[:2] == ["18,476", "200"])
    assert first.split()[2:] == [
        *("0.002", "0.008", "0.020", "0.001", "0.010", "9.000", "0.50", "4.00", "30%", "0%", "0.10")
    ]
    assert "exact up to  45,000 token events/s (there the client's cores were fully busy)" in lines
    assert "that is      streams by their tokens/s: 1,500 at 30, 900 at 50, 450 at 100" in lines
    assert any("up to 800 streams at 100% of a core: first token ±0.008 ms, token gap ±0.01 ms" in one for one in lines)
    assert lines[-1].startswith("kept for the runs on this machine: ")


def test_by_itself_it_measures_packets_and_the_kernels_stamps_beside_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One table has both, each with a sentence of its own that says what is in it."""
    asked = []

    def made_up(case: SelftestLoad, cores: Cores, workers: int, limit_s: float, stamps: str) -> LoadResult:
        asked.append(stamps)
        taken: TakenStamps = "packets" if stamps == "auto" else "kernel"
        machine = Machine(exact_up_to=12_800 if taken == "packets" else 500)
        return replace(machine.measure(KINDS[case.name], case.streams), stamps=taken)

    monkeypatch.setattr(measure, "measure", made_up)
    monkeypatch.setattr(measure, "choose_cores", lambda workers: Cores((0,), 1))
    assert cli.main(["selftest"], standalone_mode=False) == 0
    assert list(dict.fromkeys(asked)) == ["auto", "kernel"]
    out, err = capsys.readouterr()
    assert "with the kernel's stamps, token events/s: 800 streams, for about 6 s" in err.splitlines()
    lines = [line.strip() for line in out.splitlines()]
    assert any(line.split()[:2] == ["packets", "12,800"] for line in lines)
    assert any(line.split()[:2] == ["kernel", "800"] for line in lines)
    said = [line for line in lines if "of a core: first token" in line]
    assert [line.split(":")[0].split() for line in said] == [
        ["packets", "stamps", "up", "to", "12,800", "streams", "at", "30%", "of", "a", "core"],
        ["kernel", "stamps", "up", "to", "400", "streams", "at", "30%", "of", "a", "core"],
    ]
    kept = [selftests.for_run(hardware(), 1, stamps) for stamps in ("packets", "kernel")]
    assert [one is not None and one.events.bounded_by for one in kept] == [None, "error"]


def test_it_reads_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    machine, cores = Machine(client_up_to=45_000), Cores((0,), 1)
    monkeypatch.setattr(measure, "measure", lambda load, *_: machine.measure(KINDS[load.name], load.streams))
    climbs = tuple(climb.climb(ladder, cores, 1, lambda _: None, "auto") for ladder in (EVENTS, REQUESTS))
    same_as_before(
        "selftest", document(climb.Selftest(1, cores, "a processor, 2 cores", climbs, {}, Path("kept.json")))
    )


@pytest.mark.parametrize(
    ("machine", "words"),
    [
        (Machine(exact_up_to=500), "above it, the client's error passes 2 ms at p99"),
        (Machine(server_up_to=10_000), "at least: the server could send no more"),
        (Machine(exact_up_to=500, others=0.4), "at least: other processes used the client's cores; repeat it"),
    ],
)
def test_a_limit_comes_with_its_reason(shown: Shown, machine: Machine, words: str) -> None:
    assert words in shown(machine)[1]


def test_what_was_found_is_kept_for_runs_with_as_many_workers(shown: Shown) -> None:
    shown(Machine(exact_up_to=500), "--workers", "2")
    kept = selftests.for_run(hardware(), 2, "kernel")
    assert kept is not None
    assert kept.events.bounded_by == "error"
    first = kept.events.steps[0]
    assert first.per_s == pytest.approx(0.97 * EVENTS.asked_per_s(200))
    assert first.error_ms == 0.01
    assert selftests.for_run(hardware(), 1, "kernel") is None


def test_json_is_all_there_is_on_standard_output_and_what_is_kept(shown: Shown, home: Path) -> None:
    code, out, err = shown(Machine(exact_up_to=500), "--json", "--quick")
    found = json.loads(out)
    assert (code, found["quick"], found["limit_ms"]) == (0, True, 2.0)
    assert err.splitlines()[0] == "token events/s: 200 streams, for about 4 s"
    assert [step["streams"] for step in found["events"]["steps"]] == [200, 800]
    assert found["events"]["streams_at_tokens_per_s"].keys() == {"30", "50", "100"}
    (file,) = (home / "llm-serving-bench").iterdir()
    assert json.loads(file.read_text()) == {"schema": 1, "selftests": {"1": found}}


def test_a_client_that_is_never_exact_is_not_to_be_trusted(shown: Shown) -> None:
    code, out, _ = shown(Machine(exact_up_to=0))
    assert code == 3
    assert "exact up to  0 token events/s" in out
    kept = selftests.for_run(hardware(), 1, "kernel")
    assert kept is not None and kept.events.limit_per_s == 0


def test_a_machine_too_busy_for_any_answer_keeps_none(shown: Shown) -> None:
    code, out, err = shown(Machine(exact_up_to=0, others=0.8))
    assert "above 2 ms at every number of streams tried, while other processes used the client's cores" in out
    assert (code, err.splitlines()[-1]) == (
        3,
        "not kept for later runs on this machine: the machine was too busy for a conclusive result",
    )
    assert selftests.for_run(hardware(), 1, "kernel") is None


def test_a_load_that_others_disturbed_is_measured_once_more(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    calm, busy = Machine(exact_up_to=500), Machine(exact_up_to=0, others=0.8)
    turns = iter([busy, calm, calm, busy, busy])

    class Changing(Machine):
        def measure(self, ladder: Ladder, streams: int) -> LoadResult:
            return next(turns, calm).measure(ladder, streams)

    _, out, _ = shown(Changing(), "--quick", "--json")
    events = json.loads(out)["events"]
    assert [(step["streams"], step["bounded_by"]) for step in events["steps"]] == [(200, None), (800, "error")]


def test_a_place_that_cannot_be_written_is_one_note_below_the_table(shown: Shown, home: Path) -> None:
    home.write_text("a file")
    code, out, err = shown(Machine(exact_up_to=500))
    assert code == 0
    assert "exact up to" in out
    assert [line.startswith("not kept for later runs on this machine: ") for line in err.splitlines()[-2:]] == [
        False,
        True,
    ]


def test_where_client_and_server_share_a_core_the_table_says_so(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    said = where(2, Cores((0,), 0), "a processor, 1 cores")
    assert said.startswith("2 load processes on core 0, which the ground-truth server shares, so")


def test_streams_stay_within_the_limit_on_open_files_and_are_enough_for_the_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import resource

    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))
    fitted = climb.fitted(REQUESTS, workers=64)
    assert (fitted.first_streams, fitted.least_streams, fitted.most_streams) == (64, 64, 960)


def test_more_workers_than_there_may_be_are_refused(shown: Shown) -> None:
    with pytest.raises(UserError, match="--workers: must be from 1 to 64, got 65"):
        shown(Machine(), "--workers", "65")


def test_without_a_compiler_it_says_what_to_install(shown: Shown, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(Path("nowhere").absolute()))
    with pytest.raises(UserError, match="needs a C compiler"):
        shown(Machine())


@pytest.mark.slow
@pytest.mark.clock
def test_a_selftest_of_small_loads_is_carried_by_the_next_run(home: Path, tmp_path: Path) -> None:
    small = """
from dataclasses import replace
from bench.cli import main
from bench.app.selftest import ladder

ladder.EVENTS = replace(ladder.EVENTS, first_streams=4, most_streams=4, seconds=1.7)
ladder.REQUESTS = replace(ladder.REQUESTS, first_streams=2, most_streams=4, seconds=0.5)

if __name__ == "__main__":
    main()
"""
    (tmp_path / "small.py").write_text(small)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def program(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, *arguments]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)

    done = program(str(tmp_path / "small.py"), "selftest", "--json")
    assert done.returncode in (0, 3), done.stderr  # a machine too busy is not to be trusted, and says so
    found = json.loads(done.stdout)
    first = found["events"]["steps"][0]
    assert 0 < first["events_per_s"] <= 4 / 0.84 * 80 * 1.05
    assert first["requests_per_s"] > 0
    assert first["lost"] == 0
    assert first["first_token"]["p50_ms"] < 2
    assert 0 < first["cpu_fraction"] < 1
    if done.returncode == 3:
        selftests.keep(hardware(), found)

    out = tmp_path / "run"
    with truth.launch(truth.TruthOptions(ttft_ms=20, gap_ms=2, tokens=8)) as server:
        load = ["--concurrency", "2", "--requests", "20", "--output-tokens", "8", "--out", str(out)]
        where = ["--backend", "openai", "--url", server.url, "--model", "truth", "--scenario", "smoke"]
        ran = program("bench.py", "run", *where, *load)
    assert ran.returncode == 0, ran.stderr
    carried: dict[str, Any] = json.loads((out / "run.json").read_text())["selftest"]
    assert carried == dump(selftests.for_run(hardware(), 1, found["stamps"]))
    assert carried["measured_at"] == found["measured_at"]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["client"]["selftest"]["measured_at"] == found["measured_at"]
    assert "error unknown" not in ran.stdout
