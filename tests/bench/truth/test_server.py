import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from http.client import HTTPConnection, IncompleteRead
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from bench.truth import server as truth
from bench.truth.server import TruthLog, TruthOptions, TruthServer, compare, compile_server, lateness, launch, read_log
from bench.types import UserError

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("cc") is None, reason="the server is compiled, and for Linux"
)

MS = 1_000_000
QUICK = TruthOptions(ttft_ms=2, gap_ms=1, tokens=4)


def body(**fields: Any) -> bytes:
    messages = [{"role": "user", "content": "say it\nin three words"}]
    return json.dumps({"model": "truth", "messages": messages, "stream": True} | fields).encode()


def connect(server: TruthServer) -> AbstractContextManager[HTTPConnection]:
    url = urlsplit(server.url)
    return closing(HTTPConnection(str(url.hostname), url.port, timeout=300))


def ask(server: TruthServer, *, number: int | None = None, **fields: Any) -> tuple[int, bytes]:
    """(status, body) of one request on a connection of its own."""
    headers = {} if number is None else {"x-request-id": str(number)}
    with connect(server) as connection:
        connection.request("POST", "/v1/chat/completions", body(**fields), headers)
        response = connection.getresponse()
        return response.status, response.read()


def raw_request(**fields: Any) -> bytes:
    payload = body(**fields)
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: truth\r\nContent-Length: {len(payload)}\r\n\r\n"
    return head.encode() + payload


def dial(server: TruthServer) -> socket.socket:
    return socket.create_connection((urlsplit(server.url).hostname, urlsplit(server.url).port), timeout=300)


def events(stream: bytes, eol: str = "\n") -> list[str]:
    parts = stream.decode().split(2 * eol)
    assert parts.pop() == "", "the last event is complete"
    assert all(part.startswith("data: ") for part in parts)
    return [part.removeprefix("data: ") for part in parts]


def texts(stream: bytes, eol: str = "\n") -> list[str]:
    """The content of each event that has some."""
    chunks = [json.loads(event) for event in events(stream, eol) if event != "[DONE]"]
    deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
    return [delta["content"] for delta in deltas if delta.get("content")]


def token_texts(count: int) -> list[str]:
    return [f" t{token:06d}" for token in range(count)]


@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
@pytest.mark.parametrize(("eol", "newline"), [("lf", "\n"), ("crlf", "\r\n")])
def test_every_framing_carries_the_same_stream(framing: Any, eol: Any, newline: str) -> None:
    with launch(replace(QUICK, framing=framing, eol=eol)) as server:
        for _ in range(2):
            status, stream = ask(server)
            role, *_, finish, usage, done = events(stream, newline)
            assert status == 200
            assert texts(stream, newline) == token_texts(4)
            assert json.loads(role)["choices"][0]["delta"] == {"role": "assistant", "content": None}
            assert json.loads(finish)["choices"][0]["finish_reason"] == "length"
            assert json.loads(usage)["choices"] == []
            assert json.loads(usage)["usage"] == {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9}
            assert done == "[DONE]"


def test_content_events_are_as_large_as_a_real_servers() -> None:
    with launch(QUICK) as server:
        sizes = [len(event) for event in events(ask(server)[1]) if " t0" in event]
    assert all(190 <= size <= 250 for size in sizes)


@pytest.mark.clock
def test_the_role_chunk_comes_long_before_the_first_token_and_alone() -> None:
    with launch(TruthOptions(ttft_ms=150, tokens=1)) as server, dial(server) as client:
        client.sendall(raw_request())
        started = time.monotonic()
        first = client.recv(65536)
        assert b'"role":"assistant"' in first
        assert b" t000000" not in first
        second = client.recv(65536)
        assert b" t000000" in second
        assert time.monotonic() - started > 0.14


def test_role_chunk_and_usage_can_be_left_out() -> None:
    with launch(replace(QUICK, role_chunk=False, usage=False)) as server:
        stream = ask(server)[1]
    assert b'"role"' not in stream
    assert b'"usage"' not in stream
    assert texts(stream) == token_texts(4)


def test_max_tokens_of_the_request_wins() -> None:
    with launch(QUICK) as server:
        assert texts(ask(server, max_tokens=7)[1]) == token_texts(7)
        assert texts(ask(server, max_completion_tokens=2)[1]) == token_texts(2)
        quoted = [{"role": "user", "content": '"max_tokens": 3'}]
        assert texts(ask(server, messages=quoted)[1]) == token_texts(4)


def test_an_event_may_carry_several_tokens_and_the_last_one_the_rest(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with launch(TruthOptions(tokens_per_event=4, framing="length", ttft_ms=2, gap_ms=1), log=log) as server:
        stream = ask(server, max_tokens=10)[1]
    tokens = token_texts(10)
    assert texts(stream) == ["".join(tokens[0:4]), "".join(tokens[4:8]), "".join(tokens[8:])]
    assert read_log(log).event_token.tolist() == [0, 4, 8]


def test_split_events_arrive_in_pieces_and_say_the_same(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with launch(TruthOptions(split=4, ttft_ms=5, gap_ms=5, tokens=10), log=log) as server, dial(server) as client:
        client.sendall(raw_request())
        reads = [client.recv(65536)]
        while not reads[-1].endswith(b"0\r\n\r\n"):
            reads.append(client.recv(65536))
    assert len(reads) > 20
    assert any(not read.endswith(b"\n") for read in reads)
    assert sum(read.count(b"}\n\n") for read in reads) == 13
    entry = read_log(log)
    last_piece_ns = entry.request_read_ns[0] + 5 * MS + np.arange(10) * 5 * MS + 600_000
    assert entry.event_due_ns.tolist() == last_piece_ns.tolist()


def test_a_whole_completion_counts_the_words_of_the_prompt() -> None:
    with launch(QUICK) as server:
        status, answer = ask(server, stream=None)
    assert status == 200
    assert json.loads(answer)["usage"] == {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6}
    assert json.loads(answer)["choices"][0]["finish_reason"] == "length"


@pytest.mark.slow
@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_asked_for_no_stream_it_sends_the_same_text_as_one_document_when_its_last_token_is_due(
    framing: Any, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    with launch(replace(QUICK, framing=framing, tokens_per_event=3), log=log) as server:
        _, stream = ask(server, max_tokens=700)
        status, answer = ask(server, stream=False, max_tokens=700)
    document = json.loads(answer)
    said = re.findall(rb'"content":"([^"]+)"', stream)
    assert status == 200
    assert document["choices"][0]["message"]["content"] == b"".join(said).decode()
    assert document["choices"][0]["finish_reason"] == "length"
    assert document["usage"] == {"prompt_tokens": 5, "completion_tokens": 700, "total_tokens": 705}
    entry = read_log(log)
    whole = entry.event_request == 1
    assert set(entry.event_due_ns[whole] - entry.request_read_ns[1]) == {2 * MS + 699 * MS}


def test_it_answers_what_clients_ask_of_a_server() -> None:
    with launch(QUICK) as server:
        ask(server)

        def get(path: str) -> tuple[int, str]:
            with connect(server) as connection:
                connection.request("GET", path)
                response = connection.getresponse()
                return response.status, response.read().decode()

        assert get("/health")[0] == 200
        assert json.loads(get("/v1/models")[1])["data"][0]["id"] == "truth"
        assert "truth:generation_tokens_total 4\n" in get("/metrics")[1]
        assert "truth:requests_total 1\n" in get("/metrics")[1]
        assert "truth:requests_running 0\n" in get("/metrics")[1]
        assert get("/v1/nothing")[0] == 404


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_a_connection_serves_one_request_after_another(framing: Any) -> None:
    with launch(replace(QUICK, framing=framing)) as server, connect(server) as connection:
        for _ in range(3):
            connection.request("POST", "/v1/chat/completions", body())
            socket_used = connection.sock
            assert texts(connection.getresponse().read()) == token_texts(4)
            assert connection.sock is socket_used


def test_a_request_sent_behind_a_running_one_has_its_turn() -> None:
    with launch(QUICK) as server, dial(server) as client:
        client.sendall(raw_request() + raw_request(stream=False))
        answer = b""
        while b'"chat.completion"' not in answer:
            answer += client.recv(65536)
    assert answer.index(b"[DONE]") < answer.index(b'"chat.completion"')


def test_a_request_in_pieces_is_read_whole() -> None:
    request = raw_request(stream=False, padding="x" * 100_000)
    with launch(TruthOptions()) as server, dial(server) as client:
        for piece in (request[:10], request[10:120], request[120:-1], request[-1:]):
            client.sendall(piece)
            time.sleep(0.01)
        assert client.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_a_request_without_a_length_is_refused() -> None:
    with launch(QUICK) as server, dial(server) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert client.makefile("rb").read().startswith(b"HTTP/1.1 411 ")


@pytest.mark.clock
def test_a_client_that_does_not_read_loses_nothing() -> None:
    with launch(TruthOptions(ttft_ms=0, gap_ms=0, framing="close")) as server, dial(server) as client:
        client.sendall(raw_request(max_tokens=30_000))
        time.sleep(0.3)
        answer = client.makefile("rb").read()
    assert texts(answer.partition(b"\r\n\r\n")[2]) == token_texts(30_000)


def test_a_client_that_leaves_disturbs_nobody() -> None:
    with launch(TruthOptions(ttft_ms=20, gap_ms=1, tokens=20)) as server:
        for _ in range(3):
            with dial(server) as leaver:
                leaver.sendall(raw_request())
                leaver.recv(65536)
        assert texts(ask(server)[1]) == token_texts(20)


def test_status_fault_is_a_plain_error_for_every_nth_request() -> None:
    with launch(replace(QUICK, faults="status:503/3")) as server:
        answers = [ask(server) for _ in range(6)]
    assert [status for status, _ in answers] == [200, 200, 503, 200, 200, 503]
    assert json.loads(answers[2][1])["error"] == {"message": "injected", "type": "server_error", "code": 503}


def test_faults_go_by_the_clients_own_numbers() -> None:
    with launch(replace(QUICK, faults="status:429/10")) as server:
        assert [ask(server, number=number)[0] for number in (19, 3, 9)] == [429, 200, 429]


def test_stall_fault_delays_a_token_and_all_after_it(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with launch(replace(QUICK, faults="stall@2:50ms/1"), log=log) as server:
        stream = ask(server)[1]
    entry = read_log(log)
    assert texts(stream) == token_texts(4)
    assert np.diff(entry.event_due_ns).tolist() == [1 * MS, 51 * MS, 1 * MS]
    assert (np.diff(entry.event_sent_ns)[1]) > 40 * MS


def test_reset_fault_resets_the_connection_in_mid_stream() -> None:
    with launch(replace(QUICK, faults="reset@2/1")) as server, dial(server) as client:
        client.sendall(raw_request())
        seen = b""
        with pytest.raises(ConnectionResetError):
            while True:
                part = client.recv(65536)
                assert part, "a reset, not an end"
                seen += part
    assert b" t000002" not in seen


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_cut_fault_ends_the_connection_in_mid_stream(framing: Any) -> None:
    with (
        launch(replace(QUICK, faults="cut@2/1", framing=framing)) as server,
        pytest.raises(IncompleteRead) as cut,
    ):
        ask(server)
    assert texts(cut.value.partial) == token_texts(2)


@pytest.mark.parametrize("framing", ["chunked", "close", "length"])
def test_error_fault_is_an_event_that_ends_a_200(framing: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with launch(replace(QUICK, faults="error@2/1", framing=framing), log=log) as server:
        status, stream = ask(server)
    assert status == 200
    error = events(stream)[-1]
    assert json.loads(error) == {"error": {"message": "injected", "type": "server_error", "code": 500}}
    assert stream.count(b" t0") == 2
    assert read_log(log).event_token.tolist() == [0, 1]


@pytest.mark.parametrize("framing", ["chunked", "length"])
def test_garbage_fault_replaces_one_event_and_the_stream_goes_on(framing: Any, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with launch(replace(QUICK, faults="garbage@1/1", framing=framing), log=log) as server:
        _, before, garbage, *after = events(ask(server)[1])
    assert " t000000" in before
    with pytest.raises(json.JSONDecodeError):
        json.loads(garbage)
    assert [" t000002" in after[0], " t000003" in after[1], after[-1]] == [True, True, "[DONE]"]
    assert read_log(log).event_token.tolist() == [0, 2, 3]


def test_empty_fault_is_a_stream_without_content() -> None:
    with launch(replace(QUICK, faults="empty/1")) as server:
        status, stream = ask(server)
    assert status == 200
    assert texts(stream) == []
    assert events(stream)[-1] == "[DONE]"
    assert '"finish_reason":"stop"' in events(stream)[1]


def test_the_first_fault_that_applies_wins() -> None:
    with launch(replace(QUICK, faults="status:503/2,status:429/1")) as server:
        assert [ask(server)[0] for _ in range(4)] == [429, 503, 429, 503]


def test_the_schedule_counts_from_the_requests_arrival(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with launch(TruthOptions(ttft_ms=12.5, gap_ms=1.25, tokens=40), log=log) as server:
        before_ns = time.monotonic_ns()
        ask(server, number=41)
        after_ns = time.monotonic_ns()
    entry = read_log(log)
    due_ns = entry.request_read_ns[0] + 12_500_000 + np.arange(40) * 1_250_000
    assert entry.request.tolist() == [41]
    assert entry.event_request.tolist() == [41] * 40
    assert entry.event_due_ns.tolist() == due_ns.tolist()
    assert before_ns < entry.request_read_ns[0]
    assert entry.event_sent_ns[-1] < after_ns
    assert (entry.event_sent_ns >= entry.event_due_ns).all()


@pytest.mark.clock
def test_jitter_delays_tokens_by_less_than_its_share_of_a_gap(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with launch(TruthOptions(ttft_ms=0, gap_ms=2, tokens=40, jitter_pct=50), log=log) as server:
        ask(server)
    entry = read_log(log)
    late_ns = entry.event_due_ns - entry.request_read_ns[0] - np.arange(40) * 2 * MS
    assert 0 <= late_ns.min() < 200_000
    assert 800_000 < late_ns.max() < 1 * MS


@pytest.mark.clock
def test_the_log_matches_what_a_client_saw(tmp_path: Path) -> None:
    log = tmp_path / "log"
    stamps: list[int] = []
    with launch(TruthOptions(ttft_ms=10, gap_ms=5, tokens=20), log=log) as server, dial(server) as client:
        client.sendall(raw_request())
        data = b""
        while not data.endswith(b"0\r\n\r\n"):
            data += client.recv(65536)
            t_ns = time.monotonic_ns()
            stamps += [t_ns] * (data.count(b" t0") - len(stamps))
    entry = read_log(log)
    found = compare(entry, np.zeros(20, np.int64), np.arange(20), np.array(stamps))
    assert (np.array(stamps) > entry.event_sent_ns).all()
    assert (found.lost, found.unknown) == (0, 0)
    assert (found.first_token.count, found.gap.count) == (1, 19)
    assert found.gap.p50_ms is not None
    assert found.gap.p50_ms < 5
    assert lateness(entry).count == 20


def test_comparison_finds_known_errors_losses_and_strangers() -> None:
    sent_ns = np.array([0, 10, 20, 5, 15, 25]) * MS
    log = TruthLog(
        request=np.array([7, 3]),
        request_read_ns=np.array([0, 0]),
        event_request=np.array([7, 7, 7, 3, 3, 3]),
        event_token=np.array([0, 1, 2, 0, 1, 2]),
        event_due_ns=sent_ns,
        event_sent_ns=sent_ns,
    )
    request = np.array([3, 7, 7, 3, 9])
    token = np.array([0, 0, 1, 2, 0])
    t_ns = np.array([8, 1, 9, 25, 0]) * MS
    found = compare(log, request, token, t_ns)
    assert (found.lost, found.unknown) == (2, 1)
    assert (found.first_token.count, found.first_token.max_ms, found.first_token.p50_ms) == (2, 3.0, 2.0)
    assert (found.gap.count, found.gap.max_ms) == (1, 2.0)


def test_comparison_of_nothing_has_no_numbers() -> None:
    none = np.array([], np.int64)
    found = compare(TruthLog(none, none, none, none, none, none), none, none, none)
    assert (found.first_token.count, found.first_token.p99_ms) == (0, None)


def test_comparison_refuses_ids_used_twice() -> None:
    none = np.array([], np.int64)
    with pytest.raises(ValueError, match="unique"):
        compare(TruthLog(np.array([1, 1]), none, none, none, none, none), none, none, none)


def test_many_streams_at_once_stay_apart_and_complete(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with launch(TruthOptions(ttft_ms=20, gap_ms=10, tokens=10, framing="close"), log=log) as server:
        clients = [dial(server) for _ in range(100)]
        for client in clients:
            client.sendall(raw_request())
        for client in clients:
            with client, client.makefile("rb") as stream:
                assert texts(stream.read().partition(b"\r\n\r\n")[2]) == token_texts(10)
    entry = read_log(log)
    assert len(entry.event_token) == 1000
    assert all(a <= b for a, b in pairwise(entry.event_sent_ns))


def test_it_ends_with_its_log_when_its_parents_pipe_closes(tmp_path: Path) -> None:
    log = tmp_path / "log"
    server = launch(QUICK, log=log)
    ask(server)
    server.process.communicate()
    assert server.process.returncode == 0
    assert len(read_log(log).event_token) == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_its_log(tmp_path: Path, number: signal.Signals) -> None:
    log = tmp_path / "log"
    with launch(QUICK, log=log) as server:
        ask(server)
        os.kill(server.pid, number)
        assert server.process.wait(10) == 0
    assert len(read_log(log).event_token) == 4


def test_stopping_twice_is_stopping() -> None:
    with launch(TruthOptions()) as server:
        server.stop()
    assert server.process.returncode == 0


def test_it_stays_on_its_core() -> None:
    core = min(os.sched_getaffinity(0))
    with launch(TruthOptions(), cpu=core) as server:
        assert os.sched_getaffinity(server.pid) == {core}


@pytest.mark.parametrize(
    ("options", "cpu", "complaint"),
    [
        (TruthOptions(faults="explode/3"), None, "no such value: explode"),
        (TruthOptions(faults="reset@5"), None, "NAME"),
        (TruthOptions(tokens=0), None, "--tokens 0: a number from 1"),
        (TruthOptions(), 100_000, "core 100000"),
    ],
)
def test_what_it_cannot_do_is_one_line(options: TruthOptions, cpu: int | None, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as refused:
        launch(options, cpu=cpu)
    assert "\n" not in str(refused.value)


def test_it_is_compiled_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    binary = compile_server()
    monkeypatch.setenv("PATH", "/nowhere")
    assert compile_server() == binary
    assert [binary] == list((tmp_path / "llm-serving-bench").iterdir())


def test_without_a_compiler_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="install gcc"):
        compile_server()


def test_a_compiler_that_fails_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "truth.c"
    broken.write_text("#include <no/such/header.h>\n")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(truth, "_SOURCE", broken)
    with pytest.raises(UserError, match="could not compile"):
        compile_server()
    assert list((tmp_path / "llm-serving-bench").iterdir()) == []


def test_its_source_compiles_without_a_warning(tmp_path: Path) -> None:
    flags = ["-std=c11", "-O2", "-Wall", "-Wextra", "-Wshadow", "-Werror"]
    subprocess.run(["cc", *flags, "-o", tmp_path / "truth", truth._SOURCE], check=True)
