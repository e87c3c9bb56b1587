"""What a dry run says is what the run's summary will have."""

import re

import numpy as np
import pyarrow as pa
import pytest

from analysis.run.metrics import column
from analysis.run.server_metrics import planned_share
from bench.app.dry import dry_plan, dry_run
from bench.app.options import RunOptions
from bench.app.request import run_request
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
    (said,) = re.findall(r"would serve ([\d.]+%) of prompt tokens", "\n".join(dry_run(request)))
    assert said == f"{share:.1%}"
