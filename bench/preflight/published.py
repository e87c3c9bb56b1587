"""The limits that a server reports, checked against the load before it starts."""

from collections.abc import Iterator, Mapping

from bench.plan.calls import Plan, lengths, total
from bench.plan.synthetic import longest_tokens
from bench.preflight.rehearsal import RehearsalResult
from bench.types import Load, Scenario, ServerInfo, UserError

_CUT = 0.9
"""A prompt of which a server counts less than this share was truncated; templates differ by less."""

# What is too long, and the server's limit.
_PROMPT = (
    "has prompts of up to {} tokens, but the server takes {}; give --prompt-tokens, or a server that takes longer ones"
)
_ANSWER = "has answers of up to {} tokens, but the server gives {}; give --output-tokens"
_NEEDS = "needs up to {} tokens per request, but the server takes {}; give "
_REQUEST = f"{_NEEDS}--prompt-tokens and --output-tokens, or a server with a longer context"
_SESSION = f"{_NEEDS}fewer --turns, a window in the scenario, or a server with a longer context"
_LONGEST_SUM = 20_000  # the calls of a plan whose tokens are added up; longer plans are extrapolated from these


def check_lengths(scenario: Scenario, info: ServerInfo) -> None:
    """Raise UserError if the scenario's longest request does not fit the server's context."""
    longest, output_tokens = longest_tokens(scenario), scenario.output_tokens.high
    limits = (
        (longest - output_tokens, info.max_prompt_tokens, _PROMPT),
        (output_tokens, info.max_output_tokens, _ANSWER),
        (longest, info.context_tokens, _REQUEST if scenario.turns is None else _SESSION),
    )
    for needed, taken, said in limits:
        if taken is not None and needed > taken:
            raise UserError(f"scenario {scenario.name!r} {said.format(needed, taken)}")


def check_load(load: Load, scenario: Scenario, info: ServerInfo) -> Iterator[str]:
    """Notes on how many concurrent requests the server takes; UserError if it would refuse a closed loop's."""
    at_once = load.slots
    if info.max_in_flight is not None and at_once > info.max_in_flight:
        if load.concurrency is not None:
            raise UserError(
                f"--concurrency {at_once}: the server takes {info.max_in_flight} requests at once and refuses the "
                f"rest; give --concurrency {info.max_in_flight} or fewer, or a server that takes more"
            )
        yield f"the server takes {info.max_in_flight} requests at once and refuses more"
    if load.concurrency is None:
        return
    if info.slots is not None and at_once > info.slots:
        yield (
            f"the server answers {info.slots} requests at once: of {at_once} in flight {at_once - info.slots} wait in "
            "its queue, which delays their first tokens"
        )
    longest = longest_tokens(scenario)
    if info.cache_tokens is not None and at_once * longest > info.cache_tokens:
        yield (
            f"the server's KV cache holds {info.cache_tokens:,} tokens and {at_once} requests in flight may need "
            f"{at_once * longest:,}; some will wait, or be preempted and restarted"
        )


def check_answer(done: RehearsalResult, plan: Plan) -> Iterator[str]:
    """Notes on what the rehearsal's answer implies for the load: a truncated prompt, exhausted limits."""
    reply, wanted = done.heard.reply, done.call.prompt_tokens
    if done.heard.error is not None:
        yield f"the first answer is not usable: {done.heard.error[1]}"
    asked = done.target.options.get("stream") != "off"
    if reply is not None and reply.deltas and reply.streamed != asked:
        yield (
            "the answer came in one piece although a stream was requested; token times will be unknown"
            if asked
            else "the answer came as a stream although it was requested in one piece"
        )
    counted = reply.usage.prompt_tokens if reply and reply.usage else None
    if counted and wanted and plan.vocabulary.exact and counted < _CUT * wanted:
        yield (
            f"the prompt was truncated: {wanted} tokens were sent and the server counts {counted}; give its model a "
            "longer context, or --prompt-tokens"
        )
    yield from _rate_limits(done.heard.headers, plan)


def _rate_limits(headers: Mapping[str, str], plan: Plan) -> Iterator[str]:
    """The rest of a vendor's rate limits, compared with what the plan will ask for."""
    requests, tokens = _asked_for(plan)
    for name, wanted in (("requests", requests), ("tokens", tokens)):
        for header in (f"x-ratelimit-remaining-{name}", f"anthropic-ratelimit-{name}-remaining"):
            left = headers.get(header, "")
            if wanted is not None and left.isascii() and left.isdecimal() and len(left) < 16 and int(left) < wanted:
                until = headers.get(header.replace("remaining", "reset"), "")
                when = f" until {until[:40]}" if until.isprintable() and until else ""
                yield f"the account has {int(left):,} {name} left{when} ({header}), but the plan asks for {wanted:,}"


def _asked_for(plan: Plan) -> tuple[int | None, int | None]:
    """Requests and tokens of a plan, None if only time ends it."""
    count = total(plan)
    if count is None:
        return None, None
    sample = min(count, _LONGEST_SUM)
    return count, sum(sum(lengths(plan, seq)) for seq in range(sample)) * count // max(1, sample)
