"""One model in two engines: the backends' requests mean the same to llama.cpp and to vLLM."""

from collections.abc import Callable

import numpy as np
import pytest

from backends import BACKENDS
from bench.server.tinytokenizer import WORDS
from bench.types import Backend, Call, Message, Reply, Target

pytestmark = pytest.mark.engine

Ask = Callable[[Backend, Target, Call], Reply]

PROMPTS = 50
TOKENS = 16
AGREE = 0.95  # of the prompts: sums in another order may round to another token where two are nearly as likely


def prompt(seed: int) -> tuple[Message, ...]:
    draws = np.random.default_rng(seed)
    words = draws.choice(WORDS, draws.integers(4, 200))
    return Message("system", "be brief"), Message("user", " ".join(words))


def test_llama_cpp_and_vllm_answer_alike_token_for_token(
    llamacpp_server: Target, vllm_server: Target, ask: Ask
) -> None:
    same = 0
    for seed in range(PROMPTS):
        call = Call(seed, None, seed, 0, None, prompt(seed), TOKENS, seed, None)
        one, other = ask(BACKENDS["llamacpp"], llamacpp_server, call), ask(BACKENDS["vllm"], vllm_server, call)
        assert (one.error, other.error) == (None, None)
        assert one.usage is not None
        assert other.usage is not None
        assert one.usage.prompt_tokens == other.usage.prompt_tokens
        assert one.usage.output_tokens == other.usage.output_tokens == TOKENS
        same += one.text == other.text
    assert same >= AGREE * PROMPTS
