"""`bench.py gate` as its user meets it, with rounds that are made up in place of measured ones."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import click
import numpy as np
import pytest

from analysis.gate import Round
from bench.cli.gate import command, rounds
from bench.cli.gate.rounds import Observed
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

    def round(self, number: int, parts: Sequence[str]) -> Observed:
        self.measured.append((number, tuple(parts)))
        found = Observed({}, {})
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
    def ready(parts: Sequence[str], folder: Path) -> Iterator[Callable[[int, Sequence[str]], Observed]]:
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
        return int(code), capsys.readouterr().out

    code, out = run("--update")
    assert (code, "baseline    base/baseline.json" in out) == (0, True)
    machine.measured.clear()
    return run


def test_what_did_not_change_passes_and_leaves_no_folder(call: Call, machine: Machine) -> None:
    code, out = call()
    assert code == 0
    assert "Passed: nothing got worse" in out
    assert "vllm is not installed: left out" in out
    assert machine.measured == [(number, ("llamacpp", "client")) for number in range(1, 6)]
    assert list(Path("results").iterdir()) == []


def test_a_slower_engine_fails_with_its_figures_after_a_second_look_at_it_alone(call: Call, machine: Machine) -> None:
    machine.slower["llamacpp"] = (1.5, 99)
    code, out = call("--junit", "gate.xml")
    assert code == 1
    assert "again       llamacpp: worse so far, 5 rounds" in out
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
    code, out = call()
    assert (code, len(machine.measured)) == (0, 10)
    assert "again       client: worse so far" in out


def test_a_count_that_differs_fails_and_is_not_measured_again(call: Call, machine: Machine) -> None:
    machine.counts = {"plan_hash": "b" * 64}
    code, out = call("--part", "llamacpp")
    assert (code, len(machine.measured)) == (1, 5)
    assert "Failed: llamacpp:plan_hash different." in out


def test_beside_too_much_other_load_the_gate_says_that_it_cannot_tell(call: Call, machine: Machine) -> None:
    machine.cpu = None
    code, out = call("--part", "llamacpp")
    assert code == 3
    assert "Undecided: other load left nothing to compare of llamacpp" in out


def test_another_cpu_server_and_package_are_said_and_larger_changes_allowed(call: Call, machine: Machine) -> None:
    path = Path("base/baseline.json")
    content = json.loads(path.read_bytes())
    content["hardware"]["cpu"] = "Other CPU"
    content["servers"]["llamacpp"] = "llama.cpp b0"
    content["packages"]["xllamacpp"] = "1.2.3"
    path.write_text(json.dumps(content))
    machine.slower["llamacpp"] = (1.4, 99)
    code, out = call()
    assert code == 0
    assert "another CPU, so larger changes are allowed: the baseline is of Other CPU" in out
    assert "another server of llamacpp: the baseline is of llama.cpp b0, this is llama.cpp b1" in out
    assert "another version of xllamacpp: the baseline is of 1.2.3, this is" in out


def test_json_and_markdown_are_all_that_standard_output_has(call: Call) -> None:
    code, out = call("--json", "--out", "kept")
    assert (code, json.loads(out)["verdict"]) == (0, "passed")
    assert Path("kept/gate.json").exists()
    assert call("--format", "markdown")[1].startswith("### Passed: ")


def test_no_baseline_is_said_with_what_makes_it(machine: Machine) -> None:
    with pytest.raises(UserError, match=r"--baseline none: no baseline\.json in it .* gate --baseline none --update"):
        command.gate.main(["--baseline", "none"], standalone_mode=False)
    assert machine.measured == []


def test_rounds_with_failures_do_not_become_the_baseline(machine: Machine) -> None:
    machine.counts = {"failures": 3}
    with pytest.raises(UserError, match="--update: llamacpp: 3 requests failed"):
        command.gate.main(["--baseline", "base", "--update"], standalone_mode=False)
    assert not Path("base").exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [("[", "is no baseline"), ("{}", "is no baseline"), ('{"schema": 2}', "has schema 2, expected 1")],
)
def test_a_file_that_is_no_baseline_is_refused_in_one_line(machine: Machine, content: str, says: str) -> None:
    Path("base").mkdir()
    Path("base/baseline.json").write_text(content)
    with pytest.raises(UserError) as refused:
        command.gate.main(["--baseline", "base"], standalone_mode=False)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_part_that_is_not_installed_is_refused_when_it_is_all_that_was_asked_for(call: Call) -> None:
    with pytest.raises(UserError, match="nothing is left to be measured: vllm is not installed"):
        call("--part", "vllm")


def test_an_unknown_part_names_the_nearest(call: Call) -> None:
    with pytest.raises(click.BadParameter, match="did you mean 'llamacpp'"):
        call("--part", "llama")
