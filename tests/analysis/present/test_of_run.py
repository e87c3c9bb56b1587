"""A run on a terminal, and as the comment that a CI job leaves; its page is in test_report."""

import re
from typing import Any

from analysis.present import to_markdown
from analysis.present.of_run import document
from tests.golden import on_terminal, same_as_before
from tests.summaries import manifest_of, summarize, summary_of, typed


def markdown(run: Any, *tables: Any) -> str:
    return to_markdown.render(document(*typed(run, *tables)))


def test_it_reads_as_before(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=200, failed=[20], slo=["ttft_ms:p99<500", "tpot_ms<1"])
    run["pricing"] = {"usd_per_hour": "0.66", "source": "vast", "notes": ["old"]}
    same_as_before("run", document(*typed(run, requests, telemetry), requests))


def test_a_run_is_a_verdict_and_one_aligned_table(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=200, jitter=0, ttft_ms=80, itl_ms=10)
    text = markdown(run, requests, telemetry)
    assert text.startswith("### tiny on llamacpp, scenario chat\n\n**Valid:")
    assert "| Time to first token (ttft), ms | 80 (80–80) |" in text
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert [{row.count("|") for row in rows} for rows in tables] == [{8}, {8}]


def test_reasons_and_unknown_percentiles_show(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=20, interrupted=True)
    text = markdown(run, requests, telemetry)
    assert "**Interrupted: " in text
    assert "\n- `few_samples`: 20 requests succeeded" in text
    assert "| – | 20 |" in text


def test_text_from_outside_stays_text(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=5, model="a|b\n# <img src=x> @everyone [x](y)")
    heading = markdown(run, requests, telemetry).splitlines()[0]
    assert heading.startswith(r"### a\|b \# \<img src=x\> \@everyone \[x\](y) on llamacpp")


HOSTILE = "<img src=x> `x` [y](z) @all \x1b]52;c;QQ==\x07 \u202e|\n# x"


def test_nothing_that_a_server_named_or_said_is_live(synthetic_run: Any) -> None:
    run, requests, telemetry = synthetic_run(requests=60, model=HOSTILE)
    run["scenario"]["name"] = run["backend"] = HOSTILE
    summary = summarize(run, requests, telemetry)
    summary["rate_limits"] = [{"name": HOSTILE, "limit": 8000.0, "remaining_min": 120.0}]
    summary["verdict"]["reasons"] = [{"code": "few_samples", "message": HOSTILE}]
    summary["throughput"]["rates_unknown"] = HOSTILE
    text = to_markdown.render(document(manifest_of(run), summary_of(summary)))
    assert not re.search(r"(?<!\\)(<img|`x|\[y|@all|\|\\n#)", text)
    assert "\x1b" not in text and "\u202e" not in text and "\x07" not in text


# --- on a terminal ----------------------------------------------------------------------------------------------


def printed(run: Any, *tables: Any) -> str:
    return on_terminal(document(*typed(run, *tables)), 120)


def test_a_percentile_that_the_sample_cannot_carry_is_a_dash_with_its_reason(synthetic_run: Any) -> None:
    few, enough = (printed(*synthetic_run(requests=requests)) for requests in (20, 200))
    assert "–: too few values for this percentile (p99 needs 100)." in few
    assert re.search(r"ttft, ms .* – +20\n", few)
    assert "too few values" not in enough


def test_a_run_without_a_success_has_a_verdict_and_no_table(synthetic_run: Any) -> None:
    text = printed(*synthetic_run(requests=5, failed=range(5)))
    assert "ttft" not in text
    assert re.search(r"requests +0 of 5 succeeded; 5 http_500", text)
    assert re.search(r"\nverdict     Invalid: .*\n +nothing_succeeded: ", text)


def test_objectives_say_what_was_seen(synthetic_run: Any) -> None:
    text = printed(*synthetic_run(requests=200, jitter=0, slo=["ttft_ms:p99<500", "tpot_ms<1", "ttft_ms:p99.99<500"]))
    assert re.search(r"ttft_ms:p99<500 +met +80.0 ms from when it was due, .*100% +with 99 more requests", text)
    assert re.search(r"tpot_ms<1 +missed +10 ms +0%", text)
    assert re.search(r"ttft_ms:p99.99<500 +cannot be decided +– +100%", text)
