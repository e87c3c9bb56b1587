"""A Llama model of a few megabytes made from a seed: the same function as GGUF (llama.cpp) and safetensors (vLLM).

Strategy: the weights are random, so the text is nonsense, but it is text. Dimension 0 of the residual stream is set
by the embedding and no layer writes to it, so it still holds `CONSTANT` when it reaches the head. There it multiplies
`FORBID` for every token that is not a word: answers are words until `max_tokens`, whatever the prompt and the sampling.
"""

import hashlib
import json
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
from numpy.typing import NDArray

from bench.process import places
from bench.server import tinytokenizer
from bench.server.tinytokenizer import CHAT_TEMPLATE, END, TinyVocabulary, tokenizer_json, vocabulary
from bench.suggest import did_you_mean
from bench.types import UserError

Kind = Literal["gguf", "hf"]
Weights = dict[str, NDArray[np.float32]]

# Layers by name. The deeper models begin with the layers of the shallower ones.
SIZES: Mapping[str, int] = {"tiny": 2, "tiny-3l": 3, "tiny-16l": 16}

SEED = 20_240_229
HIDDEN = 128
FEED_FORWARD = 256
HEADS = 2
KV_HEADS = 1
HEAD_DIM = 64
CONTEXT_TOKENS = 32_768
ROPE_THETA = 10_000.0
NORM_EPSILON = 1e-5
CONSTANT = 8.0
FORBID = -8192.0  # makes logits down to -53,000, which float16 still holds

# Rows, columns and gain of a layer's matrices. A gain of 1/8 keeps the scale through a matrix of this width; the
# larger query and key make attention pick few positions, without which answers hardly depend on the prompt.
PROJECTIONS: Mapping[str, tuple[int, int, float]] = {
    "self_attn.q_proj": (HEADS * HEAD_DIM, HIDDEN, 1 / 2),
    "self_attn.k_proj": (KV_HEADS * HEAD_DIM, HIDDEN, 1 / 4),
    "self_attn.v_proj": (KV_HEADS * HEAD_DIM, HIDDEN, 1 / 8),
    "self_attn.o_proj": (HIDDEN, HEADS * HEAD_DIM, 1 / 8),
    "mlp.gate_proj": (FEED_FORWARD, HIDDEN, 1 / 8),
    "mlp.up_proj": (FEED_FORWARD, HIDDEN, 1 / 8),
    "mlp.down_proj": (HIDDEN, FEED_FORWARD, 1 / 8),
}
WRITERS_TO_RESIDUAL = ("self_attn.o_proj", "mlp.down_proj")


@dataclass(frozen=True, slots=True)
class TinyModel:
    """A model on disk: one GGUF file and one Hugging Face folder with the same weights and tokenizer."""

    gguf: Path
    hf: Path


def model_path(name: str, kind: Kind) -> Path:
    """The model of that name in the user's cache, built there on first use.

    Raises `UserError` for a name that is not in `SIZES` and for a cache that cannot be written.
    """
    try:
        model = build(name, places.cache() / "models")
    except OSError as error:
        raise UserError(
            f"the model {name} cannot be written to disk: {error}; set XDG_CACHE_HOME to a writable folder"
        ) from error
    return model.gguf if kind == "gguf" else model.hf


def build(name: str, folder: Path) -> TinyModel:
    """Make the model in a subfolder of `folder`, or find it there; the same bytes every time.

    The subfolder carries the version of this code and appears complete or not at all, so its being there is proof
    enough that it is up to date, and of two builders at once either may win. Raises `UserError` for an unknown name.
    """
    if name not in SIZES:
        raise UserError(
            f"no tiny model is called {name!r}; expected one of {', '.join(SIZES)}{did_you_mean(name, SIZES)}"
        )
    target = folder / f"{name}-{_version()}"
    if not target.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}-") as work:
            fresh = Path(work) / "model"
            _write(name, fresh)
            try:
                fresh.rename(target)
            except OSError:
                if not target.is_dir():
                    raise
    return TinyModel(target / f"{name}.gguf", target / "hf")


def parameters(layers: int) -> int:
    """How many numbers a model of that depth has, norms included."""
    per_layer = sum(rows * columns for rows, columns, _ in PROJECTIONS.values()) + 2 * HIDDEN
    return 2 * len(vocabulary().tokens) * HIDDEN + layers * per_layer + HIDDEN


def weights(layers: int) -> Weights:
    """All tensors by Hugging Face name, matrices as (out, in).

    Drawn from the bits of PCG64, which numpy keeps stable for ever (its distributions it does not). Every value is an
    odd number below 256 times a power of two: exact in bfloat16 and float16 too.
    """
    vocab = vocabulary()
    bits = np.random.PCG64(SEED)

    def draw(rows: int, columns: int, gain: float) -> NDArray[np.float32]:
        byte = (bits.random_raw(rows * columns) >> np.uint64(56)).astype(np.float32)
        return ((2 * byte - 255) * np.float32(gain / 256)).reshape(rows, columns)

    embedding = draw(len(vocab.tokens), HIDDEN, 2)
    embedding[:, 0] = CONSTANT
    spoken = draw(len(vocab.word_ids), HIDDEN, 1 / 2)
    spoken[:, 0] = 0
    head = np.zeros_like(embedding)
    head[:, 0] = FORBID
    head[list(vocab.word_ids)] = spoken
    ones = np.ones(HIDDEN, np.float32)
    tensors = {"model.embed_tokens.weight": embedding, "model.norm.weight": ones, "lm_head.weight": head}
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        for name, (rows, columns, gain) in PROJECTIONS.items():
            matrix = draw(rows, columns, gain)
            if name in WRITERS_TO_RESIDUAL:
                matrix[0] = 0
            tensors[f"{prefix}.{name}.weight"] = matrix
        tensors[f"{prefix}.input_layernorm.weight"] = ones
        tensors[f"{prefix}.post_attention_layernorm.weight"] = ones
    return tensors


def _version() -> str:
    sources = (__file__, tinytokenizer.__file__)
    return hashlib.sha256(b"".join(Path(source).read_bytes() for source in sources)).hexdigest()[:12]


def _write(name: str, folder: Path) -> None:
    tensors, vocab = weights(SIZES[name]), vocabulary()
    hf = folder / "hf"
    hf.mkdir(parents=True)
    for file, content in _hf_settings(SIZES[name], vocab).items():
        (hf / file).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    _write_safetensors(hf / "model.safetensors", tensors)
    _write_gguf(folder / f"{name}.gguf", name, tensors, vocab)


def _hf_settings(layers: int, vocab: TinyVocabulary) -> dict[str, dict[str, Any]]:
    end = vocab.special_id(END)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "torch_dtype": "float32",
        "vocab_size": len(vocab.tokens),
        "hidden_size": HIDDEN,
        "intermediate_size": FEED_FORWARD,
        "num_hidden_layers": layers,
        "num_attention_heads": HEADS,
        "num_key_value_heads": KV_HEADS,
        "head_dim": HEAD_DIM,
        "hidden_act": "silu",
        "attention_bias": False,
        "mlp_bias": False,
        "tie_word_embeddings": False,
        "max_position_embeddings": CONTEXT_TOKENS,
        "rope_theta": ROPE_THETA,
        "rms_norm_eps": NORM_EPSILON,
        "bos_token_id": end,
        "eos_token_id": end,
        "pad_token_id": end,
    }
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT_TOKENS,
        "clean_up_tokenization_spaces": False,
        "bos_token": END,
        "eos_token": END,
        "pad_token": END,
        "chat_template": CHAT_TEMPLATE,
    }
    return {
        "config.json": config,
        "generation_config.json": {"bos_token_id": end, "eos_token_id": end, "pad_token_id": end},
        "tokenizer.json": tokenizer_json(vocab),
        "tokenizer_config.json": tokenizer_config,
    }


def _write_safetensors(path: Path, tensors: Weights) -> None:
    """The format is a length, a JSON header with the offsets, and the numbers: https://github.com/huggingface/safetensors."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        header[name] = {"dtype": "F32", "shape": tensor.shape, "data_offsets": (end, end := end + tensor.nbytes)}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    body = (tensor.astype("<f4").tobytes() for tensor in tensors.values())
    path.write_bytes(b"".join((struct.pack("<Q", len(head)), head, *body)))


def _write_gguf(path: Path, name: str, tensors: Weights, vocab: TinyVocabulary) -> None:
    layers = SIZES[name]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name(name)
    writer.add_description("Random weights from a seed, for benchmarks; the text means nothing.")
    writer.add_license("mit")
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_context_length(CONTEXT_TOKENS)
    writer.add_embedding_length(HIDDEN)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(FEED_FORWARD)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_dimension_count(HEAD_DIM)
    writer.add_rope_freq_base(ROPE_THETA)
    writer.add_layer_norm_rms_eps(NORM_EPSILON)
    _add_tokenizer(writer, vocab)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, layers)
    for hf_name, tensor in tensors.items():
        gguf_name = names[hf_name.removesuffix(".weight")] + ".weight"
        writer.add_tensor(gguf_name, _rotate_in_pairs(hf_name, tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: gguf.GGUFWriter, vocab: TinyVocabulary) -> None:
    end = vocab.special_id(END)
    specials = set(tinytokenizer.SPECIALS)
    kinds = [gguf.TokenType.CONTROL if token in specials else gguf.TokenType.NORMAL for token in vocab.tokens]
    writer.add_vocab_size(len(vocab.tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(vocab.tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([f"{left} {right}" for left, right in vocab.merges])
    writer.add_bos_token_id(end)
    writer.add_eos_token_id(end)
    writer.add_pad_token_id(end)
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def _rotate_in_pairs(hf_name: str, tensor: NDArray[np.float32]) -> NDArray[np.float32]:
    """Reorder the rows of a query or key: Hugging Face rotates dimension i with i + 32, llama.cpp 2i with 2i + 1."""
    if not hf_name.endswith(("q_proj.weight", "k_proj.weight")):
        return tensor
    return tensor.reshape(-1, 2, HEAD_DIM // 2, HIDDEN).swapaxes(1, 2).reshape(tensor.shape)
