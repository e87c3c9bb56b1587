import json
from itertools import accumulate, pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from backends.dialect import sse
from backends.dialect.outside import lenient
from bench.types import Body


def body(*segments: bytes) -> Body:
    """Segment i arrives at 10 * (i + 1)."""
    return Body(b"".join(segments), list(accumulate(map(len, segments))), [10 * (i + 1) for i in range(len(segments))])


def standard_events(stream: Body) -> list[tuple[int, bytes]]:
    return [(event.t_ns, event.data) for event in sse.every_event(stream) if event.standard]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [b"a", b"b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data:a\n\ndata:  b\n\n", [b"a", b" b"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data: a\n\ndata: b\n", [b"a", b"b"]),
        (b"data: a\n\ndata: b", [b"a", b"b"]),
        (b": ping\n\ndata: a\n: pong\n\n:\n\n", [b"a"]),
        (b"event: message\nid: 7\ndata: a\nretry: 10\n\n", [b"a"]),
        (b"event: ping\n\ndata: a\n\n", [b"a"]),
        (b"data\n\ndata:\n\n", [b"", b""]),
        (b"\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", [b"a", b"b"]),
        (b"\n\n\ndata: a\n\n\n\n", [b"a"]),
        (b"database: a\n\n data: b\n\n", []),
        (b"", []),
    ],
)
def test_events_are_those_of_the_standard(stream: bytes, expected: list[bytes]) -> None:
    assert [data for _, data in standard_events(body(stream))] == expected


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_an_event_is_stamped_by_the_read_that_completes_its_last_data_line(line_end: bytes) -> None:
    head, tail = b"data: 1" + line_end + b"data: 23", line_end + b"event: x" + line_end * 2
    stream = head + tail
    for cut in range(1, len(stream)):
        [(t_ns, _)] = standard_events(body(stream[:cut], stream[cut:]))
        assert t_ns == (10 if cut > len(head) else 20)


def test_a_last_line_without_its_end_is_stamped_by_the_last_read() -> None:
    assert standard_events(body(b"data: 1\n\n", b"data: ", b"2")) == [(10, b"1"), (30, b"2")]


def test_what_is_not_json_stays_bytes() -> None:
    values, stamps = sse.json_events(body(b'data: {"a":1}\n\n', b"data: {nope\n\ndata: [DONE]\n\n"))
    assert values == [{"a": 1}, b"{nope", b"[DONE]"]
    assert stamps == [10, 20, 20]


def test_json_that_only_lenient_parsers_take_is_still_read() -> None:
    values, _ = sse.json_events(body(b'data: {"a":"\xc3"}\n\ndata: {"a":"\\ud83d"}\n\ndata: {"p":Infinity}\n\n'))
    assert values == [{"a": "�"}, {"a": "\ud83d"}, {"p": float("inf")}]


@given(st.lists(st.sampled_from([b'{"a":1}', b"{}", b"[DONE]"]), min_size=1), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_without_blank_lines_every_line_is_an_event_at_its_own_time(datas: list[bytes], line_end: bytes) -> None:
    values, stamps = sse.json_events(body(*[b"data: " + data + line_end for data in datas]))
    assert values == [lenient(data) for data in datas]
    assert stamps == [10 * (i + 1) for i in range(len(datas))]


@given(st.lists(st.sampled_from([b"\n", b"\r\n", b"\r"]), min_size=8, max_size=8), st.integers(0, 2))
def test_json_over_several_lines_is_one_event_whatever_ends_them(ends: list[bytes], indent: int) -> None:
    lines = json.dumps({"a": [1, {"b": 2}]}, indent=indent).encode().split(b"\n")
    assert len(lines) == len(ends)
    stream = b"".join(b"data: " + line + end for line, end in zip(lines, ends, strict=True))
    assert sse.json_events(body(stream + b"\n\ndata: [DONE]\n\n"))[0] == [{"a": [1, {"b": 2}]}, b"[DONE]"]


DATAS = st.lists(st.sampled_from([b"{}", b'{"a": [1, "x"]}', b'{"a": "}"}']), min_size=1)
TAILS = st.sampled_from([[], [b"[DONE]"]])
REGULAR = st.builds(
    lambda field, datas, tail: b"".join(field + data + b"\n\n" for data in datas + tail),
    st.sampled_from(sse.FIELDS),
    DATAS,
    TAILS,
)
LINES = st.sampled_from(
    [
        *(
            b"data: {}",
            b'data: {"a":1}',
            b"data: {}\rdata: 2",
            b"data:{}",
            b"data",
            b"data: ",
            b": c",
            b"event: e",
            b"",
        ),
        *(b"\xef\xbb\xbfdata: {}", b'data: {"\xff":1}', b"data: [DONE]", b"data: {nope", b"data: nope}"),
    ]
)
ENDS = st.sampled_from([b"\n", b"\n\n", b"\r\n", b"\r", b""])
ANYTHING = st.lists(st.tuples(LINES, ENDS).map(b"".join)).map(b"".join)
CUTS = st.lists(st.integers(0, 200))


@given(REGULAR)
def test_the_fast_path_takes_what_engines_send(stream: bytes) -> None:
    assert sse._regular_values(stream) is not None


@given(st.one_of(REGULAR, ANYTHING), CUTS)
@example(b"data: {}\rdata: {}\n\n", [])
@example(b"data: {}\ndata: {}\n\n", [])
@example(b"data: {},{}\n\n", [])
def test_the_fast_path_gives_the_events_and_stamps_of_the_exact_one(stream: bytes, cuts: list[int]) -> None:
    segments = cut(stream, cuts)
    events = [line for event in sse.every_event(segments) for line in sse._lines(segments, event)]
    exact = [(value, event.t_ns) for event in events for value in sse._values(event)]
    assert sse.json_events(segments) == ([value for value, _ in exact], [t_ns for _, t_ns in exact])


def cut(stream: bytes, at: list[int]) -> Body:
    edges = [0, *sorted(edge for edge in at if edge < len(stream)), len(stream)]
    return body(*[stream[start:stop] for start, stop in pairwise(edges)])
