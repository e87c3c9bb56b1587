"""Findings on the answers: counts that contradict, prompts and answers not as asked, streams no decoder makes."""

from collections.abc import Iterator
from typing import Final

from analysis.checks.finding import Check, Finding
from analysis.run.counting import CONTRADICTIONS, RESOLVED
from analysis.run.summary import RunSummary
from bench.runs.manifest import RunManifest

MOST_OFF: Final = 0.01
# Half of a prompt's tokens is no prompt of that length; what a tokenizer of another version leaves out is.
MOST_CUT: Final = 0.9
# A model with something to say may end before the limit; one that has said less than half of it was not asked as meant.
LEAST_OF_CAP: Final = 0.5
# These promise answers of the planned length (docs/backends.md); the others only end them there.
FIXED_LENGTHS: Final = {"llamacpp", "vllm"}
_OF_LENGTH: Final = ("ignore_eos", "min_tokens")
MOST_REPEATED: Final = 0.2
LEAST_REPEATED_ANSWERS: Final = 5
# An event of this API brings several tokens as a rule.
SEVERAL_TOKENS_AN_EVENT: Final = {"claude"}
# 10,000 tokens/s in one stream: the fastest service measured in 2026 does 3,000, one chip with a model etched into it
# was shown at 17,000, and the embedded tiny model does 1,000 to 3,000.
LEAST_TPOT_MS = 0.1
LENGTH_MARGIN = 0.01
MOST_GUESSED = 0.01
TOKENS_PER_ARRIVAL = 1.1
# Speculation makes up to 5 or 6 tokens a step, and not the same number in each.
MOST_TOGETHER, MOST_TOKENS_TOGETHER = 5.0, 8.0
REGULAR_FROM, REGULAR_SPREAD = 3.0, 0.25
FEWEST_BURSTS = 2.0
FAST_TPOT_MS = 1 / 3
MOST_WAITING, MOST_PREFILLS = 0.9, 10.0
LENGTH_CORRELATION = 0.6
MOST_FIRST_GAP, LEAST_OF_FIRST_GAP = 10.0, 0.25
MOST_BLANK, MOST_BLANK_GAPS = 0.05, 5.0


def counts_contradict(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """What the server counts is not what it counts elsewhere, what was planned, or what arrived."""
    succeeded = summary.requests.succeeded
    for code, calls in summary.counts.contradictions.items():
        if succeeded and calls / succeeded > MOST_OFF:
            rest = (
                "answers are counted correctly, but what the server bills for its reported usage is unknown"
                if code in RESOLVED
                else "figures that depend on that count are unknown; check --backend and the server's version"
            )
            message = f"in {calls:,} of {succeeded:,} requests {CONTRADICTIONS[code]}: {rest}"
            yield Finding("suspect", "counts_contradict", message, calls / succeeded, MOST_OFF)


def prompts_not_as_planned(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Prompts have fewer tokens than were sent, or many more."""
    prompts = summary.counts.prompts
    cut, longer, of_planned = prompts.cut_share, prompts.longer_share, prompts.of_planned
    if of_planned is None:
        return
    if cut is not None and cut > MOST_OFF:
        message = (
            f"for {cut:.0%} of requests the server counts fewer prompt tokens than were sent (median: {of_planned:.3g} "
            "of the plan): it cut the prompts, or miscounts them, and latencies and costs are not those of this load; "
            "give the server a longer context (Ollama: num_ctx), or give --prompt-tokens"
        )
        found = Finding("suspect", "prompts_cut", message, cut, MOST_OFF)
        yield found._replace(status="invalid") if of_planned < MOST_CUT else found
    if longer is not None and longer > MOST_OFF:
        message = (
            f"for {longer:.0%} of requests the server counts more prompt tokens than were sent (median: "
            f"{of_planned:.3g} of the plan): it adds text, or miscounts; costs follow its "
            "count, and ttft_ms is not that of this plan"
        )
        yield Finding("suspect", "prompts_longer", message, longer, MOST_OFF)


def tokens_unknown(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Tokens are counted by chunks, or spread evenly over chunks that bring several: what depends on it is a guess."""
    sources, per_arrival = summary.tokens.token_sources, summary.tokens.tokens_per_arrival
    calls = sum(sources.values())
    guessed = sources.get("chunk count", 0) / calls if calls else 0
    if guessed > MOST_GUESSED:
        message = (
            f"the server gave no token count for {guessed:.0%} of requests: output tokens are counted as chunks "
            "there, and rates and costs are a guess; use a server that sends usage (stream_options.include_usage)"
        )
        yield Finding("suspect", "tokens_guessed", message, guessed, MOST_GUESSED)
    elif (
        sources.get("server usage", 0)
        and per_arrival is not None
        and per_arrival > TOKENS_PER_ARRIVAL
        and run.backend not in SEVERAL_TOKENS_AN_EVENT
    ):
        message = (
            f"{per_arrival:.3g} tokens per arrival by the server's total, and how many each brought is unknown: itl_ms "
            "is a guess, chunk_gap_ms is not, and tpot_ms only where that total hides reasoning; look for what "
            "holds tokens back at --url, or use a --backend that counts"
        )
        yield Finding("suspect", "tokens_not_chunks", message, per_arrival, TOKENS_PER_ARRIVAL)


def output_lengths(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Answers are longer than allowed, or shorter where the backend promises the planned length."""
    ratio = summary.tokens.output_of_max
    if ratio is None:
        return
    if ratio > 1 + LENGTH_MARGIN:
        message = (
            f"answers have {ratio:.4g} times the tokens allowed: the server counts differently, or ignores the limit; "
            "check --backend against it"
        )
        yield Finding("suspect", "answers_too_long", message, ratio, 1 + LENGTH_MARGIN)
    if _fixes_lengths(run) and ratio < 1 - LENGTH_MARGIN:
        message = (
            f"answers have {ratio:.1%} of the planned tokens: less work than planned, so do not compare them; the "
            "server ignores ignore_eos or cuts answers: a newer server, or smaller --prompt-tokens and --output-tokens"
        )
        yield Finding("suspect", "answers_too_short", message, ratio, 1 - LENGTH_MARGIN)


def _fixes_lengths(run: RunManifest) -> bool:
    """Whether answers are promised to have the planned length, which fields of the user's own may undo."""
    own = (run.options or {}).get("extra_body", "")
    options = run.options or {}
    otherwise = options.get("route") == "responses" or "response_format" in options
    return run.backend in FIXED_LENGTHS and not otherwise and not any(f'"{name}"' in own for name in _OF_LENGTH)


def answers_ended_early(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Less than half of what answers may have, where the backend can only cap them."""
    ratio = summary.tokens.output_of_max
    if _fixes_lengths(run) or ratio is None or ratio >= LEAST_OF_CAP:
        return
    finish = next(iter(summary.counts.finish), "no reason given")
    message = (
        f"answers have {ratio:.0%} of the tokens they may have (mostly: {finish}): --backend {run.backend} can only "
        "cap a length, and the model or the server ended them: less work than planned, so compare only runs with the "
        "same lengths; give --output-tokens, or a backend that fixes them"
    )
    yield Finding("suspect", "answers_ended_early", message, ratio, LEAST_OF_CAP)


def same_answers(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Different prompts got the same text: nobody read them."""
    share, succeeded = summary.counts.repeated_share, summary.requests.succeeded
    if run.recorded is not None and run.recorded.repeated:  # so may the answers be
        return
    if share is not None and share > MOST_REPEATED and succeeded >= LEAST_REPEATED_ANSWERS:
        message = (
            f"{share:.0%} of answers repeat the text of another although every prompt is different: a response cache, "
            "a stub or a filter answered instead of the model; point --url past it"
        )
        yield Finding("suspect", "same_answers", message, share, MOST_REPEATED)


def tokens_in_bursts(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Tokens come many at once, or always the same number: something collects them."""
    shape, several = summary.shape, run.backend in SEVERAL_TOKENS_AN_EVENT
    arrivals, tokens, spread = shape.arrivals_per_burst, shape.tokens_per_burst, shape.burst_spread
    if arrivals is None or tokens is None or shape.bursts is None:
        return
    many = arrivals > MOST_TOGETHER or (tokens > MOST_TOKENS_TOGETHER and not several)
    regular = arrivals >= REGULAR_FROM and spread is not None and spread < REGULAR_SPREAD
    pieces = shape.bursts <= FEWEST_BURSTS and tokens > 2 * MOST_TOKENS_TOGETHER
    if many or regular or pieces:
        message = (
            f"half of the answers came in {shape.bursts:.3g} pieces or fewer, {tokens:.3g} tokens at once, as no "
            "model makes them: they were buffered on the way (point --url past the proxy, or turn off its buffering), "
            "or this client was too busy to read them as they came; itl_ms and chunk_gap_ms are not the server's"
        )
        yield Finding("suspect", "tokens_in_bursts", message, tokens, MOST_TOKENS_TOGETHER)


def answers_at_once(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Answers arrived faster than any hardware decodes, so they waited somewhere: their token times are not its own."""
    tpot_ms = summary.metric("tpot_ms").p50
    if tpot_ms is not None and tpot_ms < LEAST_TPOT_MS:
        message = (
            f"half of the answers took {tpot_ms:.3g} ms a token or less after the first, which no service can do: "
            "they were held back on the way (point --url past the proxy, or turn off its buffering), or this client "
            "was too busy to read them as they came (give it a core of its own)"
        )
        yield Finding("suspect", "answers_at_once", message, tpot_ms, LEAST_TPOT_MS)


def answers_held_back(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """The first token waits for the last: longer for longer answers, or so long that the rest is no decoding."""
    shape = summary.shape
    by_length, share = shape.ttft_by_length, shape.decode_share
    what = (
        "they were held back on the way and released afterwards: point --url past the proxy, or turn off its buffering"
    )
    if by_length is not None and by_length > LENGTH_CORRELATION:
        message = (
            f"the longer an answer, the later its first token (rank correlation {by_length:.2f}), and no server knows "
            f"the length before it has made the answer: {what}"
        )
        yield Finding("suspect", "answers_held_back", message, by_length, LENGTH_CORRELATION)
        return
    tpot_ms, ttft_ms, prompt = (summary.metric(name).p50 for name in ("tpot_ms", "ttft_ms", "prompt_tokens"))
    if share is None or tpot_ms is None or ttft_ms is None or share > 1 - MOST_WAITING:
        return
    if not LEAST_TPOT_MS <= tpot_ms <= FAST_TPOT_MS:
        return
    # A token of a prompt costs no more time than one of an answer.
    if ttft_ms > MOST_PREFILLS * (prompt or 0) * tpot_ms:
        message = (
            f"half of the answers took {1 - share:.0%} of their time before the first token, and then came at "
            f"{1000 / tpot_ms:,.0f} tokens/s, faster than any service decodes: {what}"
        )
        yield Finding("suspect", "answers_held_back", message, 1 - share, MOST_WAITING)


def not_streamed(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Answers came in one piece although streams were asked for: nothing is known of when their tokens were made."""
    share = summary.shape.whole_share
    if share is not None and share > MOST_OFF and (run.options or {}).get("stream") != "off":
        message = (
            f"{share:.0%} of answers came in one piece of JSON though a stream was asked for: ttft_ms, tpot_ms and "
            "itl_ms cover only the others; point --url past what collects them, or use --no-stream"
        )
        yield Finding("suspect", "not_streamed", message, share, MOST_OFF)


def first_token_alone(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """A first token at once, and then a pause many times longer than any gap after it: the model was not yet asked."""
    shape = summary.shape
    ratio, of_gap = shape.first_gap_of_gaps, shape.ttft_of_first_gap
    if ratio is not None and of_gap is not None and ratio > MOST_FIRST_GAP and of_gap < LEAST_OF_FIRST_GAP:
        message = (
            f"after the first token most answers paused for {ratio:,.3g} times their usual gap, and "
            f"{1 / max(of_gap, 1e-9):,.3g} times as long as that token took: that token is not the model's, or the "
            "rest was held back; ttft_ms is not what it seems"
        )
        yield Finding("suspect", "first_token_alone", message, ratio, MOST_FIRST_GAP)
    share, pause_ms, gap_ms = shape.blank_share, shape.blank_pause_ms, summary.metric("chunk_gap_ms").p50 or 0
    if share is not None and pause_ms is not None and share > MOST_BLANK and pause_ms > MOST_BLANK_GAPS * gap_ms:
        message = (
            f"{share:.0%} of answers began with white space and then paused for {pause_ms:.3g} ms: that is not a "
            "first token, and ttft_ms counts to the text after it; a proxy that keeps the connection open may have "
            "sent it"
        )
        yield Finding("suspect", "blank_at_first", message, share, MOST_BLANK)


CHECKS: tuple[Check, ...] = (
    counts_contradict,
    tokens_unknown,
    prompts_not_as_planned,
    output_lengths,
    answers_ended_early,
    same_answers,
    tokens_in_bursts,
    answers_at_once,
    answers_held_back,
    first_token_alone,
    not_streamed,
)
