"""Every format into the same rows: slices with figures known from elsewhere, tiny files, and broken ones."""

import csv
import gzip
import io
import json
import re
import tracemalloc
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.types import Message, UserError
from scenarios.files import files_of
from scenarios.traffic import READERS, read
from scenarios.traffic.detect import detect
from scenarios.traffic.facts import facts
from scenarios.traffic.lines import ROW_BYTES_MAX, json_objects
from scenarios.traffic.rows import FilePosition, TrafficRow

SLICES = Path(__file__).parents[2] / "fixtures" / "traffic"
SECOND = 10**9
COPILOT = {
    "session_id": "s",
    "turns": [
        {
            "turn_id": 1,
            "llm_calls": [
                {
                    "timestamp": "2026-06-01T10:00:00Z", "duration_ms": 2000, "model": "m",
                    "tokens": {"total": 110, "prompt": 100, "completion": 10, "cached": 64},
                },
                {
                    "timestamp": "2026-06-01T10:00:05.5Z", "duration_ms": 1000, "model": "m",
                    "tokens": {"total": 170, "prompt": 150, "completion": 20, "cached": 128},
                },
            ],
            "tool_batches": [{"timestamp": "2026-06-01T10:00:02Z", "duration_ms": 3500, "function_calls": []}],
        }
    ],
}  # fmt: skip


def parquet(columns: dict[str, Any]) -> bytes:
    """A file of these columns."""
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


CHAT = [{"role": "system", "content": "Be short."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
TINY = {
    "azure": "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n"
    "2023-11-16 18:15:50.9951690,396,109\r\n",
    "burstgpt": "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,a,1.5,GPT-4,472,18,490,Conversation log\n45.25,a,,ChatGPT,1087,0,1087,API log\n",
    "mooncake": '{"timestamp": 0, "input_length": 700, "output_length": 5, "hash_ids": [0, 1]}\n'
    '{"timestamp": 3000, "input_length": 1024, "output_length": 7, "hash_ids": [0, 2]}\n',
    "timed_trace": '{"timestamp": 0.5, "input_length": 33, "output_length": 5, "hash_ids": [7, 8, 9]}\n',
    "copilot": json.dumps(COPILOT) + "\n",
    "litellm": json.dumps(
        [
            {
                "id": "2", "call_type": "acompletion", "status": "failure", "prompt_tokens": 3, "completion_tokens": 0,
                "startTime": 1732700001.5, "model": "m", "messages": CHAT, "trace_id": "t",
            },
            {"id": "3", "call_type": "embedding", "startTime": 1732700002.0, "prompt_tokens": 9},
            {
                "id": "1", "call_type": "acompletion", "status": "success", "prompt_tokens": 3, "completion_tokens": 4,
                "startTime": 1732700000.5, "model": "m", "messages": CHAT, "trace_id": "t",
            },
        ]
    ),
    "langfuse": json.dumps(
        {
            "type": "GENERATION", "start_time": "2026-05-29 13:46:19.963000", "session_id": "s", "input": CHAT,
            "usage_details": {"input": 10, "input_cached_tokens": 5, "output": 7, "total": 22},
            "provided_model_name": "m",
        }
    )
    + '\n{"type": "SPAN", "start_time": "2026-05-29 13:46:19.963000"}\n',
    "log": '{"time": "2026-01-01T00:00:00Z", "messages": [{"role": "user", "content": "Hi"}, '
    '{"role": "assistant", "content": "Hello"}], "session": 7}\n'
    '{"time": 1767225600500, "prompt_tokens": 12, "output_tokens": 3}\n',
    "times": "time,prefix,input_tokens\n1700000000,a,5\n1700000000.25,b,6\n",
    "messages": json.dumps({"custom_id": "c", "body": {"model": "m", "messages": CHAT}}) + "\n",
    "prompts": '{"prompt": "Say it", "response": "It"}\n',
    "sharegpt": json.dumps(
        [
            {
                "id": "x",
                "conversations": [
                    {"from": "gpt", "value": "left over"}, {"from": "human", "value": "one"},
                    {"from": "human", "value": "more"}, {"from": "gpt", "value": "two"}, {"from": "gpt", "value": ""},
                    {"from": "human", "value": "three"}, {"from": "gpt", "value": "four"},
                ],
            },
            {"id": "y", "conversations": []},
        ],
        indent=1,
    ),
    "table": 'Question,answer,output_tokens,user\n"Why, ""then""?\nSay.",So.,2,ann\n,,,bob\n',
    "text": "How are you? I am 3, 4\n\n  1, 2, 3 and what comes then\r\n",
}  # fmt: skip
PARQUET = parquet(
    {
        "Messages": [[{"role": "user", "content": "Hi"}], []],
        "timestamp": pa.array([1_767_225_600_000_000_123, 1_767_225_600_500_000_000], pa.timestamp("ns", "UTC")),
        "prompt_tokens": [3, None],
        "unread": [b"\xff", None],
    }
)
ROWS = {
    "azure": [(374, 44), (396, 109)],
    "burstgpt": [(472, 18), (1087, None)],
    "mooncake": [(700, 5), (1024, 7)],
    "timed_trace": [(33, 5)],
    "copilot": [(100, 10), (150, 20)],
    "litellm": [(3, 4), (3, 0)],
    "langfuse": [(15, 7)],
    "log": [(None, None), (12, 3)],
    "times": [(5, None), (6, None)],
    "messages": [(None, None)],
    "prompts": [(None, None)],
    "sharegpt": [(None, None), (None, None), (None, None)],
    "table": [(None, 2), (None, None)],
    "parquet": [(3, None), (None, None)],
    "text": [(None, None), (None, None), (None, None)],
}


def written(folder: Path, content: str | bytes, name: str = "file") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def rows_of(folder: Path, form: str) -> list[TrafficRow]:
    return list(read(written(folder, PARQUET if form == "parquet" else TINY[form])))


def test_the_azure_slice_has_the_figures_that_were_computed_elsewhere() -> None:
    found = facts(read(SLICES / "azure_conv_2023_first3000.csv.gz"))
    assert (found.rows, found.busiest_minute) == (3000, 353)
    assert found.span_s == pytest.approx(628.703, abs=5e-4)
    assert found.prompt is not None and found.output is not None
    assert found.prompt.mean == pytest.approx(1150.103, abs=5e-4)
    assert found.output.mean == pytest.approx(259.416, abs=5e-4)
    assert (found.prompt.low, found.prompt.high, found.output.low, found.output.high) == (2, 7930, 10, 1000)


def test_the_mooncake_slice_has_the_figures_that_were_computed_elsewhere() -> None:
    found = facts(read(SLICES / "mooncake_conversation_first2000.jsonl.gz"))
    assert (found.rows, found.span_s) == (2000, 669.0)
    assert found.prompt is not None and found.output is not None
    assert found.prompt.mean == pytest.approx(13_720.887, abs=5e-4)
    assert found.output.mean == pytest.approx(352.301, abs=5e-4)
    assert found.cacheable_share == pytest.approx(0.29411, abs=5e-6)
    minute, five, hour, endless = found.cached_shares.values()
    assert minute is not None and five is not None and minute < five < 0.29411
    assert hour == endless  # the slice has 11 minutes


@pytest.mark.parametrize("form", READERS)
def test_a_format_is_known_by_its_content_and_its_rows_are_read(tmp_path: Path, form: str) -> None:
    path = written(tmp_path, PARQUET if form == "parquet" else TINY[form])
    assert detect(path) == form
    assert [(row.prompt_tokens, row.output_tokens) for row in read(path)] == ROWS[form]
    if form != "parquet":
        packed = written(tmp_path, gzip.compress(TINY[form].encode()), "file.gz")
        assert list(read(packed)) == list(read(path)) == list(read(written(tmp_path, "\ufeff" + TINY[form])))


def test_times_are_exact_to_what_is_written(tmp_path: Path) -> None:
    for form, apart_ns in (("azure", 4_314_579_000), ("burstgpt", 40_250_000_000), ("mooncake", 3 * SECOND),
                           ("times", 250_000_000), ("log", 500_000_000)):  # fmt: skip
        first, second = (row.t_ns for row in rows_of(tmp_path, form))
        assert first is not None and second is not None and second - first == apart_ns, form


def test_calls_of_a_session_follow_each_other_after_the_tools(tmp_path: Path) -> None:
    first, second = rows_of(tmp_path, "copilot")
    assert (first.session, first.pause_ns, second.pause_ns) == ("s", None, 3_500_000_000)
    assert (first.cached_tokens, second.cached_tokens) == (64, 128)


def test_exports_are_put_in_order_and_say_what_failed(tmp_path: Path) -> None:
    assert [row.failed for row in rows_of(tmp_path, "litellm")] == [False, True]
    assert [row.failed for row in rows_of(tmp_path, "burstgpt")] == [False, True]


ASKED, TOLD = ((Message("user", "Hi"),), "Hello")
CALL = {"id": "1", "call_type": "acompletion", "startTime": 1732700000.5, "prompt_tokens": 3, "completion_tokens": 4}
HI, HELLO = [{"role": "user", "content": "Hi"}], {"choices": [{"message": {"content": "Hello"}}]}
PARTS = [{"role": "user", "content": [{"type": "input_text", "text": "Hi"}]}]
HIDDEN = {"role": "user", "content": "redacted-by-litellm"}
LOGGED = [
    # As the payload has it, from a chat, a completion, the Responses and the Messages API.
    (HI, HELLO, ASKED, TOLD),
    ("Hi", {"choices": [{"text": "Hello"}]}, ASKED, TOLD),
    (PARTS, {"output": [{"type": "reasoning"}, {"type": "message", "content": [{"text": "Hello"}]}]}, ASKED, TOLD),
    (HI, {"content": [{"type": "text", "text": "Hello"}]}, ASKED, TOLD),
    # As the spend logs have it, and where no text was to be logged.
    (json.dumps(HI), json.dumps(HELLO), ASKED, TOLD),
    ("{}", "{}", (), None),
    ([HIDDEN], {"choices": [{"message": HIDDEN}]}, (), None),
    ('{"not": "a chat"}', None, (Message("user", '{"not": "a chat"}'),), None),
]


@pytest.mark.parametrize(("messages", "response", "asked", "told"), LOGGED)
def test_a_gateway_logs_text_in_many_forms_or_none(
    tmp_path: Path, messages: Any, response: Any, asked: Any, told: str | None
) -> None:
    usage = {"usage_object": {"prompt_tokens_details": {"cached_tokens": 2}}}
    said = {**CALL, "messages": messages, "response": response, "session_id": "s", "metadata": usage}
    (row,) = read(written(tmp_path, json.dumps(said)))
    assert (row.messages, row.answer, row.prompt_tokens, row.output_tokens) == (asked, told, 3, 4)
    assert (row.session, row.cached_tokens) == ("s", 2)


def test_observations_come_from_an_export_the_api_or_the_page(tmp_path: Path) -> None:
    one = {
        "type": "GENERATION",
        "startTime": "2026-05-29T13:46:19.963Z",
        "sessionId": "s",
        "usageDetails": {"input": 5},
    }
    page = json.dumps({"data": [{"type": "SPAN"}, one], "meta": {"page": 1}})
    table = 'id,type,startTime,usageDetails,sessionId\n1,GENERATION,2026-05-29T13:46:19.963Z,"{""input"": 5}",s\n'
    found = [next(read(written(tmp_path, text))) for text in (page, json.dumps([one]), table)]
    assert {(row.t_ns, row.session, row.prompt_tokens) for row in found} == {(found[0].t_ns, "s", 5)}


@pytest.mark.parametrize(
    "columns",
    [
        {"Timestamp": [5, 45], "Model": ["GPT-4"] * 2, "Request tokens": [472, 7], "Response tokens": [18, 3]},
        {"TIMESTAMP": ["2024-05-10 00:00:05+00:00", "2024-05-10 00:00:45.00+00:00"], "ContextTokens": [472, 7],
         "GeneratedTokens": [18, 3]},
    ],
)  # fmt: skip
def test_a_trace_is_the_same_as_a_table_of_parquet(tmp_path: Path, columns: dict[str, list[Any]]) -> None:
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    of_table = list(read(written(tmp_path, "\n".join(lines))))
    of_parquet = list(read(written(tmp_path, parquet(columns))))
    for rows in (of_table, of_parquet):
        assert [(row.prompt_tokens, row.output_tokens) for row in rows] == [(472, 18), (7, 3)]
    assert [row.t_ns for row in of_table] == [row.t_ns for row in of_parquet]


@settings(max_examples=8, deadline=None)
@given(begin=st.integers(0, 1900), count=st.integers(1, 1000), is_mooncake=st.booleans())
def test_any_slice_has_the_figures_of_a_naive_computation(
    tmp_path_factory: pytest.TempPathFactory, begin: int, count: int, is_mooncake: bool
) -> None:
    name = "mooncake_conversation_first2000.jsonl.gz" if is_mooncake else "azure_conv_2023_first3000.csv.gz"
    head, *lines = gzip.decompress((SLICES / name).read_bytes()).decode().splitlines(keepends=True)
    lines = [head, *lines] if is_mooncake else lines
    own = lines[begin : begin + count]
    found = facts(read(written(tmp_path_factory.mktemp("slice"), "".join(own if is_mooncake else [head, *own]))))
    if is_mooncake:
        calls = [json.loads(line) for line in own]
        rows = [(each["timestamp"] / 1000, each["input_length"], each["output_length"]) for each in calls]
        seen, known = set[int](), 0
        for each in calls:
            whole = next((i for i, block in enumerate(each["hash_ids"]) if block not in seen), len(each["hash_ids"]))
            known += min(each["input_length"], 512 * whole)
            seen.update(each["hash_ids"])
        assert found.cacheable_share == pytest.approx(known / sum(row[1] for row in rows))
    else:
        cells = [line.split(",") for line in own]
        day = [[float(part) for part in cell[0].split()[1].split(":")] for cell in cells]
        rows = [(3600 * h + 60 * m + s, int(c[1]), int(c[2])) for (h, m, s), c in zip(day, cells, strict=True)]
    minutes = [int((row[0] - rows[0][0] + 1e-9) // 60) for row in rows]
    assert found.prompt is not None and found.output is not None
    assert found.rows == len(own)
    assert found.span_s == pytest.approx(rows[-1][0] - rows[0][0], abs=1e-6)
    assert found.prompt.mean == pytest.approx(sum(row[1] for row in rows) / len(rows))
    assert found.output.mean == pytest.approx(sum(row[2] for row in rows) / len(rows))
    assert found.busiest_minute == max(map(minutes.count, set(minutes)))


def test_text_comes_with_its_roles_and_its_answer(tmp_path: Path) -> None:
    asked = (Message("system", "Be short."), Message("user", "Hi"))
    assert rows_of(tmp_path, "messages")[0].messages == rows_of(tmp_path, "langfuse")[0].messages == asked
    (prompt,) = rows_of(tmp_path, "prompts")
    assert (prompt.messages, prompt.answer) == ((Message("user", "Say it"),), "It")
    one, two, none = rows_of(tmp_path, "sharegpt")
    assert none.is_empty
    assert (one.messages, one.answer) == ((Message("user", "one\n\nmore"),), "two")
    assert [message.text for message in two.messages] == ["one\n\nmore", "two", "three"] and two.answer == "four"


def brute_force_share(prompts: list[tuple[int, list[int]]], ttl_s: int) -> float:
    """Each prompt beside all before it: a block is kept that one of them within the TTL asked for."""
    known = total = 0
    for at, (t_s, blocks) in enumerate(prompts):
        kept = {
            block
            for block in blocks
            if any(block in other and t_s - max(t for t, o in prompts[:at] if block in o) <= ttl_s
                   for _, other in prompts[:at])
        }  # fmt: skip
        known += next((i for i, block in enumerate(blocks) if block not in kept), len(blocks))
        total += len(blocks)
    return known / total


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.lists(st.integers(0, 3), min_size=1, max_size=4)), min_size=1))
def test_a_cache_serves_what_was_asked_for_within_its_ttl(prompts: list[tuple[int, list[int]]]) -> None:
    in_time = sorted(prompts, key=lambda prompt: prompt[0])
    rows = [
        TrafficRow(1, t_ns=t_s * SECOND, prompt_tokens=16 * len(blocks), blocks=tuple(blocks), block_tokens=16)
        for t_s, blocks in in_time
    ]
    found = facts(rows).cached_shares
    assert found["1m"] == pytest.approx(brute_force_share(in_time, 60))
    assert found["5m"] == pytest.approx(brute_force_share(in_time, 300))
    assert found["without end"] == pytest.approx(brute_force_share(in_time, 10**6))


BROKEN = [
    ("azure", "TIMESTAMP,ContextTokens\n2023-11-16 18:15:46,1\n", "file:1: missing column 'GeneratedTokens'"),
    ("azure", TINY["azure"] + "2023-11-16 18:15:51.22", "file:4: ContextTokens: the line ends before it"),
    ("azure", TINY["azure"] + "2023-11-16 18:15:40,1,1", "file:4: TIMESTAMP: goes 10.9"),
    ("azure", TINY["azure"] + "2023-11-16 18:16:40,-5,1", "file:4: ContextTokens: expected a whole number of tokens"),
    ("azure", TINY["azure"] + "yesterday,5,1", "file:4: TIMESTAMP: expected a time in ISO 8601 or Unix seconds"),
    ("azure", TINY["azure"] + "2023-13-46 18:16:40,5,1", "file:4: TIMESTAMP: expected a time"),
    ("mooncake", TINY["mooncake"] + '{"timestamp": 4000, "input_', "file:3: not JSON at column"),
    ("mooncake", TINY["mooncake"] + "[1]", "file:3: expected a JSON object"),
    ("mooncake", TINY["mooncake"].replace("[0, 2]", "[0]"), "file:2: hash_ids: expected 2 blocks of 512 tokens"),
    ("mooncake", TINY["mooncake"].replace("[0, 2]", '[0, "x"]'), "file:2: hash_ids: expected a list of whole numbers"),
    ("mooncake", TINY["mooncake"].replace("1024", "true"), "file:2: input_length: expected a whole number of tokens"),
    ("mooncake", TINY["mooncake"].replace("1024", "null"), "file:2: input_length: expected a whole number of tokens"),
    ("litellm", TINY["litellm"][:-9], "file:1: column 640: not JSON, or the array is not closed"),
    ("sharegpt", TINY["sharegpt"].replace('"two"', '"two'), "file:19: column 18: not JSON"),
    ("sharegpt", TINY["sharegpt"].replace('"id": "y"', '"id": y'), "file:36: column 9: not JSON"),
    ("sharegpt", '[{"conversations": []},\n 3]', "file:2: column 2: expected a JSON object, got '3]'"),
    ("times", 'time,who\n1700000000,a\n1700000001,"b\n' + ("x" * (5 << 20) + "\n") * 2, "file:3: not CSV: field"),
    ("times", "time,who\n1700000000,a\rb\n", "file:2: not CSV"),
    ("sharegpt", '[{"conversations": 3}]', "file:1: conversations: expected a list of turns"),
    ("log", '{"messages": []}', "file:1: timestamp: expected a time"),
    ("times", "1700000000\nnan\n", "file:2: time: expected a time"),
    ("prompts", '{"prompt": 3}', "file:1: prompt: expected text"),
    ("prompts", TINY["prompts"] + '{"promt": "Say"}', "file:2: prompt: expected text, got 'nothing'"),
    ("messages", TINY["messages"] + '{"messages": "Say"}', "file:2: messages: expected a list of messages"),
    ("table", "user,said\nann,it\n", "file:1: no column of prompts: it has user, said; expected one of messages"),
    ("table", "prompt,time\na,2026-01-01T00:00:02\nb,2026-01-01T00:00:01", "file:3: timestamp: goes 1 s backwards"),
    ("table", "prompt,output_tokens\na,-2", "file:2: output_tokens: expected a whole number of tokens"),
    ("parquet", parquet({"said": ["it"]}), "file:1: no column of prompts: it has said; expected"),
    ("parquet", parquet({"prompt": [3]}), "file:1: prompt: expected text"),
    ("parquet", parquet({"prompt": ["a", "x" * (10 << 20)]}), "file:2: prompt: longer than 8 MiB"),
    ("parquet", parquet({"prompt": ["a"]})[:-5], "file:1: not Parquet that can be read"),
    ("parquet", parquet({"prompt": ["a"], "output_tokens": [-1]}), "file:1: output_tokens: expected a whole number"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "content", "said"), BROKEN)
def test_a_broken_file_is_one_line_with_its_place(tmp_path: Path, form: str, content: str, said: str) -> None:
    with pytest.raises(UserError) as caught:
        list(read(written(tmp_path, content), form))
    assert said in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (TINY["azure"].encode("utf-16"), "expected UTF-8, got UTF-16"),
        (TINY["prompts"].encode() + b'{"prompt": "\xe4"}', "file:2: not UTF-8 at byte 13"),
        (b'{"prompt": "' + b"x" * ROW_BYTES_MAX + b'"}', "file:1: column 8388608: the line is longer than 8 MiB"),
        (
            b'[{"conversations": [{"value": "' + b"x" * (10 << 20),
            "file:1: column 2: the value that starts here is longer",
        ),
        (gzip.compress(TINY["azure"].encode(), mtime=0)[:-12], "gzip is truncated or damaged"),
        (b'{"who": "knows"}', "no known format has these keys: who"),
        (b"\x00\x01\x02", "file:1: not text: byte 1 of the line is zero"),
    ],
)
def test_what_is_no_file_of_requests_is_one_line(tmp_path: Path, content: bytes, said: str) -> None:
    with pytest.raises(UserError) as caught:
        list(read(written(tmp_path, content)))
    assert said in str(caught.value) and "\n" not in str(caught.value)


WORDS = st.text(st.characters(exclude_categories=("Cs", "Cc", "Z")), min_size=1, max_size=20)
# Of a time and a length only what each format can hold; a text in lines holds no line's end.
RECORDS = st.lists(st.tuples(WORDS, WORDS, st.integers(0, 10**6), st.integers(1, 10**6)), min_size=1, max_size=20)
Record = tuple[str, str, int, int]


def _csv(rows: Sequence[tuple[object, ...]]) -> str:
    file = io.StringIO()
    csv.writer(file).writerows(rows)
    return file.getvalue()


def _jsonl(rows: list[dict[str, Any]]) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


def _chat(prompt: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": prompt}, {"role": "assistant", "content": answer}]


WRITE: dict[str, Callable[[list[Record]], str | bytes]] = {
    "azure": lambda rows: _csv(
        [("TIMESTAMP", "ContextTokens", "GeneratedTokens")]
        + [(f"2024-05-10 00:{i // 60:02}:{i % 60:02}.0099300+00:00", n, m) for i, (_, _, n, m) in enumerate(rows)]
    ),
    "burstgpt": lambda rows: _csv(
        [("Timestamp", "Model", "Request tokens", "Response tokens", "Total tokens", "Log Type")]
        + [(i, "GPT-4", n, m, n + m, "API log") for i, (_, _, n, m) in enumerate(rows)]
    ),
    "mooncake": lambda rows: _jsonl(
        [{"timestamp": i, "input_length": n, "output_length": m, "hash_ids": list(range(-(-n // 512)))}
         for i, (_, _, n, m) in enumerate(rows)]
    ),
    "times": lambda rows: _csv(
        [("time", "input_tokens", "output_tokens")] + [(1.7e9 + i, n, m) for i, (_, _, n, m) in enumerate(rows)]
    ),
    "litellm": lambda rows: json.dumps(
        [{"call_type": "", "startTime": 1.7e9 + i, "prompt_tokens": n, "completion_tokens": m,
          "messages": _chat(prompt, answer)[:1],
          "response": {"choices": [{"message": _chat(prompt, answer)[1]}]}}
         for i, (prompt, answer, n, m) in enumerate(rows)]
    ),
    "langfuse": lambda rows: _csv(
        [("type", "start_time", "input", "output", "usage_details")]
        + [("GENERATION", f"2026-01-01 00:00:{i:02}", json.dumps(_chat(prompt, answer)[:1]), answer,
            json.dumps({"input": n, "output": m})) for i, (prompt, answer, n, m) in enumerate(rows)]
    ),
    "log": lambda rows: _jsonl(
        [{"timestamp": 1.7e9 + i, "prompt": prompt, "response": answer, "prompt_tokens": n, "output_tokens": m}
         for i, (prompt, answer, n, m) in enumerate(rows)]
    ),
    "messages": lambda rows: _jsonl([{"messages": _chat(prompt, answer)} for prompt, answer, _, _ in rows]),
    "prompts": lambda rows: _jsonl([{"prompt": prompt, "completion": answer} for prompt, answer, _, _ in rows]),
    "sharegpt": lambda rows: json.dumps(
        [{"conversations": [{"from": "human", "value": prompt}, {"from": "gpt", "value": answer}]}
         for prompt, answer, _, _ in rows]
    ),
    "table": lambda rows: _csv([("prompt", "answer", "prompt_tokens", "output_tokens"), *rows]),
    "parquet": lambda rows: parquet(
        {"messages": [_chat(prompt, answer) for prompt, answer, _, _ in rows],
         "prompt_tokens": [n for _, _, n, _ in rows], "output_tokens": [m for _, _, _, m in rows]}
    ),
    "text": lambda rows: "\n".join(prompt for prompt, _, _, _ in rows),
}  # fmt: skip
HAS_TEXT = {"litellm", "langfuse", "log", "messages", "prompts", "sharegpt", "table", "parquet", "text"}
HAS_ANSWERS = HAS_TEXT - {"text"}
HAS_LENGTHS = WRITE.keys() - {"messages", "prompts", "sharegpt", "text"}


@pytest.mark.parametrize("form", WRITE)
@settings(max_examples=15, deadline=None)
@given(records=RECORDS)
def test_what_was_written_in_a_format_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, records: list[Record], form: str
) -> None:
    rows = list(read(written(tmp_path_factory.mktemp("back"), WRITE[form](records)), form))
    assert len(rows) == len(records)
    for row, (prompt, answer, n, m) in zip(rows, records, strict=True):
        assert row.messages == ((Message("user", prompt),) if form in HAS_TEXT else ())
        assert row.answer == (answer if form in HAS_ANSWERS else None)
        assert (row.prompt_tokens, row.output_tokens) == ((n, m) if form in HAS_LENGTHS else (None, None))
    times = [row.t_ns for row in rows if row.t_ns is not None]
    assert times == sorted(times)


def test_a_folder_and_a_pattern_stand_for_their_files(tmp_path: Path) -> None:
    for name in ("b.jsonl", "deep/a.csv.gz", "README.md", ".git/c.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [tmp_path / "b.jsonl", tmp_path / "deep" / "a.csv.gz"]
    assert list(files_of(str(tmp_path), "--dataset")) == names
    assert list(files_of(f"{tmp_path}/**/*[lz]", "--dataset")) == names
    for name, said in ((f"{tmp_path}/*.txt", "no file matches"), (f"{tmp_path}/none", "no such file")):
        with pytest.raises(UserError, match=said):
            files_of(name, "--dataset")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"no file to read in this folder: expected \.jsonl"):
        files_of(str(tmp_path / "empty"), "--dataset")


def test_an_unknown_format_or_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'mooncake'"):
        read(tmp_path, "moonckae")
    with pytest.raises(UserError, match="cannot be read: No such file"):
        list(read(tmp_path / "none"))


KEYS = st.sampled_from(
    ["timestamp", "input_length", "output_length", "hash_ids", "messages", "role", "content", "conversations", "from",
     "value", "session_id", "turns", "llm_calls", "tokens", "type", "start_time", "usage_details", "startTime", "time",
     "call_type", "prompt", "body", "input", "duration_ms"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(values=st.lists(st.dictionaries(KEYS, VALUES, max_size=6), max_size=3), form=st.sampled_from(list(READERS)))
def test_whatever_is_in_a_file_rows_come_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, values: list[object], form: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    path = written(folder, "\n".join(map(json.dumps, values)))
    for asked in (form, None):
        try:
            rows = list(read(path, asked))
        except UserError as problem:
            assert "\n" not in str(problem)
        else:
            assert all(isinstance(row.line, int) for row in rows)
            facts(rows)


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=60), max_size=4), max_size=20),
    indent=st.sampled_from([None, 0, 2]),
    size=st.integers(1, 64),
)
def test_an_array_is_read_whole_wherever_its_pieces_end(
    tmp_path_factory: pytest.TempPathFactory, values: list[dict[str, str]], indent: int | None, size: int
) -> None:
    text = json.dumps(values, ensure_ascii=False, indent=indent)
    path = written(tmp_path_factory.mktemp("array"), text.encode("utf-8", "surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scenarios.traffic.lines._READ_BYTES", size)
        found = list(json_objects(path))
    assert [value for _, value in found] == values
    lines = [place.line for place, _ in found]
    assert all(a <= b for a, b in pairwise(lines)) and all(1 <= line <= text.count("\n") + 1 for line in lines)


def test_a_large_file_is_not_held_whole(tmp_path: Path) -> None:
    path = tmp_path / "large.json"
    with path.open("w") as file:
        file.write("[")
        for i in range(3000):
            turns = [{"from": "human", "value": "word " * 800}, {"from": "gpt", "value": "yes"}]
            file.write(("," if i else "") + json.dumps({"id": str(i), "conversations": turns}))
        file.write("]")
    assert path.stat().st_size > 10 << 20
    tracemalloc.start()
    assert sum(1 for _ in read(path)) == 3000
    assert tracemalloc.get_traced_memory()[1] < 6 << 20
    tracemalloc.stop()


@given(st.integers(0, 10**11 * SECOND - 1))
def test_an_instant_keeps_its_nanoseconds(t_ns: int) -> None:
    place = FilePosition(Path("f"), 1)
    assert place.instant_ns("t", f"{t_ns // SECOND}.{t_ns % SECOND:09}") == t_ns


# --- one byte or line is damaged --------------------------------------------------------------------------------------

BYTES = st.sampled_from([*b'\x00\n\r"\\,{}[]:0-9eE\xff\xc3 \x1f', 0x2E]) | st.integers(0, 255)
VALID = {form: content.encode() for form, content in TINY.items()} | {"parquet": PARQUET}


def damaged(content: bytes, how: str, at: int, byte: int) -> bytes:
    lines = content.splitlines(keepends=True)
    line = at % max(1, len(lines))
    at %= len(content)
    return {
        "changed": content[:at] + bytes([byte]) + content[at + 1 :],
        "added": content[:at] + bytes([byte]) + content[at:],
        "lost": content[:at] + content[at + 1 :],
        "cut": content[:at],
        "line lost": b"".join(lines[:line] + lines[line + 1 :]),
        "line twice": b"".join(lines[: line + 1] + lines[line:]),
        "lines changed about": b"".join(
            lines[:line] + lines[line + 1 : line + 2] + lines[line : line + 1] + lines[line + 2 :]
        ),
    }[how]


DAMAGES = ("changed", "added", "lost", "cut", "line lost", "line twice", "lines changed about")


@settings(max_examples=400, deadline=None)
@given(
    form=st.sampled_from(list(READERS)), how=st.sampled_from(DAMAGES), at=st.integers(0, 1 << 16), byte=BYTES,
    size=st.sampled_from([16, 1 << 20]), detects=st.booleans(),
)  # fmt: skip
def test_a_damaged_file_is_read_or_is_one_line_with_file_and_line(
    tmp_path_factory: pytest.TempPathFactory, form: str, how: str, at: int, byte: int, size: int, detects: bool
) -> None:
    path = written(tmp_path_factory.mktemp("damaged"), damaged(VALID[form], how, at, byte))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("scenarios.traffic.lines._READ_BYTES", size)
        try:
            rows = list(read(path, None if detects else form))
        except UserError as problem:
            said = str(problem)
            assert "\n" not in said and str(path) in said
            assert re.search(r"file:\d+: |is empty|no requests in it|cannot be read", said), said
        else:
            facts(rows)
