"""Arbitrary answers, from sound to absurd, as hypothesis makes them: what a fuzz target is fed with."""

import gzip
import json
import zlib
from array import array
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import orjson
from hypothesis import strategies as st

from backends import BACKENDS
from backends.dialect import claude, openai, tgi
from bench.types import Body, Exchange, Reply

Decode = Callable[[int, Mapping[str, str], Body], Reply]
DECODES: dict[str, Decode] = {
    "openai": openai.decode,
    "vllm": BACKENDS["vllm"].decode,
    "llamacpp": BACKENDS["llamacpp"].decode,
    "tgi": tgi.decode,
    "claude": claude.decode,
    "exec": BACKENDS["exec"].decode,
}
MS = 1_000_000

ODD_NUMBERS = (-1, 0, 1, 2, 7, 40, 4096, 10**9, 10**9 + 1, 3 * 10**9, 2**31, 2**53, 2**63, 2**64, 10**30, -(2**63))
WORDS = ("stop", "length", "content_filter", "end_turn", "", "error", "\ud800", "\x1b]0;x\x07", "a\u202eb", "x" * 300)
SCALARS = (
    st.none()
    | st.booleans()
    | st.sampled_from(ODD_NUMBERS)
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(st.characters(), max_size=6)
)
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=5,
)
COUNT = st.integers(0, 60) | st.sampled_from(ODD_NUMBERS) | JSON


def _some(names: tuple[str, ...], values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=dict.fromkeys(names, values))


DETAILS = _some(("cached_tokens", "reasoning_tokens", "cache_write_tokens", "thinking_tokens"), COUNT)
USAGE = st.builds(
    lambda counts, details: counts | details,
    _some(
        ("prompt_tokens", "completion_tokens", "total_tokens", "input_tokens", "output_tokens", "cached_tokens",
         "cache_read_input_tokens", "cache_creation_input_tokens", "prompt_cache_hit_tokens", "service_tier"), COUNT),
    _some(("prompt_tokens_details", "completion_tokens_details", "output_tokens_details", "cache_creation"), DETAILS),
) | JSON  # fmt: skip
TEXT = st.sampled_from((" a", "b", " ", "\n", "é", "\ud83d", "", "word " * 20)) | JSON
REASON = st.sampled_from(("stop", "length", "end_turn", "eos_token", "content_filter", None)) | JSON

CHAT = st.builds(
    lambda field, what, text, reason, usage: {
        "choices": [{"index": 0, field: {what: text}, "finish_reason": reason}],
        **({"usage": usage} if usage != 0 else {}),
    },
    st.sampled_from(("delta", "delta", "delta", "message")),
    st.sampled_from(("content", "content", "content", "reasoning", "tool_calls", "refusal", "text")),
    TEXT,
    st.none() | REASON,
    st.just(0) | USAGE,
)
LAST_CHAT = st.builds(
    lambda reason, usage: {"choices": [{"delta": {}, "finish_reason": reason}], "usage": usage}, REASON, USAGE
)
COMPLETION = st.builds(lambda text, usage: {"choices": [{"text": text}], "usage": usage}, TEXT, USAGE)
TIMED = st.builds(
    lambda text, count: {"choices": [{"delta": {"content": text}}], "timings": {"predicted_n": count}}, TEXT, COUNT
)
NATIVE = st.builds(
    lambda text, special, whole, reason, prompt, output: {
        "token": {"id": 1, "text": text, "special": special},
        "generated_text": whole,
        "details": {"finish_reason": reason, "input_length": prompt, "generated_tokens": output},
    },
    TEXT, st.booleans(), st.none() | TEXT, REASON, COUNT, COUNT,
)  # fmt: skip
BEGUN = st.builds(lambda usage: {"type": "message_start", "message": {"content": [], "usage": usage}}, USAGE)
BLOCK = st.builds(
    lambda kind, name, text: {"type": "content_block_delta", "delta": {"type": kind, name: text}},
    st.sampled_from(("text_delta", "thinking_delta", "input_json_delta", "signature_delta")),
    st.sampled_from(("text", "thinking", "partial_json")),
    TEXT,
)
ENDED = st.builds(
    lambda reason, usage: {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}, REASON, USAGE
)
STOPPED = st.just({"type": "message_stop"})
FAULT = st.builds(lambda error: {"error": error}, JSON) | st.builds(lambda e: {"type": "error", "error": e}, JSON)

OWN: dict[str, st.SearchStrategy[Any]] = {
    "openai": CHAT | CHAT | LAST_CHAT | COMPLETION,
    "vllm": CHAT | CHAT | LAST_CHAT,
    "llamacpp": TIMED | TIMED | LAST_CHAT,
    "tgi": NATIVE | CHAT,
    "claude": BEGUN | BLOCK | BLOCK | BLOCK | ENDED | STOPPED,
    "exec": JSON,
}
ODD_LINES = (
    b"data:\n\n", b": c\n\n", b"data: [DONE] \n\n", b"data: [DONE]\n\n", b"error: it broke\n\n", b"event: error\n",
    b"data: {nope\n\n", b"\xef\xbb\xbf", b"\r\n\r\n", b'{"error":"x"}\n\n', b"data: " + b"[" * 2000 + b"\n\n",
    b'data: {"error":' + b'{"error":' * 600 + b"1" + b"}" * 601 + b"\n\n", b"<style>" * 50, b"\xff\xfe\n",
    b'data: {"usage":{"prompt_tokens":' + b"9" * 5000 + b"}}\n\n",
)  # fmt: skip


def as_json(value: Any) -> bytes:
    """JSON as a careless server writes it: NaN, halves of surrogate pairs and numbers of any size included."""
    try:
        return orjson.dumps(value)
    except (TypeError, orjson.JSONEncodeError):
        return json.dumps(value).encode()


def streams(backend: str) -> st.SearchStrategy[bytes]:
    """Bodies of a dialect: mostly its own events, in any order, with odd lines and raw bytes between."""
    own = OWN[backend].map(lambda value: b"data: " + as_json(value) + b"\n\n")
    odd = (
        st.sampled_from(ODD_LINES)
        | FAULT.map(lambda value: b"data: " + as_json(value) + b"\n\n")
        | st.binary(max_size=20)
    )
    sound = st.lists(own, min_size=1, max_size=8).map(lambda events: b"".join(events) + b"data: [DONE]\n\n")
    mixed = st.lists(own | own | own | odd, max_size=8).map(b"".join)
    return sound | mixed | OWN[backend].map(as_json) | FAULT.map(as_json) | st.binary(max_size=60)


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-limit", "Retry-After",
                         "X-Odd", "Content-Encoding", "Set-Cookie")),
        st.sampled_from(("5", "-1", "1e400", "gzip", "identity", "lzma", "9" * 400, "\x1b[2J", "\xb2", "nan", "")),
    ), max_size=4,
)  # fmt: skip
STATUSES = st.sampled_from(
    (b"200",) * 12 + (b"204", b"404", b"429", b"503", b"99", b"600", b"1" * 20, b"9" * 5000, b"-1")
)


@st.composite
def wires(draw: st.DrawFn, backend: str) -> bytes:
    """A response as it comes over the wire: framed in any way, packed or not, cut or not, or no response at all."""
    if draw(st.integers(0, 19)) == 0:
        return draw(st.binary(max_size=80))
    data = draw(streams(backend))
    lines = [b"HTTP/1.1 " + draw(STATUSES) + b" OK"]
    lines += [name.encode() + b": " + value.encode("latin-1") for name, value in draw(HEADERS)]
    pack = draw(st.sampled_from((None, None, None, None, "gzip", "deflate")))
    if pack:
        lines.append(b"Content-Encoding: " + pack.encode())
        data = gzip.compress(data) if pack == "gzip" else zlib.compress(data)
    framing = draw(st.sampled_from(("chunked", "length", "close")))
    if framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
        edges = sorted({0, len(data), *draw(st.lists(st.integers(0, max(len(data), 1)), max_size=4))})
        pieces = [data[start:stop] for start, stop in pairwise(edges)]
        data = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces if piece) + b"0\r\n\r\n"
    elif framing == "length":
        lines.append(b"Content-Length: %d" % len(data))
    whole = b"\r\n".join([*lines, b"", b""]) + data
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.integers(0, 9)) == 0 else whole


@st.composite
def exchanges(draw: st.DrawFn, backend: str, seq: int) -> Exchange:
    """One call of a run as a capture has it: sent every 10 ms, its answer in reads a few milliseconds apart."""
    data = draw(wires(backend))
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=6))
    sizes = [stop - start for start, stop in pairwise(sorted({0, len(data), *cuts}))]
    sent_ns = (seq + 1) * 10 * MS
    waits = draw(st.lists(st.integers(0, 20 * MS), min_size=len(sizes), max_size=len(sizes)))
    stamps = [sent_ns + sum(waits[: i + 1]) for i in range(len(sizes))]
    error = draw(st.sampled_from((None,) * 9 + (("timeout", "no end within 120 s"),)))
    end_ns = (stamps[-1] if stamps else sent_ns) + MS
    return Exchange(
        seq,
        0,
        sent_ns - MS // 10,
        sent_ns,
        end_ns,
        None,
        array("q", stamps),
        array("q", sizes),
        array("q"),
        data,
        error,
    )
