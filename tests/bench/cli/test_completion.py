"""What a shell completes: flags, names, run folders; by click's own classes, and by a shell that is there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import ShellComplete

from analysis.compare.measures import MEASURES
from analysis.wording import ERROR_SHARE, LATENCIES
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
    assert completed("bench run --scenario mine/") == completed("bench run --model ./") == ["<file>"]


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


def test_metrics_are_completed_where_an_objective_or_a_measure_is_asked_for() -> None:
    assert set(completed("bench run --slo ")) == {*LATENCIES, ERROR_SHARE}
    assert completed("bench size m --slo e") == ["error_share"]
    assert completed("bench compare --threshold ") == completed("bench ab --decide ") == list(MEASURES)


def test_every_option_that_takes_a_file_completes_one() -> None:
    for name in COMMANDS:
        context = click.Context(command(name))
        for option in command(name).params:
            if isinstance(option.type, click.Path) or re.search("FILE|FOLDER|PATH", option.metavar or ""):
                assert option.shell_complete(context, "elsewhere/")[0].type == "file", (name, option.opts)


# What each shell has typed, and what it then offers: a name, several with commas, a flag, a run folder, a file.
TYPED = {
    "sweep --backend vllm,ll": "vllm,llamacpp",
    "run --quick": "--quick-ack",
    "decode results/202601": "results/20260101-a",
    "run --dataset my": "my-prompts.jsonl",
}
BASH = """
compopt() { [ "$2" = default ] && COMPREPLY=(my-*); }
eval "$(_BENCH_COMPLETE=bash_source bench)"
for line; do
    COMP_WORDS=(bench $line); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); COMPREPLY=()
    _bench_completion bench; printf '%s\\n' "${COMPREPLY[@]}"
done
"""
ZSH = """
compdef() { }
compadd() { print -rl -- "${(P)@[-1]}" }
_describe() { print -r -- "${${(P)@[3]}%%:*}" }
_path_files() { print -r -- my-* }
eval "$(_BENCH_COMPLETE=zsh_source bench)"
for line; do words=(bench ${=line}); CURRENT=$#words; _bench_completion; done
"""
FISH = """
_BENCH_COMPLETE=fish_source bench | source
for line in $argv; complete -C "bench $line" | string replace -r '\\t.*' ''; end
"""
SHELLS = {"bash": ["--norc", "-c", BASH, "bash"], "zsh": ["-f", "-c", ZSH, "zsh"], "fish": ["--no-config", "-c", FISH]}


# Each starts five processes of ours.
@pytest.mark.parametrize("shell", ["bash", *(pytest.param(shell, marks=pytest.mark.slow) for shell in ("zsh", "fish"))])
def test_a_shell_completes_by_the_script_that_it_was_given(shell: str, folders: Path) -> None:
    if (found := shutil.which(shell)) is None:
        pytest.skip(f"there is no {shell}")
    program = folders / "bin" / "bench"
    program.parent.mkdir()
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); sys.argv[0] = 'bench'; from bench.cli import main; main()"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{start}" "$@"\n')
    program.chmod(0o755)
    (folders / "my-prompts.jsonl").touch()
    env = os.environ | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}", "HOME": str(folders)}
    done = subprocess.run(
        [found, *SHELLS[shell], *TYPED], env=env, cwd=folders, capture_output=True, text=True, check=False
    )
    assert (done.stdout.split(), done.stderr) == (list(TYPED.values()), "")
