"""An answer that is filled in by its form is the one that is decoded: nothing about it depends on which of the two."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.dialect import claude, openai, responses, tgi
from backends.dialect.forms import by_form
from bench.types import Body, Reply
from tests.backends.dialect.test_alike import ODDS, SHAPES, TEXTS, stream

Decode = Callable[[int, Any, Body], Reply]
NAMES = [b"chatcmpl-1", b"x", b"", b"a b", b"\xc3\xa4", b"cmpl_9.2:z", b'a"', b"\\n"]
DATES = [b"1", b"1750000000", b"0", b"-3", b"17.5", b'"x"', b"01"]
WHOLE = [
    b'data: {"id":"%n","created":%d,"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n',
    b'data: {"id":"%n","created":%d,"choices":[{"delta":{"content":" %b"}}],"usage":{"completion_tokens":%d}}\n\n',
    b'data: {"id":"%n","created":%d,"choices":[{"delta":{"content":"%b"},"finish_reason":"length"}]}\n\n',
    b'data: {"id":"%n","choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2,"id":"%n","created":%d}}\n\n',
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"%n","content":[]}}\n\n',
    b'data: {"type":"content_block_start","content_block":{"type":"text","text":"%b"}}\n\n',
    b'data: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":%d}}\n\n',
    b'data: {"type":"response.completed","response":{"id":"%n","status":"completed","output":[{"text":"%b"}]}}\n\n',
    b'{"id":"%n","created":%d,"choices":[{"message":{"content":"%b","reasoning":"%b"},"finish_reason":"stop"}]}',
    b'{"type":"message","id":"%n","content":[{"type":"text","text":"%b"}],"stop_reason":"end_turn"}',
    b'data: {"id": "%n", "created": %d, "choices": [{"delta": {"content": "%b"}, "finish_reason": "length"}]}\n\n',
    *SHAPES,
]
END = b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'


def plainly(decode: Decode) -> Decode:
    """A decoder that knows no forms."""
    plain: Decode = getattr(decode, "__wrapped__", decode)
    return plain


@st.composite
def alike_answers(draw: st.DrawFn) -> list[Body]:
    """Answers made of the same events, filled with anything, and read in any pieces."""
    events = draw(st.lists(st.sampled_from(WHOLE) | st.sampled_from(ODDS), min_size=1, max_size=5))
    shape = b"".join(events) + draw(st.sampled_from([b"", END]))
    found = []
    for _ in range(4):
        data = shape
        name = draw(st.sampled_from(NAMES[:3]) | st.sampled_from(NAMES))
        while b"%b" in data:
            data = data.replace(b"%b", draw(st.sampled_from(TEXTS[:3]) | st.sampled_from(TEXTS)), 1)
        date = draw(st.sampled_from(DATES[:2]) | st.sampled_from(DATES))
        data = data.replace(b"%n", name).replace(b"%d", date)
        found.append(stream(data, draw(st.lists(st.integers(0, 2000), max_size=4))))
    return found


HEADERS = [{}, {"content-encoding": "gzip"}, {"date": "now"}, {"anthropic-ratelimit-requests-limit": "5"}]


@settings(max_examples=300, deadline=None)
@given(
    decode=st.sampled_from([openai.decode, responses.decode, claude.decode, tgi.decode]),
    bodies=alike_answers(),
    headers=st.lists(st.sampled_from(HEADERS), min_size=8, max_size=8),
    status=st.sampled_from([200, 200, 200, 404]),
)
def test_an_answer_is_the_same_filled_in_or_decoded(
    decode: Decode, bodies: list[Body], headers: list[dict[str, str]], status: int
) -> None:
    plain = plainly(decode)
    filled = by_form(plain)
    # Every one twice, so that each form is known at last.
    for body, heads in zip([*bodies, *reversed(bodies)], headers, strict=True):
        assert filled(status, heads, body) == plain(status, heads, body)


@pytest.mark.parametrize(
    "events",
    [(0, 2), (0, 1, 2), (4, 5, 6), (8,), (9,)],
    ids=["a token", "two and counts so far", "messages", "in one piece", "a message in one piece"],
)
def test_what_engines_send_is_decoded_but_a_few_times(events: tuple[int, ...]) -> None:
    """Else the test above held nothing."""
    plain = plainly((claude if events[0] in (4, 9) else responses).decode)
    decoded = 0

    def counted(*asked: Any) -> Reply:
        nonlocal decoded
        decoded += 1
        return plain(*asked)

    filled, end = by_form(counted), b"" if events[0] > 7 else b'data: {"type":"message_stop"}\n\n'
    for n in range(20):
        data = b"".join(WHOLE[event] for event in events) + (end if events[0] == 4 else end and END)
        data = data.replace(b"%n", b"msg_%d" % n).replace(b"%d", b"%d" % (n // 10 + 5)).replace(b"%b", b"t%d" % n)
        body = stream(data, [n])
        reply = filled(200, {}, body)
        assert reply == plain(200, {}, body)
        assert reply.text
    assert decoded <= 8
