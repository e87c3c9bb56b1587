"""However a run ends and whatever was counted: there is a summary and a screen, and no sentence denies a number."""

import json
import re
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from analysis.present import in_words, to_markdown
from analysis.present.of_run import document
from bench.runs.table import to_table
from bench.types import Record
from tests.golden import on_terminal
from tests.summaries import manifest_of, summarize, summary_of

MS = 1_000_000
COUNT = st.one_of(st.none(), st.integers(0, 60), st.integers(0, 10**9))
ERRORS = st.sampled_from([None, None, None, "http_500", "connect_refused", "dropped", "unfinished", "budget", "stall"])
CODES = st.sampled_from([None, None, "output_zero", "prompt_zero total_differs", "output_overruled"])
PRICES: list[dict[str, Any]] = [
    {},
    {"usd_per_hour": "2.5"},
    {"provider": "anthropic", "model": "claude-haiku-4-5"},
    {"provider": "nobody"},
]


@st.composite
def records(draw: st.DrawFn, seq: int = 0) -> Record:
    """A call that may have ended anyhow, its instants in order and its counts whatever."""
    error = draw(ERRORS)
    sent = error not in ("dropped", "budget") and draw(st.booleans())
    instants = sorted(draw(st.lists(st.integers(1, 3000), min_size=4, max_size=4)))
    due_ns, sent_ns, first_ns, end_ns = (MS * t for t in instants)
    arrivals = sorted(draw(st.lists(st.integers(first_ns, end_ns), max_size=4))) if sent else []
    ended, unread = sent and draw(st.booleans()), draw(st.integers(0, 2))
    return Record(
        seq=seq,
        worker=0,
        session=seq,
        turn=0,
        phase=draw(st.sampled_from(["measured", "measured", "warmup"])),
        due_ns=due_ns,
        sent_ns=sent_ns if sent else None,
        connect_ns=None,
        headers_ns=None,
        first_byte_ns=arrivals[0] if arrivals else None,
        first_token_ns=arrivals[0] if arrivals else None,
        first_text_ns=draw(st.sampled_from([*arrivals, None])),
        last_token_ns=arrivals[-1] if arrivals else None,
        end_ns=end_ns if ended else None,
        status=200 if ended else None,
        finish=draw(st.sampled_from([None, "stop", "length"])),
        error=error,
        error_message=draw(st.sampled_from([None, "no"])) if error else None,
        prompt_tokens_wanted=draw(COUNT),
        max_tokens=draw(st.integers(0, 60)),
        prompt_tokens=draw(COUNT),
        cached_tokens=draw(COUNT),
        cache_write_tokens=draw(COUNT),
        cache_write_1h_tokens=draw(COUNT),
        output_tokens=draw(COUNT),
        reasoning_tokens=draw(COUNT),
        token_source=draw(st.sampled_from([None, "server usage", "per-chunk usage", "chunk count", "arrivals"])),
        arrivals_ns=arrivals,
        arrival_tokens=[draw(st.integers(0, 5)) for _ in arrivals],
        bytes_received=0,
        reads=len(arrivals),
        coalesced_reads=0,
        lags_ns=[],
        text_sha=draw(st.sampled_from([None, "a", "b"])),
        service_tier=draw(st.sampled_from([None, "standard", "gold"])),
        rate_limits=None,
        unread=unread,
        unread_example="{" if unread else None,
        encoding=None,
        first_blank_ns=draw(st.sampled_from([None, sent_ns])) if arrivals else None,
        early_tokens=draw(COUNT),
        count_readings=draw(st.sampled_from([None, "hidden_reasoning"])),
        count_contradictions=draw(CODES),
        stamps=draw(st.sampled_from(["packets", "kernel", "user"])) if arrivals else None,
        repeated_segments=draw(COUNT),
    )


@st.composite
def tables(draw: st.DrawFn) -> Any:
    return to_table([draw(records(seq)) for seq in range(draw(st.integers(0, 12)))])


def shown(run: Any, summary: Any) -> str:
    """What the screen and the comment of a CI job say."""
    found = document(manifest_of(run), summary_of(summary))
    return on_terminal(found, 100) + to_markdown.render(found)


NOT_NUMBERS = re.compile(r"\b(?:None(?! of)|nan|inf)\b")
OF = re.compile(r"\b([\d,]+) of ([\d,]+)\b")
BLAMES = {"backlog_grows", "waited_for_seats", "server_tokens", "server_in_flight", "delivered_rate", "littles_law"}


def check_sentences(run: Any, table: Any, summary: Any) -> None:
    """What is said is true of the numbers beside it."""
    requests, reasons = summary["requests"], summary["verdict"]["reasons"]
    codes = {reason["code"] for reason in reasons}
    for text in (*(reason["message"] for reason in reasons), in_words.found(summary_of(summary))):
        assert not NOT_NUMBERS.search(text), text
        for some, whole in OF.findall(text):
            assert 0 <= int(some.replace(",", "")) <= int(whole.replace(",", "")), text
    assert ("nothing_succeeded" in codes) == (requests["succeeded"] == 0)
    assert summary["verdict"]["status"] != "valid" or requests["succeeded"]
    said = in_words.found(summary_of(summary))
    assert said.startswith("No request") == (requests["planned"] == 0)
    assert said.startswith(("All", "The one")) == (requests["succeeded"] == requests["planned"] > 0)
    arrived = any(table["reads"].to_pylist())
    assert (summary["client"]["stamps"] is not None) == arrived
    assert "user_stamps" not in codes or arrived
    if not run["clients"]:
        assert "lost_workers" in codes
        assert not codes & BLAMES
    rates = [summary["throughput"][name] for name in ("requests_per_s", "output_tokens_per_s")]
    if requests["failed"] > requests["succeeded"] > 0 and not run["slo"]:
        assert "mostly_failed" in codes
        assert rates == [None, None]
    screen = shown(run, summary)
    assert ("nothing arrived" in screen) != arrived
    assert "none of 0" not in screen


@given(
    tables(),
    st.sampled_from([None, 20.0]),
    st.sampled_from([None, 2.0]),
    st.sampled_from([(False, False), (True, False), (True, True)]),
    st.sampled_from(PRICES),
    st.sampled_from([[], ["ttft_ms:p99<50", "tpot_ms<5", "itl_ms:p50<1", "error_share<50%"]]),
    st.sampled_from(["llamacpp", "openai", "claude"]),
)
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=[phase for phase in Phase if phase != Phase.shrink],
)
def test_every_run_has_a_summary_that_json_can_hold_and_sentences_that_are_true(
    synthetic_run: Any,
    table: Any,
    rate_per_s: float | None,
    duration_s: float | None,
    ended: tuple[bool, bool],
    pricing: Any,
    slo: Any,
    backend: str,
) -> None:
    interrupted, killed = ended
    run, _, _ = synthetic_run(
        requests=table.num_rows, rate_per_s=rate_per_s, duration_s=duration_s, interrupted=interrupted, slo=slo,
        backend=backend,
    )  # fmt: skip
    run |= {"pricing": pricing} | ({"clients": []} if killed else {})
    summary = summarize(run, table, None)
    json.dumps(summary, allow_nan=False)
    check_sentences(run, table, summary)
