"""What a server says that it takes, against the load."""

from dataclasses import replace

import pytest

from bench.plan.calls import call, make_plan
from bench.plan.prompts import Vocabulary
from bench.preflight import published
from bench.preflight.rehearsal import RehearsalAnswer, RehearsalResult
from bench.types import Body, Lengths, Load, Reply, Scenario, ServerInfo, Target, Usage, UserError

INFO = ServerInfo("toy", None, "m", 1000, None, {})
WORDS = tuple(f"w{n}" for n in range(200))


def scenario(prompt: int = 64, output: int = 32) -> Scenario:
    return Scenario("toy", "", Lengths("fixed", prompt, prompt), Lengths("fixed", output, output), 0, 4, 100, 0)


def load(concurrency: int | None = 8, requests: int | None = 100) -> Load:
    rate = None if concurrency else 5.0
    duration_s = None if requests else 10.0
    return Load(concurrency, rate, "poisson", requests, duration_s, 0, None, concurrency or 1024, "wait")


def heard(prompt_tokens: int | None, **headers: str) -> RehearsalResult:
    plan = make_plan(scenario(), load(), 0, 1, Vocabulary(WORDS, 1.0, 10, True, "toy"))
    usage = None if prompt_tokens is None else Usage(prompt_tokens=prompt_tokens)
    said = {name.replace("_", "-"): value for name, value in headers.items()}
    reply = Reply("", [], usage, "length", None)
    answer = RehearsalAnswer(True, 200, said, Body(b"", [], []), reply, None, 1.0)
    return RehearsalResult(Target("http://h", "m"), call(plan, 0), (), answer, 1)


def notes(done: RehearsalResult) -> list[str]:
    plan = make_plan(scenario(), load(), 0, 1, Vocabulary(WORDS, 1.0, 10, True, "toy"))
    return list(published.check_answer(done, plan))


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (replace(INFO, context_tokens=95), "needs up to 96 tokens per request, but the server takes 95"),
        (replace(INFO, max_prompt_tokens=63), "prompts of up to 64 tokens, but the server takes 63"),
        (replace(INFO, max_output_tokens=31), "answers of up to 32 tokens, but the server gives 31"),
    ],
)
def test_requests_that_do_not_fit_are_refused(info: ServerInfo, said: str) -> None:
    with pytest.raises(UserError, match=said):
        published.check_lengths(scenario(), info)
    published.check_lengths(scenario(), INFO)


def test_a_closed_loop_that_would_be_refused_is_refused_and_an_open_one_is_told() -> None:
    info = replace(INFO, max_in_flight=16)
    with pytest.raises(UserError, match=r"--concurrency 64: the server takes 16 .* give --concurrency 16"):
        list(published.check_load(load(64), scenario(), info))
    assert list(published.check_load(load(16), scenario(), info)) == []
    [note] = published.check_load(load(None), scenario(), info)
    assert "takes 16 requests at once" in note


def test_what_will_wait_in_the_servers_queue_is_told() -> None:
    [slots] = published.check_load(load(8), scenario(), replace(INFO, slots=4))
    assert "of 8 in flight 4 wait" in slots
    [cache] = published.check_load(load(8), scenario(), replace(INFO, cache_tokens=500))
    assert "holds 500 tokens and 8 requests in flight may need 768" in cache
    assert list(published.check_load(load(8), scenario(), replace(INFO, slots=8, cache_tokens=768))) == []


def test_a_prompt_that_was_cut_is_told_with_both_counts_and_one_that_was_not_is_not() -> None:
    [note] = notes(heard(20))
    assert "the prompt was truncated: 64 tokens were sent and the server counts 20" in note
    assert notes(heard(64)) == notes(heard(60)) == notes(heard(None)) == []


def test_limits_of_an_account_that_will_not_do_are_told() -> None:
    [requests] = notes(heard(64, x_ratelimit_remaining_requests="20", x_ratelimit_reset_requests="3m"))
    assert "has 20 requests left until 3m (x-ratelimit-remaining-requests), but the plan asks for 100" in requests
    [tokens] = notes(heard(64, anthropic_ratelimit_tokens_remaining="5000"))
    assert "has 5,000 tokens left" in tokens and "asks for 9,600" in tokens
    assert notes(heard(64, x_ratelimit_remaining_requests="100", x_ratelimit_remaining_tokens="-1")) == []
