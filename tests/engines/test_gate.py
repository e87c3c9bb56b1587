"""The gate on a real llama.cpp and our real client, and on trees in which one of them is really slower."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

# Of engines it needs the embedded one alone; and CPU time is compared, which other load hardly changes.
pytestmark = [pytest.mark.slow, pytest.mark.clock]

ROOT = Path(__file__).parents[2]
PACKAGES = ("bench", "backends", "scenarios", "analysis")
# Holds up the wire for a few microseconds at each read, as a regression of it might.
READ = "        self._got += count\n        data = _BUFFER[:count].tobytes()\n"
SLOWER_READ = READ + "        sum(range(1000))\n"
LAYERS = '"tiny": 2,'
MORE_LAYERS = '"tiny": 6,'
# What is looked for here is far larger than what a shorter load's figures differ by.
SHORTER = (
    ("bench/app/gate/rounds.py", '"requests": 600', '"requests": 60'),
    ("bench/app/gate/rounds.py", '("gate-requests", 16, 6000,', '("gate-requests", 16, 1000,'),
    ("bench/app/gate/reference.py", "PIECES = 7", "PIECES = 3"),
)
DEADLINE_S = 900  # ends what hangs; a slow machine takes its time


class Done(NamedTuple):
    """How the gate ended, what it printed, and its verdict's line."""

    code: int
    out: str

    @property
    def verdict(self) -> str:
        return next(line for line in self.out.splitlines() if line.startswith("verdict"))


Gate = Callable[..., Done]


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Gate:
    """`gate(*arguments, changes=[(file, old, new)]) -> Done`, on a copy of this tree with shorter loads and changes."""
    base, cache = tmp_path_factory.mktemp("baseline"), tmp_path_factory.mktemp("cache")

    def run(*arguments: str, changes: Sequence[tuple[str, str, str]] = ()) -> Done:
        tree = tmp_path_factory.mktemp("tree")
        for package in PACKAGES:
            shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
        for file, old, new in (*SHORTER, *changes):
            text = (tree / file).read_text(encoding="utf-8")
            assert text.count(old) == 1
            (tree / file).write_text(text.replace(old, new), encoding="utf-8")
        shutil.copy(ROOT / "bench.py", tree)
        command = [sys.executable, "bench.py", "gate", "--baseline", str(base), "--rounds", "3", *arguments]
        env = {**os.environ, "XDG_CACHE_HOME": str(cache)}
        done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True, timeout=DEADLINE_S)
        return Done(done.returncode, done.stdout + done.stderr)

    made = run("--update", "--part", "llamacpp", "--part", "client")
    assert made.code == 0, made.out
    content = json.loads((base / "baseline.json").read_bytes())
    assert {part: len(rounds) for part, rounds in content["sessions"][0]["rounds"].items()} == {
        "llamacpp": 3,
        "client": 3,
    }
    return run


def test_a_slower_client_fails_by_name_and_an_engine_that_is_the_same_does_not(gate: Gate) -> None:
    done = gate("--part", "llamacpp", "--part", "client", changes=[("bench/wire/connection.py", READ, SLOWER_READ)])
    assert done.code == 1, done.out
    assert "client:read_cpu +" in done.verdict
    assert "decode_cpu" not in done.verdict
    assert "llamacpp" not in done.verdict


def test_a_slower_engine_fails_by_name(gate: Gate) -> None:
    done = gate("--part", "llamacpp", changes=[("bench/server/tinymodel.py", LAYERS, MORE_LAYERS)])
    assert done.code == 1, done.out
    assert "llamacpp:cpu +" in done.verdict
