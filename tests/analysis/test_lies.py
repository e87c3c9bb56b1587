"""What a server misstates is never valid, whatever its dialect; what honest servers do otherwise always is."""

import random
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from typing import Any, get_args

import pytest

from analysis.run.counting import CONTRADICTIONS, READINGS
from bench.runs.counts import Contradiction, Reading
from tests.analysis.dialects import DIALECTS, GAP_MS, TOKENS, TTFT_MS, Answer, Change, Event, judged, timed, truthful

FEW = 36
"""Calls of a cell: enough for every doubt but that there are too few of them."""
SPAN_MS = TTFT_MS + (TOKENS - 1) * GAP_MS


# --- lies about counts ------------------------------------------------------------------------------------------


def scaled(factor: float, *, running: bool = True) -> Change:
    """Output counted by a factor, with every event or at the end only."""

    def change(answer: Answer) -> Answer:
        assert answer.output is not None
        counts = [int((i + 1) * factor) - int(i * factor) for i in range(len(answer.events))]
        events = tuple(replace(e, tokens=n) for e, n in zip(answer.events, counts, strict=True))
        return replace(answer, output=int(answer.output * factor), events=events if running else answer.events)

    return change


def prompt(tokens: float, **fields: Any) -> Change:
    return lambda answer: replace(answer, prompt=int(tokens), **fields)


# --- lies about time --------------------------------------------------------------------------------------------


def batched(every_ms: float) -> Change:
    return lambda answer: timed(answer, lambda i, e: -(-e.t_ms // every_ms) * every_ms)


def held(step_ms: float, until_ms: float = SPAN_MS + 10) -> Change:
    return lambda answer: timed(answer, lambda i, e: until_ms + i * step_ms)


def held_by_length(answer: Answer) -> Answer:
    """Answers of many lengths, let out a millisecond apart once they are made."""
    tokens = 20 + 7 * (answer.seq % 12)
    whole = truthful(answer.seq, tokens)
    return timed(whole, lambda i, e: TTFT_MS + tokens * GAP_MS + i)


def first_then_the_rest(answer: Answer) -> Answer:
    return timed(answer, lambda i, e: TTFT_MS if i == 0 else SPAN_MS)


def first_then_one_event(answer: Answer) -> Answer:
    first, *rest = answer.events
    return replace(answer, events=(first, Event(SPAN_MS, "".join(e.text for e in rest), len(rest))))


def in_one_event(answer: Answer) -> Answer:
    text = "".join(e.text for e in answer.events)
    return replace(answer, events=(Event(SPAN_MS, text, len(answer.events)),))


def blank_at_once(answer: Answer) -> Answer:
    late = timed(answer, lambda i, e: 200 + e.t_ms)
    return replace(late, events=(Event(0.3, "\n", 0), *late.events))


def token_at_once(answer: Answer) -> Answer:
    return timed(answer, lambda i, e: 0.3 if i == 0 else 200 + e.t_ms)


def same_text(answer: Answer) -> Answer:
    return replace(answer, events=tuple(replace(e, text=f" w{i}") for i, e in enumerate(answer.events)))


def stopped(after: int, finish: str) -> Change:
    return lambda answer: replace(answer, events=answer.events[:after], output=after, finish=finish)


def in_turn(cells: list[tuple[str, str]]) -> list[Any]:
    """One cell of each row, of the dialects in their turn; the others where there is time."""
    rows = [list(row) for _, row in groupby(cells, key=itemgetter(0))]
    quick = {row[number % len(row)] for number, row in enumerate(rows)}
    return [pytest.param(*cell, marks=[] if cell in quick else [pytest.mark.slow]) for cell in cells]


ANY = {"counts_contradict"}
LIES: dict[str, tuple[Change, set[str]]] = {
    "usage halved": (scaled(0.5), ANY),
    "usage halved at the end": (scaled(0.5, running=False), ANY),
    "usage doubled": (scaled(2), ANY | {"answers_too_long"}),
    "usage doubled at the end": (scaled(2, running=False), ANY),
    "usage a tenth too small": (scaled(0.9), ANY),
    "usage says 1": (lambda a: replace(a, output=1), ANY),
    "usage says 0": (lambda a: replace(a, output=0), ANY),
    "usage is huge": (lambda a: replace(a, output=200_000_000), ANY),
    "prompt usage times 0.3": (prompt(19), {"prompts_cut"}),
    "prompts cut": (prompt(40), {"prompts_cut"}),
    "prompt usage doubled": (prompt(128), {"prompts_longer"}),
    "prompt usage zero": (prompt(0), ANY),
    "more cached than there was": (prompt(64, cached=100), {"impossible_usage"} | ANY),
    "a batch every 50 ms": (batched(50), {"tokens_in_bursts"}),
    "a batch every 20 ms": (batched(20), {"tokens_in_bursts"}),
    "held and let out in 100 us": (held(0.1), {"answers_held_back"}),
    "held and let out in 200 us": (held(0.2), {"answers_held_back"}),
    "held and let out by length": (held_by_length, {"answers_held_back"}),
    "held and let out at once": (held(0), {"answers_at_once"}),
    "the first token and the rest in one piece": (first_then_the_rest, {"tokens_in_bursts", "first_token_alone"}),
    "the first token and the rest in one event": (first_then_one_event, {"tokens_in_bursts", "first_token_alone"}),
    "all in one event": (in_one_event, {"answers_at_once"}),
    "white space at once": (blank_at_once, {"blank_at_first"}),
    "a token at once": (token_at_once, {"first_token_alone"}),
    "a cached text": (held(0.03, 1), {"answers_at_once"}),
    "the same text": (same_text, {"same_answers"}),
    "stops after 8": (stopped(8, "stop"), {"answers_too_short", "answers_ended_early"}),
    "is cut after 8": (stopped(8, "length"), {"answers_too_short", "counts_contradict"}),
    "is filtered after 8": (stopped(8, "filter"), {"nothing_succeeded"}),
}  # fmt: skip
# What a dialect has no words for, or says of itself.
HAS_NO = {
    "messages": {"usage halved at the end", "usage doubled at the end", "more cached than there was"},
    "tgi native": {"the first token and the rest in one event", "all in one event", "more cached than there was",
                   "usage halved", "usage doubled", "usage a tenth too small", "white space at once"},
}  # fmt: skip


@pytest.mark.parametrize(
    ("lie", "dialect"),
    in_turn([(lie, dialect) for lie in LIES for dialect in DIALECTS if lie not in HAS_NO.get(dialect, ())]),
)
def test_a_lie_is_never_valid(synthetic_run: Any, lie: str, dialect: str) -> None:
    change, codes = LIES[lie]
    run, _, _ = synthetic_run(requests=FEW, tokens=TOKENS, prompt_tokens=64)
    summary = judged(run, change, DIALECTS[dialect], FEW)
    verdict = summary["verdict"]
    assert verdict["status"] != "valid"
    assert {reason["code"] for reason in verdict["reasons"]} & codes, verdict


# --- honest oddities --------------------------------------------------------------------------------------------


def irregular(answer: Answer) -> Answer:
    """Gaps as of a busy engine: gamma distributed, a prefill of somebody else's among them."""
    rng, t_ms = random.Random(answer.seq), [TTFT_MS]
    for _ in answer.events[1:]:
        t_ms.append(t_ms[-1] + rng.gammavariate(2, GAP_MS / 2) + (60 if rng.random() < 0.05 else 0))
    return timed(answer, lambda i, e: t_ms[i])


def speculative(answer: Answer) -> Answer:
    """One to five tokens a step of 12 ms: an event each where events are not counted, else one for the step."""
    rng, events, i, t_ms = random.Random(answer.seq), [], 0, TTFT_MS
    while i < len(answer.events):
        taken = answer.events[i : i + rng.randint(1, 5)]
        events.append(Event(t_ms, "".join(e.text for e in taken), len(taken)))
        i, t_ms = i + len(taken), t_ms + 12
    return replace(answer, events=tuple(events))


def speculative_apart(answer: Answer) -> Answer:
    events = [(e.t_ms, e.tokens) for e in speculative(answer).events]
    instants = [t_ms + 0.02 * part for t_ms, tokens in events for part in range(tokens)]
    return timed(answer, lambda i, e: instants[i])


def several(tokens: int) -> Change:
    def change(answer: Answer) -> Answer:
        parts = [answer.events[i : i + tokens] for i in range(0, len(answer.events), tokens)]
        events = (Event(part[-1].t_ms, "".join(e.text for e in part), len(part)) for part in parts)
        return replace(answer, events=tuple(events))

    return change


def split(answer: Answer) -> Answer:
    """A proxy that cuts each token's text in two; the totals stay."""
    halves = (
        Event(e.t_ms + 2 * half, e.text[3 * half : 3 + 99 * half], e.tokens * half)
        for e in answer.events
        for half in (0, 1)
    )
    return replace(answer, events=tuple(e for e in halves if e.text))


def paired(answer: Answer) -> Answer:
    """A proxy that sends two events in one write."""
    return timed(answer, lambda i, e: answer.events[min(i | 1, TOKENS - 1)].t_ms)


def hidden_reasoning(answer: Answer) -> Answer:
    late = timed(answer, lambda i, e: 300 + e.t_ms)
    return replace(late, output=100, reasoning=60, max_tokens=200, finish="stop")


def reasoning_apart(answer: Answer) -> Answer:
    late = timed(answer, lambda i, e: 300 + e.t_ms)
    return replace(late, output=40, reasoning=60, total=164, max_tokens=120, finish="stop")


def begins_with_a_line(answer: Answer) -> Answer:
    first, *rest = answer.events
    return replace(answer, events=(replace(first, text="\n\n"), *rest))


def held_back(answer: Answer) -> Answer:
    """Two tokens at the end are half a character, and never sent."""
    return replace(answer, events=answer.events[:-2])


HONEST: dict[str, Change] = {
    "plain": lambda a: a,
    "irregular": irregular,
    "speculative, an event a token": speculative_apart,
    "cut into pieces": lambda a: replace(a, pieces=3),
    "two events a write": paired,
    "each token in two events": split,
    "a tiny model": lambda a: truthful(a.seq, ttft_ms=2.5, gap_ms=0.4),
    "a tiny model on a fast machine": lambda a: truthful(a.seq, ttft_ms=2, gap_ms=0.15),
    "fast hardware": lambda a: truthful(a.seq, ttft_ms=8, gap_ms=0.5),
    "a long queue": lambda a: timed(a, lambda i, e: 3000 + e.t_ms),
    "a template of its own": prompt(76),
    "a cache hit": prompt(64, cached=48),
    "short answers": lambda a: truthful(a.seq, 4),
    "one token": lambda a: truthful(a.seq, 1),
    "many lengths": lambda a: truthful(a.seq, 20 + 7 * (a.seq % 12)),
    "a line first": begins_with_a_line,
    "half a character at the end": held_back,
    "ended by the model": lambda a: replace(truthful(a.seq, 30), finish="stop", max_tokens=40),
}  # fmt: skip
COUNTED = {"speculative": speculative, "three tokens an event": several(3), "four tokens an event": several(4)}
REASONED = {"hidden reasoning": hidden_reasoning, "reasoning apart": reasoning_apart}
# These backends ask for exact lengths: an answer that ends before is no honest one. The last has no such words.
NOT_OF = {
    "vllm": {"ended by the model"},
    "llamacpp": {"ended by the model"},
    "tgi native": {"each token in two events"},
}


def _cells() -> list[tuple[str, str]]:
    cells = [(name, dialect) for name in HONEST for dialect in DIALECTS if name not in NOT_OF.get(dialect, ())]
    cells += [("speculative", "tgi native")]
    cells += [(name, dialect) for name in COUNTED for dialect in ("vllm", "llamacpp", "messages")]
    return cells + [(name, dialect) for name in REASONED for dialect in ("openai", "tgi chat")]


@pytest.mark.parametrize(("honest", "dialect"), in_turn(_cells()))
def test_an_honest_oddity_is_valid(synthetic_run: Any, honest: str, dialect: str) -> None:
    change = {**HONEST, **COUNTED, **REASONED}[honest]
    run, _, _ = synthetic_run(requests=FEW, tokens=TOKENS, prompt_tokens=64)
    reasons = judged(run, change, DIALECTS[dialect], FEW)["verdict"]["reasons"]
    assert [reason["code"] for reason in reasons] == ["few_samples"], reasons


@pytest.mark.parametrize(
    "dialect", [pytest.param(name, marks=[] if name in ("openai", "vllm") else pytest.mark.slow) for name in DIALECTS]
)
def test_enough_calls_of_an_honest_server_are_valid(synthetic_run: Any, dialect: str) -> None:
    run, _, _ = synthetic_run(requests=100, tokens=TOKENS, prompt_tokens=64)
    assert judged(run, irregular, DIALECTS[dialect], 100)["verdict"] == {"status": "valid", "reasons": []}


@pytest.mark.parametrize("reasoned", REASONED)
def test_tokens_of_hidden_reasoning_were_made_before_the_first_token(synthetic_run: Any, reasoned: str) -> None:
    run, _, _ = synthetic_run(requests=FEW, tokens=TOKENS, prompt_tokens=64)
    metrics = judged(run, REASONED[reasoned], DIALECTS["openai"], FEW)["metrics"]
    assert metrics["output_tokens"]["mean"] == 100
    assert metrics["tpot_ms"]["p50"] == pytest.approx(GAP_MS)
    assert metrics["itl_ms"]["p50"] == pytest.approx(GAP_MS)
    assert metrics["ttft_ms"]["p50"] == pytest.approx(320)


def test_every_finding_has_its_words() -> None:
    assert set(CONTRADICTIONS) == set(get_args(Contradiction))
    assert set(READINGS) == set(get_args(Reading))
