"""The summary that a CI job leaves as a comment."""

from typing import Any

from analysis.markdown import markdown
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
