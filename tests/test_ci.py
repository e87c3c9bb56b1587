"""docs/ci.md: its workflows are valid, and what they run exists."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from analysis.compare.gate import FIGURES, LIMITS_MS
from analysis.wording import percent
from bench.cli.root import command

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")
WORKFLOWS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def scripts(node: Any) -> Iterator[str]:
    """The shell lines of a workflow: GitHub's `run`, GitLab's `script`."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ("run", "script"):
                yield from [value] if isinstance(value, str) else value
            else:
                yield from scripts(value)
    elif isinstance(node, list):
        for value in node:
            yield from scripts(value)


def test_there_is_a_workflow_for_github_and_one_for_gitlab() -> None:
    github, gitlab = WORKFLOWS
    (job,) = github["jobs"].values()
    assert all("uses" in step or "run" in step for step in job["steps"])
    assert set(gitlab) == {"gate"}
    assert gitlab["gate"]["artifacts"]["reports"] == {"junit": "gate.xml"}


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=["github", "gitlab"])
def test_every_command_of_a_workflow_is_there(workflow: dict[str, Any]) -> None:
    commands = [shlex.split(line) for line in scripts(workflow) if not line.startswith("git worktree add base ")]
    assert [words[0] for words in commands] == ["make", "make", ".venv/bin/python"]
    (_, target), (_, *in_base, target_of_base), (_, program, name, *arguments) = commands
    assert (in_base, target_of_base) == (["-C", "base"], target)
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{re.escape(target)}:|^READY := {re.escape(target)}$", makefile, re.MULTILINE)
    assert program == "bench.py"
    redirected = arguments.index(">>") if ">>" in arguments else None
    parsed = command(name).make_context(name, arguments[:redirected]).params
    assert (str(parsed["junit"]), str(parsed["out"])) == ("gate.xml", "results/gate")
    assert (parsed["baseline"], str(parsed["against"])) == (None, "base")


def test_the_page_has_every_figure_with_what_matters() -> None:
    rows = re.findall(r"^\| (`\w+:\w+`[^|]*) \| (\d+%) \|$", PAGE, re.MULTILINE)
    said = {name: limit for names, limit in rows for name in re.findall(r"`(.+?)`", names)}
    assert said == {name: percent(each.threshold) for name, each in FIGURES.items()}
    assert all(f"`{name}`" in PAGE for name in LIMITS_MS)
    assert set(LIMITS_MS.values()) == {2.0}


def test_marks_are_named_in_the_files_of_their_tests_or_given_by_what_make_looks_for() -> None:
    """Make asks only files that name a mark for its tests; what gives one is no test's file."""
    gives = re.compile(r"mark\.(slow|alone|engine)\b")
    helpers = {path.name for path in (ROOT / "tests").rglob("*.py") if gives.search(path.read_text("utf-8"))
               and not path.name.startswith("test_")}  # fmt: skip
    assert helpers == {"simulations.py"}
    assert re.search(r"call naming,mark\\.slow\|few_or_many\|hypothesis", (ROOT / "Makefile").read_text())
