"""A run's folder as frames of pandas."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import analysis
from bench.types import UserError
from tests.test_docs import DOCS
from tests.test_house import ROOT

PANDAS = ROOT / ".engines" / "pandas"
EXAMPLE = DOCS["python.md"].partition("<!-- notebook -->\n```python\n")[2].partition("```")[0]
CHECKS = """
import numpy as np, pyarrow.parquet as pq
from pathlib import Path
folder = Path("results/<run-id>")
table = pq.read_table(folder / "requests.parquet").sort_by("seq")
assert run.requests["seq"].tolist() == table["seq"].to_pylist()
for name in ("ttft_ms", "sent_ns", "error", "output_tokens"):
    assert [None if value != value or value is pandas.NA else value for value in run.requests[name].astype(object)] == (
        table[name].to_pylist()
    )
assert run.requests["output_tokens"].dtype == "Int64"
for seq, arrivals in zip(table["seq"].to_pylist(), table["arrivals_ns"].to_pylist()):
    own = run.tokens[run.tokens["seq"] == seq]
    assert own["t_ns"].tolist() == arrivals and own["arrival"].tolist() == list(range(len(arrivals)))
    assert np.allclose(own["gap_ms"].to_numpy()[1:], np.diff(arrivals) / 1e6) and own["gap_ms"].iloc[:1].isna().all()
assert run.tokens["tokens"].sum() == sum(map(sum, table["arrival_tokens"].to_pylist()))
assert run.summary.metric("ttft_ms").mean == ok["ttft_ms"].mean() or abs(
    run.summary.metric("ttft_ms").mean - ok["ttft_ms"].mean()) < 1e-9
assert len(run.plan) == len(run.requests) and len(run.telemetry) > 0
"""


@pytest.mark.engine
def test_the_example_of_the_page_runs_and_the_frames_are_what_the_tables_say(tmp_path: Path) -> None:
    if not (PANDAS / "ready").exists():
        refuse = pytest.fail if os.environ.get("BENCH_ENGINES") == "required" else pytest.skip
        refuse("pandas is not installed; make engines installs it")
    out = tmp_path / "run"
    asked = ("run", "--scenario", "smoke", "--requests", "8", "--quiet", "--out", out)
    subprocess.run([sys.executable, "bench.py", *map(str, asked)], cwd=ROOT, check=True, capture_output=True)
    code = ("import pandas\n" + EXAMPLE + CHECKS).replace("results/<run-id>", str(out))
    env = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{PANDAS}"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "ttft_ms" in done.stdout


def test_without_pandas_a_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match=r"^analysis.load needs pandas: pip install pandas, or "):
        analysis.load(tmp_path)


def test_a_name_that_is_not_there_is_said() -> None:
    with pytest.raises(AttributeError, match="module 'analysis' has no attribute 'laod'"):
        analysis.laod  # noqa: B018
