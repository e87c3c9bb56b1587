import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.server import tinymodel
from bench.server.tinymodel import HEAD_DIM, HIDDEN, SIZES, build, model_path, parameters, weights
from bench.server.tinytokenizer import WORDS, vocabulary
from bench.types import UserError

VOCAB = vocabulary()
IDS = {token: i for i, token in enumerate(VOCAB.tokens)}
SPOKEN = {f" {word}" for word in WORDS}

SERVER = """
import sys, xllamacpp
p = xllamacpp.CommonParams()
p.model.path, p.hostnames, p.port, p.n_parallel, p.n_ctx = sys.argv[1], ["127.0.0.1"], 0, 1, 4096
p.cpuparams.n_threads = 1
# Exact attention: the fused kernel and the half-precision cache change about one token in 400.
p.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
p.cache_type_k = p.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
server = xllamacpp.Server(p)
print("listening", server.listening_address, flush=True)
sys.stdin.read()
"""


@pytest.fixture(scope="module")
def llamacpp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of llama.cpp serving `tiny`."""
    model = build("tiny", tmp_path_factory.mktemp("models"))
    command = [sys.executable, "-c", SERVER, str(model.gguf)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, text=True, **pipes) as server:  # type: ignore[call-overload]
        try:
            yield next(line.split()[1] for line in server.stdout if line.startswith("listening"))
        finally:
            server.kill()


def post(url: str, content: Any) -> bytes:
    request = urllib.request.Request(url, json.dumps(content).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as response:
        body: bytes = response.read()
    return body


def chat(url: str, messages: Sequence[tuple[str, str]], **options: Any) -> tuple[list[str], str, dict[str, Any]]:
    """The streamed pieces of text, the finish reason and the usage."""
    content = {
        "messages": [{"role": role, "content": text} for role, text in messages],
        "stream": True,
        "stream_options": {"include_usage": True},
        **options,
    }
    lines = post(f"{url}/v1/chat/completions", content).splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
    choices = [event["choices"][0] for event in events if event["choices"]]
    pieces = [choice["delta"]["content"] for choice in choices if choice["delta"].get("content")]
    return pieces, choices[-1]["finish_reason"], events[-1]["usage"]


def tokenize(url: str, text: str) -> list[int]:
    ids: list[int] = json.loads(post(f"{url}/tokenize", {"content": text}))["tokens"]
    return ids


def words(count: int, seed: int) -> str:
    return " ".join(np.random.default_rng(seed).choice(WORDS, count))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- the weights ------------------------------------------------------------------------------------------------


def test_weights_are_the_same_on_every_machine() -> None:
    digest = sha256(b"".join(tensor.tobytes() for tensor in weights(2).values())).hexdigest()
    assert digest == "42c6abb6a58debeee3f9c10b1320df62f5f165b4ad3bfe33b6189040e59c8ffb"


def test_weights_lose_nothing_in_bfloat16_or_float16() -> None:
    for tensor in weights(3).values():
        assert not (tensor.view(np.uint32) & 0xFFFF).any()
        assert np.array_equal(tensor, tensor.astype(np.float16))


def test_a_deeper_model_begins_with_the_layers_of_a_shallower_one() -> None:
    shallow, deep = weights(2), weights(3)
    assert all(np.array_equal(tensor, deep[name]) for name, tensor in shallow.items())
    assert {name.split(".")[2] for name in deep.keys() - shallow.keys()} == {"2"}


@pytest.mark.parametrize(
    "layers", [pytest.param(layers, marks=[pytest.mark.slow] if layers > 8 else []) for layers in SIZES.values()]
)
def test_no_prompt_can_make_anything_but_a_word_likely(layers: int) -> None:
    w = {name: tensor.astype(np.float64) for name, tensor in weights(layers).items()}
    words = list(VOCAB.word_ids)
    unit = np.sqrt(HIDDEN)  # no vector is longer after RMSNorm
    longest = longest_row(w["model.embed_tokens.weight"])
    for layer in range(layers):
        _, _, v, o, gate, up, down = (w[f"model.layers.{layer}.{name}.weight"] for name in tinymodel.PROJECTIONS)
        assert not o[0].any() and not down[0].any()
        heads = np.sqrt(tinymodel.HEADS) * stretch(v) * unit
        gated = longest_row(gate) * unit * stretch(up) * unit
        longest += stretch(o) * heads + stretch(down) * gated
    least_constant = 0.99 * tinymodel.CONSTANT * unit / longest  # 0.99 for the epsilon in the norm
    worst_word = -longest_row(w["lm_head.weight"][words]) * unit
    others = np.delete(w["lm_head.weight"], words, axis=0)
    assert not others[:, 1:].any()
    assert worst_word - others[:, 0].max() * least_constant > 40


def longest_row(matrix: NDArray[np.float64]) -> float:
    return float(np.linalg.norm(matrix, axis=1).max())


def stretch(matrix: NDArray[np.float64]) -> float:
    """The largest singular value, of the smaller of the two products of the matrix and its transpose."""
    wide = matrix if len(matrix) <= len(matrix.T) else matrix.T
    return float(np.sqrt(np.linalg.eigvalsh(wide @ wide.T)[-1]))


# --- the files --------------------------------------------------------------------------------------------------


def test_building_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = (build("tiny", tmp_path / side).gguf.parent for side in "ab")
    assert files(first) == files(second)


def test_a_second_build_finds_the_first(tmp_path: Path) -> None:
    model = build("tiny", tmp_path)
    before = model.gguf.stat()
    assert build("tiny", tmp_path) == model
    assert model.gguf.stat() == before


def test_builders_at_the_same_time_leave_one_complete_model(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        models = set(pool.map(lambda _: build("tiny", tmp_path), range(4)))
    (model,) = models
    assert list(tmp_path.iterdir()) == [model.gguf.parent]
    assert files(model.gguf.parent) == files(build("tiny", tmp_path / "alone").gguf.parent)


def test_a_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(tinymodel, "_write_gguf", full)
    with pytest.raises(OSError, match="no space"):
        build("tiny", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_model_path_builds_in_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert model_path("tiny", "gguf").read_bytes()[:4] == b"GGUF"
    assert (model_path("tiny", "hf") / "config.json").is_file()
    assert model_path("tiny", "hf").is_relative_to(tmp_path)


def test_a_cache_that_cannot_be_written_is_the_users_to_mend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set XDG_CACHE_HOME"):
        model_path("tiny", "gguf")


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'tiny-13l'.*tiny, tiny-3l, tiny-16l.*did you mean 'tiny-3l'"):
        build("tiny-13l", tmp_path)


def test_both_files_hold_all_weights_and_only_queries_and_keys_differ(tmp_path: Path) -> None:
    model = build("tiny-3l", tmp_path)
    data = (model.hf / "model.safetensors").read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    header.pop("__metadata__")
    safetensors = {
        name: np.frombuffer(data[start:][slice(*entry["data_offsets"])], "<f4").reshape(entry["shape"])
        for name, entry in header.items()
    }
    expected = weights(3)
    assert start % 8 == 0
    assert list(safetensors) == list(expected)
    assert all(np.array_equal(safetensors[name], expected[name]) for name in expected)
    assert parameters(3) == sum(tensor.size for tensor in expected.values())

    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 3)
    written = {tensor.name: tensor.data for tensor in gguf.GGUFReader(model.gguf).tensors}
    differ = {
        name.split(".")[-2]
        for name in expected
        if not np.array_equal(written.pop(f"{names[name.removesuffix('.weight')]}.weight"), expected[name])
    }
    assert differ == {"q_proj", "k_proj"}
    assert not written


# --- served by llama.cpp ----------------------------------------------------------------------------------------


def rms_norm(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(x / np.sqrt((x**2).mean(-1, keepdims=True) + tinymodel.NORM_EPSILON))


def next_token(w: dict[str, NDArray[np.float64]], ids: list[int]) -> int:
    """The greedy choice of a Llama in Hugging Face's conventions: the definition, in float64 and without a cache."""

    def rotate(x: NDArray[np.float64]) -> NDArray[np.float64]:
        left, right = np.split(x, 2, axis=-1)
        return np.concatenate((left * cos - right * sin, right * cos + left * sin), axis=-1)

    frequency = tinymodel.ROPE_THETA ** (-np.arange(0, HEAD_DIM, 2) / HEAD_DIM)
    angle = np.outer(np.arange(len(ids)), frequency)
    cos, sin = np.cos(angle), np.sin(angle)
    future = np.triu(np.full((len(ids), len(ids)), -np.inf), 1)
    x = w["model.embed_tokens.weight"][ids]
    for layer in range(SIZES["tiny"]):
        q, k, v, o, gate, up, down = (w[f"model.layers.{layer}.{name}.weight"].T for name in tinymodel.PROJECTIONS)
        h = rms_norm(x)
        key, value = rotate(h @ k), h @ v
        heads = []
        for query in np.split(h @ q, tinymodel.HEADS, axis=-1):
            score = np.exp(rotate(query) @ key.T / np.sqrt(HEAD_DIM) + future)
            heads.append(score / score.sum(-1, keepdims=True) @ value)
        x = x + np.concatenate(heads, axis=-1) @ o
        h = rms_norm(x)
        x = x + (h @ gate / (1 + np.exp(-h @ gate)) * (h @ up)) @ down
    return int(np.argmax(rms_norm(x[-1]) @ w["lm_head.weight"].T))


def test_llama_cpp_computes_the_function_the_hugging_face_weights_define(llamacpp: str) -> None:
    w = {name: tensor.astype(np.float64) for name, tensor in weights(SIZES["tiny"]).items()}
    for seed in (0, 7):
        prompt = words(20 + 5 * seed, seed)
        ids = [IDS["<|user|>"], *(IDS[f"Ġ{word}"] for word in prompt.split()), IDS["<|end|>"], IDS["<|assistant|>"]]
        answer = ""
        for _ in range(12):
            ids.append(next_token(w, ids))
            answer += VOCAB.tokens[ids[-1]].replace("Ġ", " ")
        pieces, _, _ = chat(llamacpp, [("user", prompt)], max_tokens=12, temperature=0)
        assert "".join(pieces) == answer


@pytest.mark.parametrize("temperature", [0, 1, 2])
def test_any_prompt_is_answered_in_words_to_the_last_token_allowed(llamacpp: str, temperature: float) -> None:
    prompts = ["", "?!", words(200, 1), "\x00\x7f <|end|><|end|>", "日本語 😀 naïve", "a" * 300]
    for seed, prompt in enumerate(prompts):
        options = {"temperature": temperature, "top_k": 0, "top_p": 1, "min_p": 0, "seed": seed}
        pieces, finish, usage = chat(llamacpp, [("user", prompt)], max_tokens=40, **options)
        assert (len(pieces), finish, usage["completion_tokens"]) == (40, "length", 40)
        assert set(pieces) <= SPOKEN


def test_answers_vary_and_depend_on_the_prompt(llamacpp: str) -> None:
    answers = [chat(llamacpp, [("user", words(30, i))], max_tokens=60, temperature=0)[0] for i in range(20)]
    assert len({tuple(answer) for answer in answers}) == 20
    assert np.mean([len(set(answer)) for answer in answers]) > 40


def test_a_prompt_costs_its_words_two_tokens_a_message_and_one(llamacpp: str) -> None:
    for sizes in [(1,), (300,), (7, 40), (1, 1, 1, 1)]:
        roles = ("system", "user", "assistant", "user")[-len(sizes) :]
        messages = [(role, words(size, size)) for role, size in zip(roles, sizes, strict=True)]
        _, _, usage = chat(llamacpp, messages, max_tokens=1)
        assert usage["prompt_tokens"] == sum(sizes) + 2 * len(sizes) + 1


def test_an_answer_given_back_as_history_is_found_in_the_prefix_cache(llamacpp: str) -> None:
    history = [("user", words(50, 9))]
    pieces, _, first = chat(llamacpp, history, max_tokens=20, temperature=0)
    history += [("assistant", "".join(pieces)), ("user", "more")]
    _, _, second = chat(llamacpp, history, max_tokens=1)
    computed = first["prompt_tokens"] + 19  # the last token of an answer is never fed back
    assert second["prompt_tokens_details"]["cached_tokens"] == computed


def test_every_word_is_one_token_next_to_anything(llamacpp: str) -> None:
    assert tokenize(llamacpp, " " + " ".join(WORDS)) == [IDS[f"Ġ{word}"] for word in WORDS]
    assert tokenize(llamacpp, "the time.\n way") == [
        *b"the"[:0],
        *(IDS[c] for c in "the"),
        IDS["Ġtime"],
        IDS["."],
        IDS["Ċ"],
        IDS["Ġway"],
    ]


def test_any_text_survives_tokens(llamacpp: str) -> None:
    text = "  two  spaces\n\ttab \r\n it's naïve — “日本語” 😀 x=1+2*3 \u00a0 thing things "
    ids = tokenize(llamacpp, text)
    assert json.loads(post(f"{llamacpp}/detokenize", {"tokens": ids}))["content"] == text
