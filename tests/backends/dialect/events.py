"""Events as servers send them, and as they should not: what tests put streams together of."""

from hypothesis import strategies as st

from backends.dialect import alike
from bench.types import Body

TEXTS = [
    b"a", b" b", b" ", b"", rb"\n", rb"\"", rb"\\", rb'\\\"', b'"', b"\\", b'","', b'"},"x":{"content":"', b"\xc3",
    b"\xc3\xa4", rb"\ud83d\ude00", rb"\ud83d", b"\t", b"\r", b"\n", b"\n\n", b"]", alike.BETWEEN.encode(),
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


def stream(data: bytes, cuts: list[int]) -> Body:
    """A body whose reads end at `cuts` and at its end."""
    ends = sorted({cut % (len(data) + 1) for cut in cuts} - {0} | {len(data)} - {0})
    return Body(data, ends, [10 * end for end in ends])
