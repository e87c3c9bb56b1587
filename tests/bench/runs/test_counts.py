"""What is taken for a call's counts, from what the server says, what was planned and what arrived."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.dialect import claude, openai, tgi
from bench.runs.counts import Counts, PlannedTokens, reconcile
from bench.types import Body, Decode, Usage

FIXTURES = Path(__file__).parents[2] / "fixtures"
DECODES: dict[str, Decode] = {
    "claude": claude.decode,
    "messages": claude.decode,
    "tgi": tgi.decode,
    "openai": openai.decode,
}
ASKED = PlannedTokens(64, 40)
PLAIN = Usage(prompt_tokens=64, output_tokens=40, total_tokens=104)


def deltas(*kinds: Any, tokens: Any = None) -> list[Any]:
    return [(i, tokens[i] if tokens else None, kind) for i, kind in enumerate(kinds)]


def taken(
    usage: Usage, arrived: Any = 40, finish: str = "length", asked: PlannedTokens = ASKED, **other: Any
) -> Counts:
    seen = deltas(*["text"] * arrived) if isinstance(arrived, int) else arrived
    return reconcile(asked, usage, seen, finish, other.get("text_bytes", 4 * len(seen)))


@pytest.mark.parametrize(
    ("usage", "output", "early", "reading"),
    [
        (PLAIN, 40, 0, ()),
        (PLAIN._replace(output_tokens=100, reasoning_tokens=60, total_tokens=164), 100, 60, ()),
        (PLAIN._replace(reasoning_tokens=60, total_tokens=164), 100, 60, ("reasoning_apart",)),
        (PLAIN._replace(reasoning_tokens=60, total_tokens=None), 100, 60, ("reasoning_apart",)),
        (PLAIN._replace(total_tokens=164), 100, 60, ("output_by_total",)),
        (PLAIN._replace(output_tokens=None, total_tokens=104), 40, 0, ("output_by_total",)),
        # As many arrivals as tokens: the reasoning was shown as text.
        (PLAIN._replace(reasoning_tokens=20), 40, 0, ()),
        # Four tokens an arrival and one byte for each: nobody says that it was reasoning.
        (PLAIN._replace(output_tokens=160, total_tokens=224), 160, 120, ("hidden_reasoning",)),
    ],
)
def test_reasoning_that_was_not_shown_came_before_the_first_token(
    usage: Usage, output: int, early: int, reading: tuple[str, ...]
) -> None:
    found = taken(usage, finish="stop", asked=PlannedTokens(64, 200))
    assert (found.output_tokens, found.early_tokens, found.readings) == (output, early, reading)
    assert found.early_tokens is not None
    assert sum(found.arrival_tokens) == output - found.early_tokens
    assert found.contradictions == ()


@pytest.mark.parametrize(
    ("usage", "arrived", "output", "contradiction"),
    [
        (Usage(64, output_tokens=1), 16, 16, "output_overruled"),
        (Usage(64, output_tokens=0), 16, 16, "output_overruled"),
        (Usage(64, output_tokens=8), 16, 16, "output_overruled"),
        (Usage(64, output_tokens=32), 16, 16, "output_overruled"),
        (Usage(64, output_tokens=8), deltas(*["text"] * 16, tokens=[1] * 16), 16, "final_overruled"),
        (Usage(64, output_tokens=16), deltas(*["text"] * 16, tokens=[2] * 16), 16, "final_overruled"),
        (Usage(64, output_tokens=8), 12, 8, "output_below_arrivals"),
        (Usage(64, output_tokens=0), 12, 12, "output_zero"),
        (Usage(64, output_tokens=10**9), 12, 12, "over_limit"),
        (Usage(64, output_tokens=12), 4, 12, "length_not_reached"),
        (Usage(64, output_tokens=30), deltas(*["text"] * 15, tokens=[1] * 15), 30, "running_differs"),
        (Usage(64, output_tokens=16, reasoning_tokens=20, total_tokens=80), 16, 16, "reasoning_over_output"),
        (Usage(64, output_tokens=16, total_tokens=70), 16, 16, "total_differs"),
        (Usage(0, output_tokens=16), 16, 16, "prompt_zero"),
        (Usage(64, cached_tokens=100, output_tokens=16), 16, 16, "cached_over_prompt"),
        (Usage(19, output_tokens=16, total_tokens=80), 16, 16, "prompt_overruled"),
    ],
)
def test_what_cannot_be_is_named_and_where_one_number_fits_all_the_rest_it_is_taken(
    usage: Usage, arrived: Any, output: int, contradiction: str
) -> None:
    found = taken(usage, arrived, asked=PlannedTokens(64, 16))
    assert (found.output_tokens, found.contradictions) == (output, (contradiction,))
    if found.source in ("arrivals", "per-chunk usage") or contradiction == "final_overruled":
        assert list(found.arrival_tokens) == [1] * len(found.arrival_tokens)


@pytest.mark.parametrize(
    ("usage", "prompt", "reading"),
    [
        (Usage(64, output_tokens=40), 64, ()),
        (Usage(75, output_tokens=40), 75, ()),
        (Usage(16, 48, output_tokens=40), 64, ("cached_apart",)),
        (Usage(4, 40, 20, 40), 64, ("cached_apart",)),
        (Usage(0, 64, output_tokens=40), 64, ("cached_apart",)),
        (Usage(None, output_tokens=40, total_tokens=104), 64, ("prompt_by_total",)),
        (Usage(64, 48, output_tokens=40), 64, ()),
    ],
)
def test_what_is_cached_is_part_of_the_prompt(usage: Usage, prompt: int, reading: tuple[str, ...]) -> None:
    found = taken(usage)
    assert (found.usage.prompt_tokens, found.readings, found.contradictions) == (prompt, reading, ())


@pytest.mark.parametrize(
    ("arrived", "usage"),
    [
        (20, PLAIN),  # two tokens an event
        (80, PLAIN),  # a proxy that cuts each in two
        (deltas(*["text"] * 10, tokens=[4] * 10), PLAIN),
        (deltas(*["text"] * 38, tokens=[1] * 38), PLAIN),  # half of a character at the end
        (deltas(*["text"] * 40, tokens=[0] * 40), PLAIN),  # zeros with every event
        (39, PLAIN),
    ],
)
def test_what_honest_servers_and_proxies_do_is_no_contradiction(arrived: Any, usage: Usage) -> None:
    found = taken(usage, arrived)
    assert (found.output_tokens, sum(found.arrival_tokens), found.contradictions) == (40, 40, ())


def test_white_space_at_the_start_is_no_first_token_and_its_tokens_came_before() -> None:
    found = taken(Usage(64, output_tokens=6), deltas("blank", "blank", *["text"] * 4), finish="stop")
    assert (found.output_tokens, found.early_tokens, list(found.arrival_tokens)) == (6, 2, [1, 1, 1, 1])
    nothing_else = taken(Usage(64, output_tokens=2), deltas("blank", "blank"), finish="stop")
    assert (nothing_else.output_tokens, nothing_else.early_tokens, list(nothing_else.arrival_tokens)) == (2, 2, [])


def test_reasoning_that_was_shown_has_its_own_tokens() -> None:
    seen = deltas("reasoning", "reasoning", "text", "text")
    found = taken(Usage(64, output_tokens=22, reasoning_tokens=20), seen, finish="stop")
    assert (found.early_tokens, list(found.arrival_tokens)) == (0, [10, 10, 1, 1])


def test_what_the_first_event_counts_and_did_not_bring_was_made_before_it() -> None:
    seen = deltas("text", "text", "text", tokens=[101, 1, 1])
    found = taken(Usage(64, output_tokens=103), seen, finish="stop", asked=PlannedTokens(64, 200))
    assert (found.output_tokens, found.early_tokens, list(found.arrival_tokens)) == (103, 100, [1, 1, 1])


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*.sse")), ids=lambda path: path.stem)
def test_what_real_servers_sent_holds_no_contradiction(path: Path) -> None:
    data = path.read_bytes()
    decode = DECODES[next((name for name in DECODES if name in path.stem), "openai")]
    reply = decode(200, {}, Body(data, [len(data)], [0]))
    found = reconcile(PlannedTokens(None, 0), reply.usage, reply.deltas, reply.finish, len(reply.text.encode()))
    assert (found.readings, found.contradictions) == ((), ())
    assert found.output_tokens is not None
    assert sum(found.arrival_tokens) == found.output_tokens - (found.early_tokens or 0)


def test_of_an_answer_that_did_not_end_the_usage_says_nothing_of_the_output() -> None:
    found = reconcile(ASKED, PLAIN, deltas("text", "text"), None, 8, complete=False)
    assert (found.output_tokens, found.source, found.usage.prompt_tokens) == (2, "chunk count", 64)


COUNT = st.one_of(st.none(), st.integers(-2, 100), st.integers(0, 10**9))
USAGE = st.builds(Usage, *[COUNT] * 7)
DELTAS = st.lists(st.tuples(st.just(0), COUNT, st.sampled_from(["text", "blank", "reasoning", "tool"])), max_size=30)


@given(USAGE, DELTAS, st.one_of(st.none(), st.integers(0, 100)), st.integers(0, 60), st.booleans(), st.booleans())
@settings(max_examples=400, deadline=None)
def test_whatever_is_said_arrivals_and_what_came_before_them_are_all_the_output(
    usage: Usage, seen: Any, planned: int | None, limit: int, for_length: bool, complete: bool
) -> None:
    finish = "length" if for_length else "stop"
    found = reconcile(PlannedTokens(planned, limit), usage, seen, finish, 3 * len(seen), complete=complete)
    leading = next((i for i, (_, _, kind) in enumerate(seen) if kind != "blank"), len(seen))
    assert len(found.arrival_tokens) == len(seen) - leading
    assert all(tokens >= 0 for tokens in found.arrival_tokens)
    assert (found.output_tokens is None) == (found.early_tokens is None)
    if found.output_tokens is not None and seen:
        assert sum(found.arrival_tokens) + (found.early_tokens or 0) == found.output_tokens
    if limit:
        assert sum(found.arrival_tokens) <= 4 * limit + 64 + max(len(seen), limit)
