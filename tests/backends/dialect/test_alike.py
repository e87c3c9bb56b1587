"""Events read as a run are those read one by one: nothing about an answer depends on which of the two it was."""

from collections.abc import Callable, Iterator
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.dialect import alike, claude, openai, responses, tgi
from bench.types import Body, Reply

Decode = Callable[[int, Any, Body], Reply]

TEXTS = [
    b"a", b" b", b" ", b"", rb"\n", rb"\"", rb"\\", rb'\\\"', b'"', b"\\", b'","', b'"},"x":{"content":"', b"\xc3",
    b"\xc3\xa4", rb"\ud83d\ude00", rb"\ud83d", b"\t", b"\r", b"\n", b"\n\n", b"]", alike.MARK.encode(),
]  # fmt: skip
SHAPES = [
    b'data: {"id":"1","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}]}\n\n',
    b'data: {"id":"2","choices":[{"index":0,"delta":{"content":"%b"},"finish_reason":null}],"usage":null}\n\n',
    b'data: {"choices":[{"delta":{"content":"%b"},"finish_reason":"length"}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"","reasoning":"%b"}}]}\n\n',
    b'data: {"choices":[{"delta":{"reasoning_content": "%b","content":null}}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"%b"}}],"usage":{"completion_tokens":3}}\n\n',
    b'data: {"choices":[{"delta":{"content":"%b","content":"x"}}]}\n\n',
    b'data: {"choices":[{"text":"%b"}]}\n\n',
    b'data: {"choices":[{"delta":{"content":"%b"}}],\r"a":1}\n\n',
    b'data: {"choices":[{"delta":{"content":"%b"}}],\n"a":1}\n\n',
    b'data: {"choices":[{"delta":{"content":["%b"]}}]}\r\n\r\n',
    b'data: {"error":{"message":"no","content":"%b"}}\n\n',
    b'data: {"type":"response.output_text.delta","delta":"%b"}\n\n',
    b'data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}}\n\n',
    b'data:{"token":{"id":1,"text":"%b","special":false},"generated_text":null}\n\n',
]
ODDS = [
    b"data: [DONE]\n\n", b": keep alive\n\n", b"\n\n", b'data: {"choices":[],"usage":{"completion_tokens":9}}\n\n',
    b"data: {nope\n\n", b"event: error\n", b"\xef\xbb\xbf", b'data: {"type":"message_stop"}\n\n', b'data: {"ch',
    b'data: {"choices":[{"delta":{"role":"assistant","content":null}}]}\n\n',
]  # fmt: skip
EVENTS = st.one_of(
    st.builds(
        lambda shape, texts: b"".join(shape.replace(b"%b", text) for text in texts),
        st.sampled_from(SHAPES),
        st.lists(st.sampled_from(TEXTS[:3]) | st.sampled_from(TEXTS), min_size=1, max_size=6),
    ),
    st.sampled_from(ODDS),
)


@pytest.fixture(autouse=True, scope="module")
def runs_of_two() -> Iterator[None]:
    with patch.object(alike, "_LEAST_EVENTS", 2):
        yield


def stream(data: bytes, cuts: list[int]) -> Body:
    """A body whose reads end at `cuts` and at its end."""
    ends = sorted({cut % (len(data) + 1) for cut in cuts} - {0} | {len(data)} - {0})
    return Body(data, ends, [10 * end for end in ends])


@settings(max_examples=400, deadline=None)
@given(
    decode=st.sampled_from([openai.decode, responses.decode, claude.decode, tgi.decode]),
    events=st.lists(EVENTS, max_size=6),
    cuts=st.lists(st.integers(0, 2000), max_size=8),
)
def test_an_answer_is_the_same_read_by_runs_or_event_by_event(
    decode: Decode, events: list[bytes], cuts: list[int]
) -> None:
    body = stream(b"".join(events), cuts)
    found = decode(200, {}, body)
    with patch.object(alike, "runs", lambda body: iter(())):
        assert found == decode(200, {}, body)


@pytest.mark.parametrize("shape", SHAPES[:5])
def test_what_engines_send_is_read_by_the_run(shape: bytes) -> None:
    """Else the test above held nothing."""
    data = SHAPES[7].replace(b"%b", b"first") + b"".join(shape.replace(b"%b", b"t%d" % n) for n in range(20))
    body = stream(data + b"data: [DONE]\n\n", [])
    [run] = alike.runs(body)
    assert run.texts == "".join(f"t{n}{alike.BETWEEN}" for n in range(20))
    assert run.stop == len(data)


def test_events_are_stamped_by_the_reads_that_complete_their_lines() -> None:
    event = SHAPES[0].replace(b"%b", b"x")
    for cut in range(1, 3 * len(event)):
        [run] = alike.runs(stream(3 * event, [cut]))
        assert list(run.stamps) == [10 * (cut if cut > n * len(event) - 2 else 3 * len(event)) for n in (1, 2, 3)]
