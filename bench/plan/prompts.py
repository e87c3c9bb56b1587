"""Prompts of an exact number of tokens, made of words that the server itself counts as one token each.

Strategy: a prompt is a fixed opening, random words, and a fixed request for a long answer. The server's tokenizer is
asked, before the load starts, what the template and the fixed parts cost, and which of our common English words cost
one token when they follow a space. From then on a prompt of n tokens is n - overhead words, and nothing has to be
counted in the timed path. Sample prompts prove the sum; where it does not hold, or nobody counts, prompts are made
by the average cost of a word and `exact` is False.

A prompt starts with words that no other request or run has: what a server remembers of earlier prompts cannot help
it, except by the prefix that a scenario shares on purpose, and that is new in each run as well.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from bench.plan.rng import Stream, stream
from bench.server.tinytokenizer import WORDS
from bench.types import Message, UserError

Count = Callable[[tuple[Message, ...]], int | None]

# So many tokens at the head of a prompt are new: 96 words or more to the 8th make a repetition a matter of 1e-16,
# and a server that caches in blocks finds no block that it knows.
FRESH_TOKENS = 8

# A chat model that is sent bare words asks what they mean and stops; the request keeps it writing up to the limit where
# a server cannot be told to ignore the end of an answer. The opening is there because the first word of a text has no
# space before it and may cost more than one token.
_PREFIX_OPENING = "remember"
_OPENING = "take"
_REQUEST = " and write a long story with them"
_ANSWER_OPENING = "sure"

_ENOUGH_WORDS = 256
_FEWEST_WORDS = 96
# So many words are counted at a time: who counts by completing has no answer for what the context cannot hold.
_WORDS_A_COUNT, _FEWEST_A_COUNT = 205, 16
_MAX_SPLITS = 128  # where a fifth of the words are no use; about 6 s with a tokenizer across the ocean
_SAMPLE_TOKENS = (FRESH_TOKENS, 61, 256)

# Up to here numpy's own overhead is more than what it saves.
_FEW_WORDS = 64

# With nobody to count: in the tokenizers of GPT-4, GPT-4o and Llama 3 every word of `WORDS` is one token, in Llama 2's
# 98% are; the fixed parts are 8 words, and a chat template adds about 10 tokens.
_UNCOUNTED_OVERHEAD_TOKENS = 18
_UNCOUNTED_TURN_TOKENS = 18


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Words to make prompts of, and their price: `overhead_tokens` for everything else in a prompt.

    A further turn of a session costs `turn_tokens` besides its words and the answer before it; 0 where no session was
    asked for. With `exact`, `tokens_per_word` is 1 and prompts were verified to have the wanted count; `source` who
    counted.
    """

    words: tuple[str, ...]
    tokens_per_word: float
    overhead_tokens: int
    exact: bool
    source: str
    turn_tokens: int = 0


def messages(words: str, prefix: str | None = None) -> tuple[Message, ...]:
    """A prompt of words as `text` gives them; a prefix goes into a system message, where servers cache it."""
    user = Message("user", f"{_OPENING}{words}{_REQUEST}")
    return (user,) if prefix is None else (Message("system", f"{_PREFIX_OPENING}{prefix}"), user)


def answer(words: str) -> Message:
    """An answer of words as `text` gives them and one word before them, to be remembered as if it had been given."""
    return Message("assistant", f"{_ANSWER_OPENING}{words}")


def text(vocabulary: Vocabulary, bits: Stream, tokens: int) -> str:
    """Random words worth `tokens` tokens, each with a space before it; 0.04 us a token."""
    words = vocabulary.words
    count, known = max(0, round(tokens / vocabulary.tokens_per_word)), len(words)
    if count <= _FEW_WORDS:
        return _spaced([words[number % known] for number in bits.few(count)])
    return _spaced([words[i] for i in (bits.take(count) % np.uint64(known)).tolist()])


def unseen_text(vocabulary: Vocabulary, fresh: Stream, rest: Stream, tokens: int) -> str:
    """Random words of which the first are from `fresh`, salted bits: no cache has seen a text that begins so."""
    first = min(tokens, FRESH_TOKENS)
    return text(vocabulary, fresh, first) + text(vocabulary, rest, tokens - first)


def fingerprint(vocabulary: Vocabulary) -> str:
    """Hash of what decides the text of a prompt: equal for two servers of one model, whoever counted."""
    facts: list[object] = [vocabulary.words, vocabulary.tokens_per_word, vocabulary.overhead_tokens]
    if vocabulary.turn_tokens:
        facts.append(vocabulary.turn_tokens)
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]


def calibrate(
    count: Count,
    source: str,
    *,
    shared_prefix: bool = False,
    sessions: bool = False,
    context_tokens: int | None = None,
) -> Vocabulary:
    """Ask a tokenizer for the vocabulary of prompts with or without a shared prefix, and for that of sessions.

    `count` is the server's own count of a whole prompt, template included, or None where it offers none. It is asked
    8 times where every word is one token, about 35 times where 2% are not, 136 times at most, for prompts that a
    context of 512 tokens holds, or one of `context_tokens` where that is known. Where prompts do not have the sum of
    their words' tokens, `exact` is False.
    """

    def prompt(text: str) -> tuple[Message, ...]:
        return messages(text, "" if shared_prefix else None)

    overhead = count(prompt(""))
    if overhead is None:
        turn_tokens = _UNCOUNTED_TURN_TOKENS if sessions else 0
        source = "not counted: one token a word assumed"
        return Vocabulary(WORDS, 1.0, _UNCOUNTED_OVERHEAD_TOKENS, False, source, turn_tokens)

    def tokens_of(messages: tuple[Message, ...]) -> int:
        tokens = count(messages)
        if tokens is None:
            raise UserError(f"{source} counted the tokens of one prompt but not of the next; run again")
        return tokens

    def cost(group: Sequence[str]) -> int:
        return tokens_of(prompt(_spaced(group))) - overhead

    # The answer's own word is one of its tokens.
    turn_tokens = tokens_of((*prompt(""), answer(""), *messages(""))) - overhead - 1 if sessions else 0
    # Half of the context, as a word may take two tokens.
    most = _WORDS_A_COUNT if context_tokens is None else min(_WORDS_A_COUNT, (context_tokens - overhead) // 2)
    size = max(_FEWEST_A_COUNT, most)
    groups = [(group, cost(group)) for group in (WORDS[at : at + size] for at in range(0, len(WORDS), size))]
    total = sum(tokens for _, tokens in groups)
    single = _one_token_words(groups, cost)
    if len(single) >= _FEWEST_WORDS:
        vocabulary = Vocabulary(single, 1.0, overhead, True, source, turn_tokens)
        samples = _samples(vocabulary, shared_prefix)
        if all(
            count(sample) == tokens for sample, tokens in samples if context_tokens is None or tokens < context_tokens
        ):
            return vocabulary
    return Vocabulary(WORDS, max(1.0, total / len(WORDS)), overhead, False, source, turn_tokens)


def _one_token_words(
    counted: Sequence[tuple[tuple[str, ...], int]], cost: Callable[[Sequence[str]], int]
) -> tuple[str, ...]:
    """Group testing: a group that costs one token a word is all good, any other is halved, until there are enough.

    What every group costs is known, so all those without a long word are taken first.
    """
    single = {word for group, tokens in counted if tokens == len(group) for word in group}
    groups = [(group, tokens) for group, tokens in reversed(counted) if tokens != len(group)]
    splits = 0
    while groups and len(single) < _ENOUGH_WORDS:
        group, tokens = groups.pop()
        if tokens == len(group):
            single.update(group)
        elif len(group) > 1 and splits < _MAX_SPLITS:
            splits += 1
            left, right = group[: len(group) // 2], group[len(group) // 2 :]
            left_tokens = cost(left)
            groups += [(right, tokens - left_tokens), (left, left_tokens)]
    return tuple(word for word in WORDS if word in single)


def _samples(vocabulary: Vocabulary, shared_prefix: bool) -> list[tuple[tuple[Message, ...], int]]:
    """Prompts in random word order and the tokens that each ought to have."""
    samples = []
    for tokens in _SAMPLE_TOKENS:
        bits = stream(tokens, "call")
        prefix = text(vocabulary, bits, tokens) if shared_prefix else None
        prompt = messages(text(vocabulary, bits, tokens), prefix)
        whole = vocabulary.overhead_tokens + tokens * (1 + shared_prefix)
        if vocabulary.turn_tokens:
            prompt = (*prompt, answer(text(vocabulary, bits, tokens - 1)), *messages(text(vocabulary, bits, tokens)))
            whole += vocabulary.turn_tokens + 2 * tokens
        samples.append((prompt, whole))
    return samples


def _spaced(words: Sequence[str]) -> str:
    return " ".join(("", *words))
