"""Ctrl-C ends a command with its own exit code and in one line, wherever in the code it arrives."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench.exit_codes import EXIT_INTERRUPTED

ROOT = Path(__file__).parents[3]

COMMAND = """
import gc, os, signal, sys, time, weakref
import click
from bench.cli.base import run_and_exit

ctrl_c = lambda: os.kill(os.getpid(), signal.{name})
class Thing: pass
class Dying:
    def __del__(self): ctrl_c()

@click.command()
def command():
{body}
    time.sleep(600)

sys.argv = ["bench.py"]
run_and_exit(command)
"""

MODULE = """
import os, signal
def build():
    try:
        os.kill(os.getpid(), signal.{name})
        sum(range(10))
    except BaseException as problem:
        raise ValueError('no type') from None
build()
"""

BODIES = {
    "at once": "    ctrl_c()",
    "in a finalizer": "    Dying()",
    "in a weak reference's callback": """
    thing = Thing()
    kept = weakref.ref(thing, lambda _: ctrl_c())
    del thing""",
    "in a collection of garbage": """
    one, other = Dying(), Dying()
    one.other, other.one = other, one
    del one, other
    gc.collect()""",
    "in a library that wraps it": """
    try: ctrl_c()
    except BaseException as problem: raise RuntimeError("a validator failed") from problem""",
    "in a library that only names it": """
    try: ctrl_c()
    except BaseException as problem: raise RuntimeError('Field "x": KeyboardInterrupt: ') from None""",
    "in an import": "    import interrupted",
    "in an import that an import begins": "    import interrupted_below",
    "twice": """
    try: ctrl_c()
    finally: ctrl_c()""",
}


@pytest.mark.parametrize(
    ("where", "name"),
    [*((where, "SIGINT") for where in BODIES), ("in a finalizer", "SIGTERM"), ("in an import", "SIGHUP")],
)
def test_wherever_it_arrives(where: str, name: str, tmp_path: Path) -> None:
    (tmp_path / "interrupted.py").write_text(MODULE.format(name=name))
    (tmp_path / "interrupted_below.py").write_text("import interrupted")
    done = subprocess.run(
        [sys.executable, "-c", COMMAND.format(name=name, body=BODIES[where])],
        capture_output=True, text=True, timeout=300, check=False, cwd=ROOT,
        env={"PYTHONPATH": f"{ROOT}:{tmp_path}"},
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (EXIT_INTERRUPTED, "", "interrupted\n")


def test_other_problems_of_a_finalizer_are_printed_and_one_ignored_signal_stays_ignored(tmp_path: Path) -> None:
    script = COMMAND.format(
        name="SIGHUP",
        body="""
    class Broken:
        def __del__(self): raise ValueError("broken")
    Broken()
    ctrl_c()
    raise click.exceptions.Exit(0)""",
    )
    done = subprocess.run(
        ["bash", "-c", 'trap "" HUP; exec "$@"', "bash", sys.executable, "-c", script],
        capture_output=True, text=True, timeout=300, check=False, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0
    assert "ValueError: broken" in done.stderr
