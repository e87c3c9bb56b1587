"""`bench.py gate` as its user meets it, with rounds that are made up in place of measured ones."""

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import numpy as np
import pytest

from analysis.compare.gate import Round
from bench.app.campaign import Outcome
from bench.app.gate import rounds
from bench.app.gate.rounds import RoundEnded, RoundsObserved
from bench.cli import gate as command
from bench.types import UserError

Call = Callable[..., tuple[int, str]]

COUNTS: dict[str, int | str] = {"plan_hash": "a" * 64, "failures": 0}
FIGURES = {
    "llamacpp": {"cpu": 2.0, "tpot": 2.4, "ttft": 17.0},
    "client": {"request_cpu": 40.0, "read_cpu": 2.8, "decode_cpu": 1.8, "gap_error_ms": 0.01},
}


class Machine:
    """What is measured: `slower` by part from which round on, `counts` that differ, `measured` rounds by part."""

    def __init__(self) -> None:
        self.slower: dict[str, tuple[float, int]] = {}
        self.counts: dict[str, Any] = {}
        self.cpu: float | None = 1.0
        self.measured: list[tuple[int, tuple[str, ...]]] = []
        self.rng = np.random.default_rng(1)
        self.said = ""
        """What the last command said on standard error."""

    def round(self, number: int, parts: Sequence[str]) -> RoundsObserved:
        self.measured.append((number, tuple(parts)))
        found = RoundsObserved({}, {})
        for part in parts:
            factor, until = self.slower.get(part, (1.0, 99))
            speed = factor if number <= until else 1.0
            figures = {name: self._figure(name, value * speed) for name, value in FIGURES[part].items()}
            found.rounds[part] = [Round(COUNTS | self.counts, figures)]
        found.servers.update({"llamacpp": "llama.cpp b1"} if "llamacpp" in parts else {})
        return found

    def _figure(self, name: str, value: float) -> float | None:
        return None if self.cpu is None else value * float(np.exp(0.02 * self.rng.normal()))


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Machine:
    """The machine that the command measures, in an empty working directory."""
    made_up = Machine()

    @contextmanager
    def ready(parts: Sequence[str], folder: Path) -> Iterator[Callable[[int, Sequence[str]], RoundsObserved]]:
        (folder / "llamacpp-1").mkdir()
        yield made_up.round

    monkeypatch.setattr(rounds, "ready", ready)
    monkeypatch.setattr(rounds, "is_installed", lambda part: part != "vllm")
    monkeypatch.chdir(tmp_path)
    return made_up


@pytest.fixture
def call(machine: Machine, capsys: pytest.CaptureFixture[str]) -> Call:
    """`call(*arguments) -> (exit code, standard output)`, with the baseline that the machine has made."""

    def run(*arguments: str) -> tuple[int, str]:
        code = command.gate.main(["--baseline", "base", *arguments], standalone_mode=False)
        heard = capsys.readouterr()
        machine.said = heard.err
        return int(code), heard.out

    code, out = run("--update")
    assert (code, "baseline    base/baseline.json" in out) == (0, True)
    machine.measured.clear()
    return run


def test_what_did_not_change_passes_and_leaves_no_folder(call: Call, machine: Machine) -> None:
    code, out = call()
    assert code == 0
    assert "Passed: nothing got worse" in out
    assert "vllm is not installed; skipped" in out
    assert machine.measured == [(number, ("llamacpp", "client")) for number in range(1, 6)]
    assert list(Path("results").iterdir()) == []


def test_a_slower_engine_fails_with_its_figures_after_a_second_look_at_it_alone(call: Call, machine: Machine) -> None:
    machine.slower["llamacpp"] = (1.5, 99)
    code, out = call("--junit", "gate.xml")
    assert code == 1
    assert "again       llamacpp: looks worse, 5 rounds" in machine.said
    assert machine.measured[5:] == [(number, ("llamacpp",)) for number in range(6, 11)]
    (verdict,) = [line for line in out.splitlines() if line.startswith("verdict")]
    assert all(f"llamacpp:{name} +" in verdict for name in ("cpu", "tpot", "ttft"))
    assert "client" not in verdict
    assert ElementTree.parse("gate.xml").getroot().get("failures") == "3"
    (kept,) = Path("results").iterdir()
    assert f"folder      {kept.absolute()}" in out
    found = json.loads((kept / "gate.json").read_bytes())
    assert (found["verdict"], found["confirmed"]) == ("failed", ["llamacpp"])
    assert [len(found["rounds"][part]) for part in ("llamacpp", "client")] == [10, 5]


def test_a_slowdown_that_the_second_look_does_not_find_passes(call: Call, machine: Machine) -> None:
    machine.slower["client"] = (1.5, 5)
    code, _ = call()
    assert (code, len(machine.measured)) == (0, 10)
    assert "again       client: looks worse" in machine.said


def test_a_count_that_differs_fails_and_is_not_measured_again(call: Call, machine: Machine) -> None:
    machine.counts = {"plan_hash": "b" * 64}
    code, out = call("--part", "llamacpp")
    assert (code, len(machine.measured)) == (1, 5)
    assert "Failed: llamacpp:plan_hash different." in out


def test_beside_too_much_other_load_the_gate_says_that_it_cannot_tell(call: Call, machine: Machine) -> None:
    machine.cpu = None
    code, out = call("--part", "llamacpp")
    assert code == 3
    assert "Undecided: other load left nothing to compare for llamacpp" in out


def change_session(**changes: Any) -> None:
    path = Path("base/baseline.json")
    content = json.loads(path.read_bytes())
    content["sessions"][0] |= changes
    path.write_text(json.dumps(content))


def test_another_server_and_package_are_said(call: Call) -> None:
    content = json.loads(Path("base/baseline.json").read_bytes())["sessions"][0]
    change_session(servers={"llamacpp": "llama.cpp b0"}, packages=content["packages"] | {"xllamacpp": "1.2.3"})
    code, out = call()
    assert code == 0
    assert "llamacpp differs: the baseline's is llama.cpp b0, this is llama.cpp b1" in out
    assert "xllamacpp differs: the baseline's is 1.2.3, this is" in out


@pytest.mark.parametrize("other", [{"cpu": "Other CPU"}, {"cores": 999}, {"cpu_id": "0 0 0"}])
def test_on_an_unknown_cpu_speed_is_not_judged_counts_are_and_nothing_fails(
    call: Call, machine: Machine, other: dict[str, Any]
) -> None:
    hardware = json.loads(Path("base/baseline.json").read_bytes())["sessions"][0]["hardware"] | {"cpu_id": "1 1 1"}
    change_session(hardware=hardware | other)
    machine.slower["llamacpp"] = (3.0, 99)
    code, out = call("--junit", "gate.xml")
    assert (code, len(machine.measured)) == (0, 5)
    assert "speed is not judged: this is" in out
    assert "Speed was not judged on this CPU" in out
    assert ElementTree.parse("gate.xml").getroot().get("skipped") == "6"
    machine.counts = {"failures": 1}
    assert call()[0] == 1


def test_a_session_more_is_added_and_one_of_other_counts_is_not(call: Call, machine: Machine) -> None:
    assert call("--add")[0] == 0
    content = json.loads(Path("base/baseline.json").read_bytes())
    assert (content["schema"], len(content["sessions"])) == (2, 2)
    machine.counts = {"plan_hash": "b" * 64}
    with pytest.raises(UserError, match="--add: the counts of llamacpp differ from the other sessions'"):
        call("--add")


def test_sessions_of_another_day_allow_for_what_differs_between_days(call: Call, machine: Machine) -> None:
    change_session(made_at="2026-01-01T00:00:00+00:00")
    machine.slower["llamacpp"] = (1.35, 99)
    assert call()[0] == 0
    machine.slower["llamacpp"] = (2.5, 99)
    assert call()[0] == 1


def test_a_baseline_of_the_first_version_is_one_session(call: Call) -> None:
    path = Path("base/baseline.json")
    (session,) = json.loads(path.read_bytes())["sessions"]
    path.write_text(json.dumps({"schema": 1, **{name: x for name, x in session.items() if name != "boot_id"}}))
    assert call()[0] == 0


def test_another_revision_is_measured_by_its_own_code_before_and_again_where_it_looks_worse(
    call: Call, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands = []

    def run(command: list[str], **options: Any) -> Any:
        folder = Path(command[command.index("--baseline") + 1])
        folder.mkdir()
        shutil.copy("base/baseline.json", folder)
        commands.append((command[4:], options["cwd"]))
        return subprocess.CompletedProcess(command, 0, "", "")

    Path("tree").mkdir()
    Path("tree/bench.py").touch()
    monkeypatch.setattr(subprocess, "run", run)
    arguments = ["--against", "tree", "--part", "llamacpp", "--out", "kept"]
    assert command.gate.main(arguments, standalone_mode=False) == 0
    machine.slower["llamacpp"] = (1.5, 99)
    shutil.rmtree("kept")
    assert command.gate.main(arguments, standalone_mode=False) == 1
    assert [given[1:] for given, _ in commands] == [["--update", "--rounds", "5", "--part", "llamacpp"]] * 3
    assert {cwd for _, cwd in commands} == {Path("tree")}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "expected one of --baseline FOLDER and --against CHECKOUT"),
        (["--baseline", "base", "--against", "."], "expected one of"),
        (["--against", "nowhere"], "--against nowhere: no bench.py in it"),
        (["--against", ".", "--add"], "--update and --add need --baseline"),
        (["--baseline", "base", "--add", "--update"], "give one of them"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(machine: Machine, arguments: list[str], says: str) -> None:
    with pytest.raises(UserError, match=says):
        command.gate.main(arguments, standalone_mode=False)
    assert machine.measured == []


def test_json_and_markdown_are_all_that_standard_output_has(call: Call, machine: Machine) -> None:
    code, out = call("--json", "--quiet", "--out", "kept")
    assert (code, json.loads(out)["verdict"], machine.said) == (0, "passed", "")
    assert Path("kept/gate.json").exists()
    assert "\n**Passed: " in call("--format", "markdown")[1]


def test_no_baseline_is_said_with_what_makes_it(machine: Machine) -> None:
    with pytest.raises(
        UserError, match=r"--baseline none: cannot read its baseline\.json .* gate --baseline none --update"
    ):
        command.gate.main(["--baseline", "none"], standalone_mode=False)
    assert machine.measured == []


def test_rounds_with_failures_do_not_become_the_baseline(machine: Machine) -> None:
    machine.counts = {"failures": 3}
    with pytest.raises(UserError, match="--update: llamacpp: 3 requests failed"):
        command.gate.main(["--baseline", "base", "--update"], standalone_mode=False)
    assert not Path("base").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[", "is not a baseline"),
        ("{}", "is not a baseline"),
        ('{"schema": 2, "sessions": []}', "has no session"),
        ('{"schema": 3}', "has schema 3, expected 2"),
    ],
)
def test_a_file_that_is_no_baseline_is_refused_in_one_line(machine: Machine, content: str, says: str) -> None:
    Path("base").mkdir()
    Path("base/baseline.json").write_text(content)
    with pytest.raises(UserError) as refused:
        command.gate.main(["--baseline", "base"], standalone_mode=False)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_part_that_is_not_installed_is_refused_when_it_is_all_that_was_asked_for(call: Call) -> None:
    with pytest.raises(UserError, match="nothing left to measure: vllm is not installed"):
        call("--part", "vllm")


def test_an_unknown_part_names_the_nearest(call: Call) -> None:
    with pytest.raises(click.BadParameter, match="did you mean 'llamacpp'"):
        call("--part", "llama")


# --- what ends it early -----------------------------------------------------------------------------------------


def test_a_run_that_stops_early_is_named_and_kept_and_is_no_verdict(
    call: Call, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(number: int, parts: Sequence[str]) -> RoundsObserved:
        raise RoundEnded(Outcome("llamacpp-1", 3, "stopped early: the server is gone"))

    monkeypatch.setattr(machine, "round", ended)
    code, out = call()
    assert code == 3
    assert "llamacpp-1 stopped early: the server is gone\n" in machine.said
    (kept,) = Path("results").iterdir()
    assert f"folder      {kept.absolute()}" in out


def test_ctrl_c_leaves_nothing_but_the_folder_that_was_asked_for(
    call: Call, machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(number: int, parts: Sequence[str]) -> RoundsObserved:
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "round", interrupted)
    for arguments in ((), ("--out", "kept")):
        with pytest.raises(click.Abort):
            call(*arguments)
    assert list(Path("results").iterdir()) == []
    assert Path("kept").exists()


def test_the_same_folder_again_is_measured_anew_and_another_commands_is_refused(call: Call, machine: Machine) -> None:
    assert call("--out", "kept")[0] == 0
    shutil.rmtree("kept/llamacpp-1")  # which a real round puts aside
    machine.measured.clear()
    assert call("--out", "kept")[0] == 0
    assert len(machine.measured) == 5
    Path("mine").mkdir()
    Path("mine/file").touch()
    with pytest.raises(UserError, match="expected a new or empty folder"):
        call("--out", "mine")
