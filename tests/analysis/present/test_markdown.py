"""The summary that a CI job leaves as a comment."""

import re
from typing import Any

from analysis.present.markdown import markdown
from analysis.summary import summarize


def test_a_run_is_a_verdict_and_one_aligned_table(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=200, jitter=0, ttft_ms=80, itl_ms=10)
    text = markdown(run, summarize(run, requests, telemetry))
    assert text.startswith("### tiny on llamacpp, scenario chat\n\n**Valid:")
    assert "| Time to first token (ttft), ms | 80 | 80 | 80 | 80 | 200 |" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {row.count("|") for row in rows} == {7}


def test_reasons_and_unknown_percentiles_show(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=20, interrupted=True)
    text = markdown(run, summarize(run, requests, telemetry))
    assert "**Interrupted: " in text
    assert "\n- `few_samples`: 20 calls succeeded" in text
    assert "| – | 20 |" in text


def test_text_from_outside_stays_text(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=5, model="a|b\n# <img src=x> @everyone [x](y)")
    heading = markdown(run, summarize(run, requests, telemetry)).splitlines()[0]
    assert heading.startswith(r"### a\|b \# \<img src=x\> \@everyone \[x\](y) on llamacpp")


HOSTILE = "<img src=x> `x` [y](z) @all \x1b]52;c;QQ==\x07 \u202e|\n# x"


def test_nothing_that_a_server_named_or_said_is_live(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=60, model=HOSTILE)
    run["scenario"]["name"] = run["backend"] = HOSTILE
    summary = summarize(run, requests, telemetry)
    summary["rate_limits"] = [{"name": HOSTILE, "limit": 8000.0, "remaining_min": 120.0}]
    summary["verdict"]["reasons"] = [{"code": "few_samples", "message": HOSTILE}]
    summary["throughput"]["rates_unknown"] = HOSTILE
    text = markdown(run, summary)
    assert not re.search(r"(?<!\\)(<img|`x|\[y|@all|\|\\n#)", text)
    assert "\x1b" not in text and "\u202e" not in text and "\x07" not in text
