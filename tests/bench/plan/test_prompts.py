import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Collection, Iterator
from typing import Any

import pytest

from bench.plan.prompts import Vocabulary, calibrate, fingerprint, messages, text
from bench.plan.rng import stream
from bench.server import tinymodel
from bench.server.tinytokenizer import WORDS
from bench.types import Message, UserError

SERVER = """
import sys, xllamacpp
params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostnames, params.port, params.n_ctx, params.n_parallel = ["127.0.0.1"], 0, 8192, 1
params.cpuparams.n_threads = 1
server = xllamacpp.Server(params)
print(server.listening_address, flush=True)
sys.stdin.read()
"""


class Tokenizer:
    """Counts like a server: a template, words by the space before them, and more tokens for some words."""

    def __init__(self, long_words: Collection[str] = (), template: int = 5) -> None:
        self.long_words = set(long_words)
        self.template = template
        self.asked = 0

    def __call__(self, prompt: tuple[Message, ...]) -> int:
        self.asked += 1
        return sum(self.template + self.tokens(message.text) for message in prompt)

    def tokens(self, text: str) -> int:
        first, *words = text.split(" ")
        return (len(first) + 1) // 2 + sum(3 if word in self.long_words else 1 for word in words)


def prompts_are_exact(vocabulary: Vocabulary, count: Callable[[tuple[Message, ...]], int | None]) -> bool:
    drawn = [(n, messages(text(vocabulary, stream(n, "call"), n))) for n in range(0, 300, 7)]
    return all(count(prompt) == vocabulary.overhead_tokens + n for n, prompt in drawn)


def test_where_every_word_is_one_token_eight_counts_do() -> None:
    tokenizer = Tokenizer()
    vocabulary = calibrate(tokenizer, "fake")
    assert tokenizer.asked == 8
    assert (vocabulary.words, vocabulary.exact, vocabulary.source) == (WORDS, True, "fake")
    assert prompts_are_exact(vocabulary, tokenizer)


@pytest.mark.parametrize(("every", "most_counts"), [(150, 40), (40, 60), (6, 136)])
def test_words_of_several_tokens_are_found_and_left_out(every: int, most_counts: int) -> None:
    tokenizer = Tokenizer(WORDS[1::every])
    vocabulary = calibrate(tokenizer, "fake")
    assert vocabulary.exact
    assert tokenizer.asked <= most_counts
    assert len(vocabulary.words) >= 96
    assert prompts_are_exact(vocabulary, tokenizer)


@pytest.mark.parametrize(("context_tokens", "is_told"), [(512, False), (512, True), (256, True), (120, True)])
@pytest.mark.parametrize("shared_prefix", [False, True])
def test_nothing_is_counted_that_the_context_does_not_hold(
    context_tokens: int, is_told: bool, shared_prefix: bool
) -> None:
    tokenizer = Tokenizer(WORDS[1::40])
    counted = []

    def count(prompt: tuple[Message, ...]) -> int | None:
        counted.append(tokenizer(prompt))
        return counted[-1] if counted[-1] < context_tokens else None

    if shared_prefix and not is_told:
        return  # the longest sample is then twice as long, and of an unknown server nothing better is known
    told = context_tokens if is_told else None
    vocabulary = calibrate(count, "fake", shared_prefix=shared_prefix, context_tokens=told)
    assert max(counted) < context_tokens
    assert vocabulary.exact


def test_where_most_words_are_long_their_average_cost_is_used_and_said() -> None:
    tokenizer = Tokenizer(WORDS[::2])
    vocabulary = calibrate(tokenizer, "fake")
    assert not vocabulary.exact
    assert vocabulary.tokens_per_word == pytest.approx(2, abs=0.01)
    drawn = tokenizer(messages(text(vocabulary, stream(1, "call"), 10_000)))
    assert drawn - vocabulary.overhead_tokens == pytest.approx(10_000, rel=0.02)


def test_a_tokenizer_that_does_not_add_up_is_not_called_exact() -> None:
    class Merging(Tokenizer):
        def tokens(self, text: str) -> int:
            pairs = zip(text.split(), text.split()[1:], strict=False)
            return super().tokens(text) - sum(left > right for left, right in pairs)

    vocabulary = calibrate(Merging(), "fake")
    assert not vocabulary.exact
    assert vocabulary.tokens_per_word >= 1


def test_where_nobody_counts_prompts_are_estimates() -> None:
    vocabulary = calibrate(lambda prompt: None, "fake")
    assert not vocabulary.exact
    assert "not counted" in vocabulary.source
    assert len(text(vocabulary, stream(1, "call"), 50).split()) == 50


def test_a_server_that_stops_counting_is_a_user_error() -> None:
    answers = iter([10, None])
    with pytest.raises(UserError, match="fake counted the tokens of one prompt but not of the next"):
        calibrate(lambda prompt: next(answers), "fake")


def test_a_template_is_asked_for_a_system_message_only_where_a_prefix_needs_one() -> None:
    seen: set[str] = set()

    def count(prompt: tuple[Message, ...]) -> int:
        seen.update(message.role for message in prompt)
        return Tokenizer()(prompt)

    alone = calibrate(count, "fake")
    assert seen == {"user"}
    prefixed = calibrate(count, "fake", shared_prefix=True)
    assert seen == {"user", "system"}
    assert prefixed.overhead_tokens > alone.overhead_tokens


def test_the_fingerprint_tells_texts_apart_and_not_who_counted() -> None:
    def variant(**changed: Any) -> str:
        facts: dict[str, Any] = {"words": ("a", "b"), "tokens_per_word": 1.0, "overhead_tokens": 9}
        return fingerprint(Vocabulary(**{**facts, "exact": True, "source": "one", **changed}))

    assert variant() == variant(source="other") == "1a00bc9bb37b84df"
    different = {variant(), variant(words=("a", "c")), variant(tokens_per_word=1.1), variant(overhead_tokens=8)}
    assert len(different) == 4


def test_no_tokens_are_no_text() -> None:
    vocabulary = Vocabulary(WORDS, 1.0, 0, True, "fake")
    assert text(vocabulary, stream(1, "call"), 0) == ""
    assert text(vocabulary, stream(1, "call"), -3) == ""


@pytest.fixture(scope="module")
def llama_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = tinymodel.build("tiny", tmp_path_factory.mktemp("model"))
    with subprocess.Popen(
        [sys.executable, "-c", SERVER, model.gguf],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def ask(url: str, payload: dict[str, Any]) -> Any:
    request = urllib.request.Request(url, json.dumps(payload).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as response:
        return json.load(response)


@pytest.mark.parametrize("prefix_tokens", [0, 200])
def test_llama_cpp_bills_the_prompts_with_the_tokens_that_were_wanted(llama_server: str, prefix_tokens: int) -> None:
    def dialog(prompt: tuple[Message, ...]) -> list[dict[str, str]]:
        return [{"role": message.role, "content": message.text} for message in prompt]

    def count(prompt: tuple[Message, ...]) -> int:
        templated = ask(f"{llama_server}/apply-template", {"messages": dialog(prompt)})["prompt"]
        return len(ask(f"{llama_server}/tokenize", {"content": templated, "add_special": True})["tokens"])

    vocabulary = calibrate(count, "llama.cpp /tokenize", shared_prefix=prefix_tokens > 0)
    assert vocabulary.exact
    for tokens in (8, 100, 1000):
        bits = stream(tokens, "call")
        prefix = text(vocabulary, bits, prefix_tokens) if prefix_tokens else None
        prompt = messages(text(vocabulary, bits, tokens), prefix)
        answer = ask(f"{llama_server}/v1/chat/completions", {"messages": dialog(prompt), "max_tokens": 1})
        assert answer["usage"]["prompt_tokens"] == vocabulary.overhead_tokens + prefix_tokens + tokens
