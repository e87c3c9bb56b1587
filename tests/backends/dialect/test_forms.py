"""An answer that is filled in by its form is the one that is decoded: nothing about it depends on which of the two."""

from collections.abc import Callable, Iterator
from itertools import cycle, product
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.dialect import alike, claude, forms, openai, responses, tgi
from backends.dialect.forms import by_form
from bench.types import Body, Reply
from tests.backends.dialect.events import ODDS, SHAPES, TEXTS, stream

Decode = Callable[[int, Any, Body], Reply]
NAMES = [b"chatcmpl-1", b"x", b"", b"a b", b"\xc3\xa4", b"cmpl_9.2:z", b'a"', b"\\n"]
COUNTS = [b"1", b"2", b"7", b"40", b"0", b"999999999", b"1000000000", b"2.0", b"-1", b"01", b'"3"', b"null"]
DATES = [b"1", b"1750000000", b"0", b"-3", b"17.5", b'"x"', b"01"]
WHOLE = [
    b'data: {"id":"%n","created":%d,"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n',
    b'data: {"id":"%n","created":%d,"choices":[{"delta":{"content":" %b"}}],"usage":{"completion_tokens":%c}}\n\n',
    b'data: {"id":"%n","created":%d,"choices":[{"delta":{"content":"%b"},"finish_reason":"length"}]}\n\n',
    b'data: {"id":"%n","choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2,"id":"%n","created":%d}}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":%c,"completion_tokens":%c,"total_tokens":%c}}\n\n',
    b'data: {"x":{"prompt_tokens":%c,"completion_tokens":%c},"b":{"prompt_tokens":%c,"completion_tokens":9}}\n\n',
    b'data: {"choices":[{"delta":{"content":"%b"}}],"usage":{"prompt_tokens":%c,"completion_tokens":%c}}\n\n',
    b'data: {"type":"message_start","message":{"usage":{"input_tokens":%c,"cache_read_input_tokens":%c}}}\n\n',
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"%n","content":[]}}\n\n',
    b'data: {"type":"content_block_start","content_block":{"type":"text","text":"%b"}}\n\n',
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":%c}}\n\n',
    b'data: {"type":"response.completed","response":{"id":"%n","status":"completed","output":[{"text":"%b"}]}}\n\n',
    b'{"id":"%n","created":%d,"choices":[{"message":{"content":"%b","reasoning":"%b"},"finish_reason":"stop"}]}',
    b'{"type":"message","id":"%n","content":[{"type":"text","text":"%b"}],"stop_reason":"end_turn"}',
    b'data: {"id": "%n", "created": %d, "choices": [{"delta": {"content": "%b"}, "finish_reason": "length"}]}\n\n',
    *SHAPES,
]
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
CHAT = [*WHOLE[:7], WHOLE[14], *SHAPES[:6], SHAPES[7]]
MESSAGES = [*WHOLE[7:11], SHAPES[13]]
STOP = b'data: {"type":"message_stop"}\n\n'
LAST_TOKEN = (
    b'data:{"token":{"id":2,"text":"","special":true},"generated_text":"x","details":{"generated_tokens":%c}}\n\n'
)
SPOKEN: list[tuple[Decode, list[bytes], bytes]] = [
    (openai.decode, CHAT, END),
    (responses.decode, CHAT, END),
    (responses.decode, [WHOLE[3], SHAPES[12]], WHOLE[11]),
    (claude.decode, MESSAGES, STOP),
    (tgi.decode, [SHAPES[14].replace(b'"id":1', b'"id":7'), SHAPES[14]], LAST_TOKEN),
]


def plainly(decode: Decode) -> Decode:
    """A decoder that knows no forms."""
    plain: Decode = getattr(decode, "__wrapped__", decode)
    return plain


@pytest.fixture(autouse=True, scope="module")
def short_runs_learned_soon() -> Iterator[None]:
    with patch.object(alike, "LEAST_BYTES", 200), patch.object(forms, "_OFTEN", 2):
        yield


@st.composite
def alike_answers(draw: st.DrawFn) -> tuple[Decode, list[Body]]:
    """A decoder, and answers made of the same events, of its dialect or not, some of them many times, filled with
    anything, and read in any pieces.
    """
    decode, own, end = draw(st.sampled_from(SPOKEN))
    spoken = st.sampled_from(own)
    strange = spoken | st.sampled_from(WHOLE) | st.sampled_from(ODDS)
    events = draw(st.lists(st.tuples(draw(st.sampled_from([spoken, spoken, strange])), st.booleans()), max_size=6))
    # Without a text few would be answers.
    events.insert(draw(st.integers(0, len(events))), (own[-1], draw(st.booleans())))
    end = draw(st.sampled_from([end, end, end, b""]))
    odd = draw(st.sets(st.sampled_from(["names", "dates", "texts", "counts"])))

    def values(what: str, sound: list[bytes], all_: list[bytes]) -> list[bytes]:
        return draw(st.lists(st.sampled_from(all_ if what in odd else sound), min_size=1, max_size=6))

    found = []
    for _ in range(3):
        data = end
        for event, repeats in reversed(events):
            data = event * (draw(st.integers(1, 9)) if repeats else 1) + data
        data = _put(data, b"%n", values("names", NAMES[:2], NAMES)[:1])
        data = _put(data, b"%d", values("dates", DATES[:2], DATES)[:2])
        data = _put(data, b"%b", values("texts", TEXTS[:3], TEXTS))
        data = _put(data, b"%c", values("counts", COUNTS[:4], COUNTS))
        found.append(stream(data, draw(st.lists(st.integers(0, 2000), max_size=4))))
    return decode, found


def _put(data: bytes, blank: bytes, values: list[bytes]) -> bytes:
    first, *others = data.split(blank)
    return b"".join([first, *(part for pair in zip(cycle(values), others) for part in pair)])


HEADERS = [{}, {"content-encoding": "gzip"}, {"date": "now"}, {"anthropic-ratelimit-requests-limit": "5"}]


@settings(max_examples=150, deadline=None)
@given(
    answers=alike_answers(),
    headers=st.lists(st.sampled_from(HEADERS), min_size=1, max_size=2),
    status=st.sampled_from([200, 200, 200, 200, 404]),
)
def test_an_answer_is_the_same_filled_in_or_decoded(
    answers: tuple[Decode, list[Body]], headers: list[dict[str, str]], status: int
) -> None:
    decode, bodies = answers
    plain = plainly(decode)
    filled = by_form(plain)
    # Each time and again, so that its form is known, and has a pattern at last.
    for body, heads in product([*bodies, *reversed(bodies), *bodies, *reversed(bodies)], headers):
        assert filled(status, heads, body) == plain(status, heads, body)


ROLE, TOKEN, LAST, USAGE = WHOLE[0], SHAPES[0], WHOLE[2], WHOLE[4]
RUN = 4 * TOKEN
MESSAGE = b"".join(WHOLE[8:11]) + b'data: {"type":"message_stop"}\n\n'
SENT = {
    "a token": ROLE + LAST + END,
    "two, and counts so far": ROLE + WHOLE[1] + WHOLE[1] + END,
    "counts at the end": ROLE + TOKEN + LAST + USAGE + END,
    "a message": MESSAGE,
    "in one piece": WHOLE[12],
    "a message in one piece": WHOLE[13],
    "a run": ROLE + RUN + LAST + USAGE + END,
    "thoughts before the answer": ROLE + RUN.replace(b"content", b"reasoning") + RUN + LAST + USAGE + END,
    "a long message": MESSAGE.replace(WHOLE[9], WHOLE[9] + 9 * SHAPES[13]),
}


@pytest.mark.parametrize("shape", SENT.values(), ids=list(SENT))
def test_what_engines_send_is_decoded_but_a_few_times(shape: bytes) -> None:
    """Else the test above held nothing."""
    plain = plainly((claude if b'"message' in shape and b"choices" not in shape else responses).decode)
    decoded = 0

    def counted(*asked: Any) -> Reply:
        nonlocal decoded
        decoded += 1
        return plain(*asked)

    filled = by_form(counted)
    for n in range(20):
        data = shape.replace(RUN, (n + 2) * RUN)
        data = data.replace(b"%n", b"msg_%d" % n).replace(b"%d", b"%d" % (n // 10 + 5))
        data = _put(_put(data, b"%b", [b"t%d" % n, b" "]), b"%c", [b"%d" % (n + 5), b"%d" % (n + 7)])
        body = stream(data, [n])
        reply = filled(200, {}, body)
        assert reply == plain(200, {}, body)
        assert reply.text
    assert decoded <= 4
