"""What we write in the form of another tool is read by that tool's own code, where it is installed.

That is in an environment of its own below `.engines/`, or below what BENCH_READERS names.
"""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from analysis.others.export import EXPORTS
from tests.summaries import typed

ENVIRONMENTS = Path(os.environ.get("BENCH_READERS") or Path(__file__).parents[2] / ".engines")
READERS = {
    "guidellm": (
        "guidellm",
        "from guidellm.benchmark.schemas import GenerativeBenchmarksReport as R"
        "; b = R.load_file(sys.argv[1]).benchmarks[0]"
        "; found = [b.metrics.time_to_first_token_ms.successful.mean, len(b.requests.errored)]",
    ),
    "aiperf": (
        "aiperf",
        "from aiperf.common.models import JsonExportData as R; d = R.model_validate_json(open(sys.argv[1]).read())"
        "; found = [d.time_to_first_token.avg, d.error_request_count.avg]",
    ),
    "openmetrics": (
        "vllm",
        "from prometheus_client.openmetrics.parser import text_string_to_metric_families as read"
        "; f = {each.name: each for each in read(open(sys.argv[1]).read())}"
        "; found = [f['bench_ttft_seconds'].samples[0].value * 1000, 2]",
    ),
}

pytestmark = pytest.mark.engine


@pytest.mark.parametrize("form", READERS)
def test_the_tool_reads_what_we_write_in_its_form(form: str, synthetic_run: Any, tmp_path: Path) -> None:
    environment, code = READERS[form]
    python = ENVIRONMENTS / environment / "bin" / "python"
    if not python.exists():
        pytest.skip(f"{environment} is not installed in {ENVIRONMENTS}")
    manifest, requests, telemetry = synthetic_run(requests=120, failed=[20, 90], model='a"b\\c')
    run, summary = typed(manifest, requests, telemetry)
    file = tmp_path / "report.json"
    file.write_text(EXPORTS[form](run, summary, requests))
    script = f"import json, sys; {code}; print(json.dumps(found))"
    told = subprocess.run([python, "-c", script, file], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    ttft_ms, failed = json.loads(told.stdout.splitlines()[-1])
    assert (ttft_ms, failed) == (pytest.approx(summary.metric("ttft_ms").mean), 2)
