"""What a server says that it takes, held against the load before it starts: what cannot work is said at once."""

from collections.abc import Iterator, Mapping

from bench.plan.calls import Plan, lengths, total
from bench.plan.synthetic import longest_tokens
from bench.preflight.rehearsal import RehearsalResult
from bench.types import Load, Scenario, ServerInfo, UserError

_CUT = 0.9
"""A prompt of which a server counts less than this share was not read whole; templates differ by less."""

# What is too long, where the server takes less.
_PROMPT = (
    "has prompts of up to {} tokens and the server takes {}; give --prompt-tokens, or a server that takes longer ones"
)
_ANSWER = "has answers of up to {} tokens and the server gives {}; give --output-tokens"
_NEEDS = "needs up to {} tokens a request and the server takes {}; give "
_REQUEST = f"{_NEEDS}--prompt-tokens and --output-tokens, or a server with a longer context"
_SESSION = f"{_NEEDS}fewer --turns, or the scenario a window, or a server with a longer context"
_LONGEST_SUM = 20_000  # of a plan's calls whose tokens are added up; of more, so many times the average


def check_lengths(scenario: Scenario, info: ServerInfo) -> None:
    """Raise UserError where the scenario's longest request does not fit into the server's context."""
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
    """Notes on how many requests the server takes at once; a UserError where it would refuse a closed loop's."""
    at_once = load.slots
    if info.max_in_flight is not None and at_once > info.max_in_flight:
        if load.concurrency is not None:
            raise UserError(
                f"--concurrency {at_once}: the server takes {info.max_in_flight} requests at once and refuses the "
                f"rest; give --concurrency {info.max_in_flight} or fewer, or a server that takes more"
            )
        yield f"the server takes {info.max_in_flight} requests at once and refuses what comes beyond them"
    if load.concurrency is None:
        return
    if info.slots is not None and at_once > info.slots:
        yield (
            f"the server answers {info.slots} requests at once: of {at_once} in flight {at_once - info.slots} wait in "
            "its queue, and their first tokens with them"
        )
    longest = longest_tokens(scenario)
    if info.cache_tokens is not None and at_once * longest > info.cache_tokens:
        yield (
            f"the server's KV cache holds {info.cache_tokens:,} tokens and {at_once} requests in flight may need "
            f"{at_once * longest:,}: some will wait, or be stopped and begun again"
        )


def check_answer(done: RehearsalResult, plan: Plan) -> Iterator[str]:
    """Notes on what the rehearsal's answer says of the load: a prompt that was cut, limits that will not do."""
    reply, wanted = done.heard.reply, done.call.prompt_tokens
    if done.heard.error is not None:
        yield f"the first answer is a poor one: {done.heard.error[1]}"
    asked = done.target.options.get("stream") != "off"
    if reply is not None and reply.deltas and reply.streamed != asked:
        yield (
            "the answer came in one piece although a stream was asked for: no time of its tokens is known"
            if asked
            else "the answer came as a stream although it was asked for in one piece"
        )
    counted = reply.usage.prompt_tokens if reply and reply.usage else None
    if counted and wanted and plan.vocabulary.exact and counted < _CUT * wanted:
        yield (
            f"the prompt was cut: {wanted} tokens were sent and the server counts {counted}; give its model a longer "
            "context, or --prompt-tokens"
        )
    yield from _rate_limits(done.heard.headers, plan)


def _rate_limits(headers: Mapping[str, str], plan: Plan) -> Iterator[str]:
    """What is left of a vendor's limits against what the plan will ask for."""
    requests, tokens = _asked_for(plan)
    for name, wanted in (("requests", requests), ("tokens", tokens)):
        for header in (f"x-ratelimit-remaining-{name}", f"anthropic-ratelimit-{name}-remaining"):
            left = headers.get(header, "")
            if wanted is not None and left.isascii() and left.isdecimal() and len(left) < 16 and int(left) < wanted:
                until = headers.get(header.replace("remaining", "reset"), "")
                when = f" until {until[:40]}" if until.isprintable() and until else ""
                yield f"the account has {int(left):,} {name} left{when} ({header}) and the plan asks for {wanted:,}"


def _asked_for(plan: Plan) -> tuple[int | None, int | None]:
    """Requests and tokens of a plan, None where only time ends it."""
    count = total(plan)
    if count is None:
        return None, None
    sample = min(count, _LONGEST_SUM)
    return count, sum(sum(lengths(plan, seq)) for seq in range(sample)) * count // max(1, sample)
