"""A scenario's calls: lengths, pauses and words, drawn for each session by itself."""

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench.plan import prompts
from bench.plan.openings import Opening, known_tokens, nodes, opening
from bench.plan.prompts import FRESH_TOKENS, Vocabulary
from bench.plan.rng import fraction, stream
from bench.types import Call, Lengths, Pause, Scenario, Turns, UserError

_NORMAL = NormalDist()
# Length of prompt and answer, pause, seed: drawn even where one is not used, so that no option moves the others.
_DRAWS_A_TURN = 4
_OUTLINES = 4096  # of sessions under way, and of those that a table is made of one after the other
_TURN_BITS = _GROUP_BITS = 32
_TEXTS = 1024


class TurnOutline(NamedTuple):
    """A turn without its words: what it adds, and what its prompt comes to.

    `words` are the tokens of its own, `since` is the oldest turn that its prompt has. `cacheable_tokens` of the prompt
    have been there before.
    """

    words: int
    prompt_tokens: int
    max_tokens: int
    pause_ns: int
    since: int
    cacheable_tokens: int
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Synthetic:
    """The calls of a scenario; made by `synthetic`. `number` is that of its class in a mix.

    With `opens` every first prompt has a system message, which the shared prefixes are in.
    """

    scenario: Scenario
    seed: int
    salt: int
    vocabulary: Vocabulary
    opens: bool
    number: int = 0
    due_ns: NDArray[np.int64] | None = None

    @property
    def turns_max(self) -> int:
        turns = self.scenario.turns
        return 1 if turns is None else turns.count.high

    @property
    def least(self) -> tuple[int, int]:
        return self.scenario.prompt_tokens.low, self.scenario.output_tokens.low

    def salted(self, salt: int) -> "Synthetic":
        return replace(self, salt=salt)

    def turns(self, session: int) -> int:
        turns = self.scenario.turns
        if turns is None:
            return 1
        if turns.count.kind == "fixed" and turns.when_full == "drop":
            return turns.count.low
        return len(outlines(self, session))

    def lengths(self, session: int, turn: int) -> tuple[int, int]:
        if self.scenario.turns is None:
            return _lengths(self, stream(self.seed, "call", session).few(3))
        outline = outlines(self, session)[turn]
        return outline.prompt_tokens, outline.max_tokens

    def cacheable(self, session: int, turn: int) -> int:
        if turn:
            return outlines(self, session)[turn].cacheable_tokens
        return known_tokens(self).of(session) if self.scenario.prefix_tokens else 0

    def prefixes(self, session: int) -> Iterable[tuple[Hashable, int]]:
        """What the session opens with."""
        return nodes(self.scenario, self.number, opening(self.scenario, self.seed, session))

    def call(self, session: int, turn: int) -> Call:
        made = self.drawn(session, turn)
        return made if turn else made._replace(cacheable_tokens=self.cacheable(session, 0))

    def drawn(self, session: int, turn: int) -> Call:
        """The call without what a cache knows of its session's opening, which depends on the sessions before it."""
        opened = opening(self.scenario, self.seed, session)
        if self.scenario.turns is None:
            made = _request(self, session, opened)
        else:
            made = _turn(self, self.scenario.turns, session, turn, opened)
        return made if opened.adapter is None else made._replace(adapter=opened.adapter)

    def facts(self) -> Mapping[str, object]:
        scenario = self.scenario
        facts: dict[str, object] = {
            "prompt_tokens": asdict(scenario.prompt_tokens),
            "output_tokens": asdict(scenario.output_tokens),
            "shared_prefix_tokens": scenario.shared_prefix_tokens,
            "seed": self.seed,
            "vocabulary": prompts.fingerprint(self.vocabulary),
        }
        if scenario.thinking is not None:
            facts["thinking"] = scenario.thinking
        if scenario.turns is not None:
            facts["turns"] = asdict(scenario.turns)
        if scenario.prefixes:
            facts["prefixes"] = [asdict(level) for level in scenario.prefixes]
        if scenario.adapters:
            facts["adapters"] = dict(scenario.adapters)
        return facts


def synthetic(
    scenario: Scenario, seed: int, salt: int, vocabulary: Vocabulary, *, opens: bool | None = None, number: int = 0
) -> Synthetic:
    """The calls of a scenario. Raises UserError where its longest prompt cannot hold the fixed parts."""
    least = _least_prompt_tokens(scenario, vocabulary)
    if scenario.prompt_tokens.high < least:
        raise UserError(
            f"prompt_tokens: {scenario.prompt_tokens.high} is too few for scenario {scenario.name!r} and this model, "
            f"whose chat template, instruction and shared prefix take {least}; give --prompt-tokens {least} or more"
        )
    if scenario.turns is not None:
        _check_turns(scenario, scenario.turns, vocabulary)
    opens = scenario.prefix_tokens > 0 if opens is None else opens
    return Synthetic(scenario, seed, salt, vocabulary, opens, number)


@lru_cache(_TEXTS)
def _prefix(source: Synthetic, path: tuple[int, ...]) -> str | None:
    """The text that opens a session's first prompt; its first words, and its group's, are this run's alone."""
    if not source.opens:
        return None
    vocabulary, seed, salt = source.vocabulary, source.seed, source.salt
    scenario, index = source.scenario, source.number
    fresh, rest = stream(seed, "fresh prefix words", index, salt), stream(seed, "prefix", index)
    found = prompts.unseen_text(vocabulary, fresh, rest, scenario.shared_prefix_tokens)
    for depth, (level, group) in enumerate(zip(scenario.prefixes, path, strict=True)):
        index = index << _GROUP_BITS | (group + 1)
        rest = stream(seed, "group prefix", index)
        if depth == 0:
            fresh = stream(seed, "fresh group words", index, salt)
            found += prompts.unseen_text(vocabulary, fresh, rest, level.tokens)
        else:  # what it follows is new already
            found += prompts.text(vocabulary, rest, level.tokens)
    return found


def _check_turns(scenario: Scenario, turns: Turns, vocabulary: Vocabulary) -> None:
    least = vocabulary.turn_tokens + FRESH_TOKENS
    if turns.added_tokens.high < least:
        raise UserError(
            f"turn_tokens: {turns.added_tokens.high} is too few for scenario {scenario.name!r} and this model, whose "
            f"chat template and instruction take {least} of a further turn; give {least} or more"
        )
    alone = vocabulary.overhead_tokens + scenario.prefix_tokens + turns.added_tokens.high
    longest = max(scenario.prompt_tokens.high, alone - vocabulary.turn_tokens) + scenario.output_tokens.high
    if turns.window_tokens is not None and turns.window_tokens < longest:
        raise UserError(
            f"window: {turns.window_tokens} tokens cannot hold a turn of scenario {scenario.name!r} by itself, whose "
            f"prompt and answer take up to {longest}; give {longest} or more"
        )


# --- a request by itself ------------------------------------------------------------------------------------------


def _request(source: Synthetic, session: int, opened: Opening) -> Call:
    """About 20 us and 0.04 us for each token of the prompt."""
    vocabulary, scenario = source.vocabulary, source.scenario
    bits = stream(source.seed, "call", session)
    draws = bits.few(3)
    prompt_tokens, max_tokens = _lengths(source, draws)
    # From a stream of their own: the salt changes these words and no length.
    fresh = stream(source.seed, "fresh words", session, source.salt)
    words = prompts.unseen_text(
        vocabulary, fresh, bits, prompt_tokens - vocabulary.overhead_tokens - scenario.prefix_tokens
    )
    return Call(
        seq=session,
        due_ns=None,
        session=session,
        turn=0,
        phase=None,
        messages=prompts.messages(words, _prefix(source, opened.path)),
        max_tokens=max_tokens,
        seed=draws[2] % 2**31,
        prompt_tokens=prompt_tokens,
    )


def _lengths(source: Synthetic, draws: Sequence[int]) -> tuple[int, int]:
    prompt_tokens = sample(source.scenario.prompt_tokens, fraction(draws[0]))
    least = _least_prompt_tokens(source.scenario, source.vocabulary)
    return max(prompt_tokens, least), sample(source.scenario.output_tokens, fraction(draws[1]))


# --- a session ----------------------------------------------------------------------------------------------------


@lru_cache(_OUTLINES)
def outlines(source: Synthetic, session: int) -> tuple[TurnOutline, ...]:
    """All turns of a session without their words."""
    scenario, vocabulary = source.scenario, source.vocabulary
    turns = scenario.turns
    assert turns is not None, "a scenario of requests has no turns"
    bits = stream(source.seed, "session", session)
    count = sample(turns.count, fraction(int(bits.take(1)[0])))
    drawn: Iterator[int] = iter(bits.take(_DRAWS_A_TURN * count).tolist())
    base = vocabulary.overhead_tokens + scenario.prefix_tokens
    limit = math.inf if turns.window_tokens is None else turns.window_tokens
    found: list[TurnOutline] = []
    # `held` is what the window holds of earlier turns with their answers, `since` the oldest of them.
    held, since, seen = 0, 0, 0
    # Numbers one by one: of the few that a session has NumPy would take three times as long.
    for turn, (of_prompt, of_output, of_pause, of_seed) in enumerate(zip(drawn, drawn, drawn, drawn, strict=True)):
        prompt_draw, output_draw = fraction(of_prompt), fraction(of_output)
        own = sample(turns.added_tokens, prompt_draw) - vocabulary.turn_tokens
        if turn == 0:
            own = sample(scenario.prompt_tokens, prompt_draw) - base
        own, output = max(own, FRESH_TOKENS), sample(scenario.output_tokens, output_draw)
        if base + held + own + output > limit:
            if turns.when_full == "stop":
                break
            while since < turn and base + held + own + output > limit:
                held -= found[since].words + found[since].max_tokens + vocabulary.turn_tokens
                since += 1
            seen = scenario.prefix_tokens
        prompt = base + held + own
        pause_ns = draw_pause_ns(turns.pause, fraction(of_pause)) if turn else 0
        found.append(TurnOutline(own, prompt, output, pause_ns, since, seen, of_seed % 2**31))
        held += own + output + vocabulary.turn_tokens
        # Of an answer that came back the last token has been given out, and never been read.
        seen = prompt + (output - 1 if turns.history == "actual" else 0)
    return tuple(found)


def _turn(source: Synthetic, turns: Turns, session: int, turn: int, opened: Opening) -> Call:
    """About 20 us and 0.04 us for each token that the turn adds."""
    vocabulary, seed = source.vocabulary, source.seed
    every = outlines(source, session)
    outline, index = every[turn], session << _TURN_BITS | turn
    fresh, rest = stream(seed, "fresh words", index, source.salt), stream(seed, "turn words", index)
    words = prompts.unseen_text(vocabulary, fresh, rest, outline.words)
    messages = prompts.messages(words, _prefix(source, opened.path) if turn == 0 else None)
    if turn and turns.history == "planned":
        words = prompts.text(vocabulary, stream(seed, "answer words", index), every[turn - 1].max_tokens - 1)
        messages = (prompts.answer(words), *messages)
    return Call(
        seq=session,
        due_ns=None,
        session=session,
        turn=turn,
        phase=None,
        messages=messages,
        max_tokens=outline.max_tokens,
        seed=outline.seed,
        prompt_tokens=outline.prompt_tokens,
        pause_ns=outline.pause_ns,
        since=outline.since,
        cacheable_tokens=outline.cacheable_tokens,
    )


def longest_tokens(scenario: Scenario) -> int:
    """The most tokens of a prompt and its answer together, as far as the scenario alone decides that."""
    if scenario.classes:
        return max(map(longest_tokens, scenario.parts))
    turns, output = scenario.turns, scenario.output_tokens.high
    if turns is None:
        return scenario.prompt_tokens.high + output
    longest = scenario.prompt_tokens.high + output + (turns.count.high - 1) * (turns.added_tokens.high + output)
    return longest if turns.window_tokens is None else min(longest, turns.window_tokens)


# --- what is drawn ------------------------------------------------------------------------------------------------


def sample(lengths: Lengths, draw: float) -> int:
    """The length at the quantile `draw` in [0, 1).

    A lognormal's tails are moved to its bounds, not drawn again, so that its median is the one that was asked for.
    """
    if lengths.median is None or lengths.sigma is None:
        return lengths.low + int(draw * (lengths.high - lengths.low + 1))
    if draw == 0:
        return lengths.low
    length = lengths.median * math.exp(lengths.sigma * _NORMAL.inv_cdf(draw))
    return min(max(round(length), lengths.low), lengths.high)


def draw_pause_ns(pause: Pause, draw: float) -> int:
    """The pause at this quantile, in whole microseconds: a library's last bit is not to be seen in it."""
    seconds = pause.s
    if pause.kind == "exponential":
        seconds *= -math.log1p(-draw)
    elif pause.kind == "lognormal":
        seconds *= math.exp(pause.sigma * _NORMAL.inv_cdf(max(draw, 2.0**-53)))
    return round(min(seconds, pause.high_s) * 1e6) * 1000


def _least_prompt_tokens(scenario: Scenario, vocabulary: Vocabulary) -> int:
    return vocabulary.overhead_tokens + scenario.prefix_tokens + FRESH_TOKENS
