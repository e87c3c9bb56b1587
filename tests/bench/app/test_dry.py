"""What a dry run says is what the run's summary will have."""

import json
import re
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.run.metrics import column
from analysis.run.server_metrics import planned_share
from bench.app.dry import ASSUMED_TOKENS_PER_S, document, dry_plan, dry_run, lines
from bench.app.options import RunOptions
from bench.app.request import run_request
from bench.durations import expected
from bench.plan.calls import call, total
from bench.plan.common import in_common

MIX = """
classes:
  a: {weight: 2, prompt_tokens: 100, output_tokens: 8, prefixes: [{tokens: 20, groups: 2}, {tokens: 30, groups: 3}]}
  b: {weight: 1, prompt_tokens: 200, output_tokens: 8}
"""


@pytest.mark.parametrize("scenario", ["assistant", "agent", "rag", "chat", "mix"])
def test_the_cached_share_is_that_of_the_measured_calls(
    scenario: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    asked = {"sessions": 2} if scenario in ("assistant", "agent") else {"requests": 12}
    if scenario == "mix":
        path = tmp_path_factory.mktemp("s") / "mix.yaml"
        path.write_text(MIX)
        scenario = str(path)
    options = RunOptions.of(
        {"backend": "openai", "model": "m", "url": "http://127.0.0.1:9", "scenario": scenario, **asked}
    )
    request = run_request(options)
    plan, _ = dry_plan(request)
    every = [call(plan, seq) for seq in range(total(plan) or 0)]
    calls = pa.table(
        {
            name: [getattr(each, name) for each in every if each.phase == "measured"]
            for name in ("cacheable_tokens", "prompt_tokens")
        }
    )
    assert in_common(plan)[:2] == tuple(
        int(np.sum(column(calls, name))) for name in ("prompt_tokens", "cacheable_tokens")
    )
    # As analysis.run.server_metrics has it, of a server that counts as the plan does.
    share = planned_share(*(float(np.nanmean(column(calls, name))) for name in ("cacheable_tokens", "prompt_tokens")))
    (said,) = re.findall(r"would serve ([\d.]+%) of prompt tokens", "\n".join(lines(dry_run(request))))
    assert said == f"{share:.1%}"


LOADS = {
    "concurrency": (1, 64, "requests"), "rate": (1, 50, "requests"), "at once": (1, 1, "requests"),
    "time": (1, 64, "duration"), "rate and time": (1, 50, "duration"),
}  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(sorted(LOADS)), st.data(), st.integers(1, 5), st.booleans())
def test_the_document_has_the_figures_of_the_lines_and_each_is_typed(
    kind: str, data: st.DataObject, runs: int, owned: bool
) -> None:
    low, high, end = LOADS[kind]
    pace, length = data.draw(st.integers(low, high)), data.draw(st.integers(1, 90))
    asked: dict[str, Any] = {end: length, "warmup": 0} if end == "requests" else {end: f"{length}s", "warmup": "0s"}
    asked["concurrency" if kind in ("concurrency", "time") else "rate"] = "inf" if kind == "at once" else pace
    asked |= {"usd_per_hour": 3} if owned else {}
    request = run_request(RunOptions.of({"backend": "openai", "model": "m", "url": "http://127.0.0.1:9", **asked}))
    dry = dry_run(request, runs=runs)
    found = json.loads(json.dumps(document(dry)))
    assert (found["runs"], found["model"], found["load"]["concurrency"]) == (runs, "m", asked.get("concurrency"))
    said = "\n".join(lines(dry))
    if found["size"]["requests"] is None:
        assert "plan: " not in said and found["cacheable_share"] is None
    else:
        assert f"plan: {found['size']['requests']:,} requests, {found['size']['prompt_tokens']:,} prompt" in said
    if end == "duration":
        assert (found["seconds"], found["seconds_by"]) == (length, "duration")
    elif "rate" in asked and kind != "at once":
        assert (found["seconds"], found["seconds_by"]) == (pytest.approx(length / pace), "rate")
    else:
        slots = pace if kind == "concurrency" else length
        assert found["seconds"] == pytest.approx(found["size"]["output_tokens"] / ASSUMED_TOKENS_PER_S / slots)
    hours = found["hours_usd"]
    assert hours is None if not owned else float(hours) == pytest.approx(3 * runs * found["seconds"] / 3600, abs=1e-6)
    assert f"load: about {expected(runs * found['seconds'])}" in said
