"""What a shell completes: flags, names, run folders; by click's own classes, and by a shell that is there."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete, get_completion_class

from backends import BACKENDS
from bench.cli.root import COMMANDS, cli, command
from scenarios import names
from tests.test_house import ROOT


def completed(line: str) -> list[str]:
    *words, incomplete = line.split(" ")
    found = ShellComplete(cli, {}, "bench", "_BENCH_COMPLETE").get_completions(words[1:], incomplete)
    return [item.value if item.type == "plain" else f"<{item.type}>" for item in found]


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, head in (("20260101-a", "run.json"), ("20260301-c", "campaign.json"), ("20260201-b", "study.yaml")):
        (tmp_path / "results" / name).mkdir(parents=True)
        (tmp_path / "results" / name / head).write_text("{}")
    (tmp_path / "results" / "notes").mkdir()
    return tmp_path


def test_names_are_completed_where_they_are_asked_for(folders: Path) -> None:
    assert completed("bench ") == list(COMMANDS)
    assert completed("bench run --backend ") == list(BACKENDS)
    assert completed("bench run --scenario ") == list(names())
    assert "mistral-7b" in completed("bench run --model mi") and "tiny" in completed("bench size ti")
    assert "h100-sxm" in completed("bench breakeven --gpu h100")
    assert completed("bench sweep --backend vllm,ll") == ["vllm,llamacpp"]
    assert completed("bench run --history ") == ["actual", "planned"]
    assert "--backend" in completed("bench run --ba")


@pytest.mark.parametrize(
    "before", ["decode", "report", "compare", "compare x", "breakeven --self", "size m --measured"]
)
def test_run_folders_are_completed_newest_first(before: str, folders: Path) -> None:
    found = [f"results/{name}" for name in ("20260301-c", "20260201-b", "20260101-a")]
    assert completed(f"bench {before} ") == ["latest", *found]
    assert completed(f"bench {before} results/202602") == [found[1]]
    assert completed(f"bench {before} elsewhere/") == ["<file>"]


@pytest.mark.parametrize("name", COMMANDS)
def test_whatever_stands_before_a_completion_fails_in_no_way(name: str, folders: Path) -> None:
    for before in ("--no-such 3 ", "--config none.toml --profile p ", "--rate x --rate ", "nonsense "):
        completed(f"bench {name} {before}")
        completed(f"bench {name} {before}--")


def test_every_option_of_a_name_that_has_a_list_completes_it() -> None:
    for name in ("run", "capacity", "ab", "sweep"):
        context = click.Context(command(name))
        for option in command(name).params:
            if {"--backend", "--model", "--scenario", "--gpu"} & set(option.opts):
                assert option.shell_complete(context, ""), (name, option.opts)


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_asks_for_this_program(shell: str) -> None:
    kind = get_completion_class(shell)
    assert kind is not None
    assert f"_BENCH_COMPLETE={shell}_complete" in kind(cli, {}, "bench", "_BENCH_COMPLETE").source()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(folders: Path) -> None:
    program = folders / "bin" / "bench"
    program.parent.mkdir()
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[0] = 'bench'; from bench.cli import main; main()"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{start}" "$@"\n')
    program.chmod(0o755)
    script = (
        'eval "$(_BENCH_COMPLETE=bash_source bench)"; COMP_WORDS=(bench decode results/202601); COMP_CWORD=2; '
        '_bench_completion bench; echo "${COMPREPLY[@]}"'
    )
    env = os.environ | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=env, cwd=folders, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("results/20260101-a\n", "")
