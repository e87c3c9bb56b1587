"""Sessions on real engines: the plan's prompts and cached tokens, turn by turn, and the same on both."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from backends import BACKENDS
from bench.plan.calls import Plan, following, make_plan
from bench.plan.calls import calls as first_turns
from bench.plan.prompts import calibrate
from bench.plan.resolve import resolve_load
from bench.plan.source import Conversation
from bench.types import Backend, Call, Lengths, Pause, Reply, Scenario, Target, Turns

pytestmark = pytest.mark.engine

Ask = Callable[[Backend, Target, Call], Reply]
TURNS = Turns(Lengths("uniform", 3, 6), Lengths("uniform", 40, 120), Pause("fixed", 0.0))
SCENARIO = Scenario("s", "", Lengths("uniform", 150, 300), Lengths("uniform", 20, 60), 0, 1, 1, 0, turns=TURNS)
# llama.cpp's cache is by the token; that of vLLM on a CPU has blocks of 128, elsewhere 16.
BLOCKS = {"llamacpp": 1, "vllm": 128}


def plan_for(backend: Backend, target: Target) -> Plan:
    count = partial(backend.count_tokens, target)
    vocabulary = calibrate(count, "engine", sessions=True)
    assert vocabulary.exact
    return make_plan(SCENARIO, resolve_load(SCENARIO, sessions=3), 5, 7, vocabulary)


def counts_of(ask: Ask, backend: Backend, target: Target) -> list[tuple[int, int, int, int]]:
    """(planned prompt, prompt, cacheable, cached) tokens of every turn, one session after the other."""
    plan, found = plan_for(backend, target), []
    for first in first_turns(plan):
        conversation, call, answer = Conversation(), first, None
        while call is not None:
            reply = ask(backend, target, call._replace(messages=conversation.prompt(call, answer)))
            assert reply.error is None
            assert reply.usage is not None
            usage, answer = reply.usage, reply.text
            assert usage.output_tokens == call.max_tokens
            assert usage.prompt_tokens is not None
            cached = usage.cached_tokens or 0
            found.append((call.prompt_tokens or 0, usage.prompt_tokens, call.cacheable_tokens or 0, cached))
            call = following(plan, call.seq)  # type: ignore[assignment]
    return found


def check(name: str, found: list[tuple[int, int, int, int]]) -> None:
    block = BLOCKS[name]
    for wanted, prompt, cacheable, cached in found:
        assert prompt == wanted
        expected = min(cacheable, prompt - 1) // block * block
        assert abs(cached - expected) <= max(block, 3), "3 tokens of the chat template are common to all prompts"


def test_llamacpp_serves_of_each_turn_what_the_plan_says(llamacpp_server: Target, ask: Ask) -> None:
    check("llamacpp", counts_of(ask, BACKENDS["llamacpp"], llamacpp_server))


def test_vllm_serves_of_each_turn_what_the_plan_says_and_counts_as_llamacpp_does(
    vllm_server: Target, llamacpp_server: Target, ask: Ask
) -> None:
    found = counts_of(ask, BACKENDS["vllm"], replace(vllm_server, options={**vllm_server.options}))
    check("vllm", found)
    others = counts_of(ask, BACKENDS["llamacpp"], llamacpp_server)
    assert [prompt for _, prompt, _, _ in found] == [prompt for _, prompt, _, _ in others]
