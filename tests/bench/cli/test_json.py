"""With --json standard output is one JSON document, whatever becomes of the command; all else is on standard error."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from bench.cli.root import COMMANDS, command
from bench.process.printable import printable
from bench.truth import server as truth
from bench.truth.server import TruthOptions
from tests.commands import bench

needs_truth = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="the ground-truth server is compiled, and for Linux"
)
# Nobody listens there.
GONE = ("--backend", "openai", "--model", "m", "--url", "http://127.0.0.1:9", "--scenario", "smoke")


def takes_json(name: str) -> bool:
    return any("--json" in option.opts for option in command(name).params)


WRONG = [
    *((name, "--json", "--no-such-flag") for name in COMMANDS if takes_json(name)),
    ("run", "--json", "--backend", "lamacpp"),
    ("run", "--concurrency", "many", "--json"),
    ("run", "--json", "--concurrency", "2", "--rate", "3"),
    ("run", "--json", *GONE, "--out", "run"),
    ("run", "--json", *GONE, "--out", "run", "--repeat", "2"),
    ("run", "--json", "--out", "b\udcff"),
    ("capacity", "--json", *GONE),
    ("capacity", "--json", *GONE, "--slo", "ttft_ms<500", "--out", "run"),
    ("sweep", "--json"),
    ("sweep", "--json", "none.yaml"),
    ("compare", "--json", "none", "neither"),
    ("size", "--json", "none.gguf"),
]


@pytest.mark.parametrize("arguments", WRONG, ids=[" ".join(each).encode("ascii", "replace").decode() for each in WRONG])
def test_an_error_is_a_document_with_its_exit_code_and_a_line_on_standard_error(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = bench(*arguments)
    said = json.loads(done.stdout)
    assert done.returncode == said["exit_code"] == 2
    assert done.stderr.splitlines()[-1] == f"error: {printable(said['error'])}"


@pytest.mark.parametrize("name", ["run", "sweep"])
def test_a_dry_run_is_a_document(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = bench(name, *GONE, "--concurrency", "2", "--dry-run", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    found = json.loads(done.stdout)
    assert (found["schema"], found["dry_run"], found["seconds"] > 0) == (1, True, True)


@needs_truth
def test_a_run_is_its_summary_and_a_quiet_one_says_nothing_else(tmp_path: Path) -> None:
    with truth.launch(TruthOptions(ttft_ms=1, gap_ms=1)) as server:
        asked = ("run", *GONE[:4], "--url", server.url, "--requests", "4", "--output-tokens", "4", "--warmup", "0")
        shown = bench(*asked, "--json", "--out", tmp_path / "json")
        quiet = bench(*asked, "--json", "--quiet", "--out", tmp_path / "quiet")
        twice = bench(*asked, "--json", "--quiet", "--repeat", "2", "--out", tmp_path / "twice")
    for done, folder in ((shown, "json"), (quiet, "quiet")):
        assert json.loads(done.stdout) == json.loads((tmp_path / folder / "summary.json").read_bytes())
    assert json.loads(twice.stdout) == json.loads((tmp_path / "twice" / "repeats.json").read_bytes())
    assert quiet.stderr == twice.stderr == ""
    assert "scenario chat:" in shown.stderr
    assert f"report      {tmp_path / 'json' / 'report.html'}\n" in shown.stderr
