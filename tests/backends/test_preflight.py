"""What a server may say of itself before the load, of every shape: read, or refused in one line, and never a crash."""

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import BACKENDS
from backends.cold import http as cold_http
from backends.cold import openai as openai_cold
from backends.cold import tgi as tgi_cold
from backends.cold import vllm as vllm_cold
from backends.dialect import openai
from bench.process.exchange import HttpAnswer
from bench.types import Call, Message, NotReady, ServerFault, Target, Unlisted, UserError
from tests.backends.conftest import Asked

CAPTURES = Path(__file__).parents[1] / "fixtures"
HELLO = (Message("user", "hello"),)
CALL = Call(0, None, 0, 0, None, HELLO, 8, 1, None)
JSON = {"Content-Type": "application/json"}
Serve = Callable[[dict[str, Any]], str]


@pytest.fixture
def serve(answering: Callable[..., str]) -> Serve:
    """`serve({path: body or (status, headers, body)}) -> url`; 404 for every other path."""

    def start(answers: dict[str, Any]) -> str:
        def answer(asked: Asked) -> tuple[int, dict[str, str], Any]:
            found = answers.get(asked.path, (404, JSON, {"detail": "Not Found"}))
            return found if isinstance(found, tuple) else (200, JSON, found)

        return answering(answer)

    return start


def captured(name: str) -> Any:
    """The JSON that a real server sent."""
    return json.loads((CAPTURES / name).read_bytes().partition(b"\r\n\r\n")[2])


# --- lists of models ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "listing",
    [
        {"object": "list", "data": [{"id": "m"}]},
        [{"id": "m", "object": "model"}],
        {"models": [{"id": "m"}]},
        {"models": [{"name": "m", "size": 7}]},
        ["other", "m"],
        {"data": [{"id": "m"}, {"no": "id"}, None, {"id": 7}]},
    ],
)
def test_a_list_of_models_is_read_in_every_shape(serve: Serve, listing: Any) -> None:
    assert openai_cold.preflight(Target(serve({"/v1/models": listing}), "m")).model == "m"


@pytest.mark.parametrize(
    ("asked", "listed"), [("tiny", "tiny:latest"), ("gemini-9", "models/gemini-9"), ("a:7b", "a:7b")]
)
def test_a_model_is_known_by_what_servers_make_of_its_name(serve: Serve, asked: str, listed: str) -> None:
    assert openai_cold.preflight(Target(serve({"/v1/models": {"data": [{"id": listed}]}}), asked)).model == listed


@pytest.mark.parametrize(
    "answer",
    [
        {"data": [{"id": "other"}]},
        {"data": []},
        (404, {}, "404 page not found"),
        (500, JSON, {"error": "boom"}),
        (401, JSON, {"error": "not for keys of this kind"}),
        (200, {"Content-Type": "text/html"}, "<h1>hello</h1>"),
        {"hello": "world"},
    ],
)
def test_a_list_that_says_nothing_for_a_model_leaves_the_word_to_a_first_answer(serve: Serve, answer: Any) -> None:
    with pytest.raises(Unlisted) as raised:
        openai_cold.preflight(Target(serve({"/v1/models": answer}), "m"))
    assert raised.value.info.model == "m"


def test_a_redirect_names_where_it_leads_and_is_not_followed(serve: Serve) -> None:
    url = serve({"/v1/models": (308, {"Location": "https://elsewhere.example/v1?key=sk-very-secret"}, "")})
    with pytest.raises(UserError, match=r"redirects with HTTP 308 to https://elsewhere.example/v1\?key=\(key\); give"):
        openai_cold.preflight(Target(url, "m", "sk-very-secret"))


# --- where an API is ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "options", "query", "path"),
    [
        ("", {}, "", "/v1/models"),
        ("/api/paas/v4", {"api_path": ""}, "", "/api/paas/v4/models"),
        ("/v1beta/openai", {"api_path": ""}, "", "/v1beta/openai/models"),
        ("/openai/deployments/d", {"api_path": ""}, "api-version=7", "/openai/deployments/d/models?api-version=7"),
    ],
)
def test_the_list_is_where_the_api_is(
    answering: Callable[..., str], base: str, options: dict[str, str], query: str, path: str
) -> None:
    asked: list[Asked] = []

    def answer(one: Asked) -> tuple[int, dict[str, str], Any]:
        asked.append(one)
        return 200, {}, {"data": [{"id": "m"}]}

    target = Target(answering(answer) + base, "m", options=options, query=query, headers=(("api-key", "k"),))
    openai_cold.preflight(target)
    assert asked[0].path == path and asked[0].headers["api-key"] == "k"
    assert openai.request(CALL, target).path == path.replace("/models", "/chat/completions")


# --- limits that servers publish ----------------------------------------------------------------------------------


def test_a_real_tgis_limits_are_read(serve: Serve) -> None:
    info = tgi_cold.preflight(Target(serve({"/info": captured("tgi/captures/get-info.http")}), "local/tiny"))
    assert (info.max_in_flight, info.max_prompt_tokens, info.context_tokens) == (16, 1500, 2048)


def test_a_real_ollamas_model_and_context_are_read(serve: Serve) -> None:
    answers = {
        "/v1/models": captured("ollama/captures/get-v1-models.http"),
        "/api/ps": captured("ollama/captures/get-api-ps.http"),
    }
    info = openai_cold.preflight(Target(serve(answers), "tiny"))
    assert (info.name, info.model, info.context_tokens) == ("ollama", "tiny:latest", 2048)
    assert openai_cold.loaded_context(Target(serve(answers | {"/api/ps": {"models": []}}), "tiny")) is None


def test_what_vllms_cache_holds_is_read_from_its_metrics() -> None:
    metrics = 'vllm:cache_config_info{block_size="16",cache_dtype="auto",num_gpu_blocks="1000"} 1.0\n'
    assert vllm_cold._cache_tokens(metrics) == 16_000
    assert vllm_cold._cache_tokens("vllm:num_requests_running 0\n") is None


# --- servers that fail --------------------------------------------------------------------------------------------


@contextmanager
def raw(say: Callable[[socket.socket], None]) -> Iterator[str]:
    """The URL of a server that treats each connection as `say` does, once its request has come."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def serve() -> None:
            while not ended.is_set():
                with suppress(OSError):
                    connection, _ = server.accept()
                    with connection, suppress(OSError):
                        connection.recv(65536)
                        say(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            ended.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def drip(head: bytes, piece: bytes) -> Callable[[socket.socket], None]:
    def say(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(0.02)

    return say


@pytest.mark.slow
@pytest.mark.parametrize(
    "say",
    [
        drip(b"HTTP/1.1 200 OK\r\n\r\n[", b" "),
        drip(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        drip(b"HTTP/1.1 200 OK\r\n", b"X"),
        drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ],
)
def test_an_answer_that_drips_has_a_deadline_over_all_of_it(say: Callable[[socket.socket], None]) -> None:
    begin = time.monotonic()
    with raw(say) as url, pytest.raises(NotReady, match=r"did not answer /v1/models within 0\.3 s"):
        cold_http.fetch(Target(url, "m"), "/v1/models", timeout_s=0.3)
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize(
    "body",
    [
        b"[" + b" " * cold_http.MAX_BYTES + b"]",
        gzip.compress(b"[" + b" " * cold_http.MAX_BYTES + b"]", mtime=0),
    ],
)
def test_an_answer_may_be_so_large_and_no_larger_packed_or_not(serve: Serve, body: bytes) -> None:
    coding = {"Content-Encoding": "gzip"} if body[:2] == b"\x1f\x8b" else {}
    with pytest.raises(ServerFault, match="longer than 8 MiB"):
        cold_http.get_json(Target(serve({"/props": (200, coding, body)}), "m"), "/props")


def test_an_answer_that_is_packed_unasked_is_read(serve: Serve) -> None:
    url = serve({"/props": (200, {"Content-Encoding": "gzip"}, gzip.compress(b'{"a": 1}'))})
    assert cold_http.get_json(Target(url, "m"), "/props") == {"a": 1}


def test_heads_without_end_are_refused() -> None:
    def say(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(100_000)))

    with raw(say) as url, pytest.raises(UserError, match="does not speak this protocol"):
        cold_http.fetch(Target(url, "m"), "/v1/models", timeout_s=5)


def test_a_call_that_is_dropped_is_named(serve: Serve) -> None:
    with (
        raw(lambda _: None) as url,
        pytest.raises(ServerFault, match=r"dropped the connection at /tokenize"),
    ):
        tgi_cold.count_tokens(Target(url, "m"), HELLO)


def test_a_server_that_says_it_is_loading_is_not_ready(serve: Serve) -> None:
    url = serve({"/v1/models": (503, JSON, {"error": {"message": "Loading model"}})})
    with pytest.raises(NotReady, match="Loading model; use --ready-timeout"):
        openai_cold.preflight(Target(url, "m"))
    with pytest.raises(NotReady, match="connection refused"):
        openai_cold.preflight(Target("http://127.0.0.1:9", "m"))


# --- anything at all ----------------------------------------------------------------------------------------------

ANYTHING = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(st.characters(), max_size=8)
    | st.sampled_from([0, 10**400, "\ud800", "\x1b]0;x\x07", "x" * 10**5]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
FIELDS = {
    "/v1/models/m": "id type owned_by max_tokens max_input_tokens capabilities lifecycle retires_at",
    "/props": "default_generation_settings build_info model_alias model_path total_slots model_ftype",
    "/info": "model_id max_input_tokens max_total_tokens version max_concurrent_requests more \ud800",
    "/version": "version",
    "/api/ps": "models",
    "/tokenize": "count tokens",
    "/chat_tokenize": "templated_text tokenize_response",
    "/apply-template": "prompt",
    "/v1/messages/count_tokens": "input_tokens",
    "/v1/chat/completions": "usage choices",
    "/metrics": "text",
}
IN_A_LIST = "owned_by root parent meta max_model_len context_length max_tokens"
ENTRY = st.fixed_dictionaries({"id": st.just("m") | ANYTHING}, optional=dict.fromkeys(IN_A_LIST.split(), ANYTHING))
ANSWERS = {
    path: st.fixed_dictionaries(dict.fromkeys(names.split(), ANYTHING)) | ANYTHING for path, names in FIELDS.items()
} | {"/v1/models": st.fixed_dictionaries({"data": st.lists(ENTRY, max_size=2)}) | ANYTHING}


@pytest.mark.parametrize("name", BACKENDS)
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_whatever_a_server_says_of_itself_is_read_or_refused(name: str, data: st.DataObject) -> None:
    backend = BACKENDS[name]
    # Only what is asked for is made up, and is the same when it is asked for again.
    answer = cache(lambda path: data.draw(ANSWERS.get(path, st.none())))

    def exchange(target: Target, method: str, path: str, *_: Any) -> HttpAnswer:
        value = answer(path.partition("?")[0])
        status = 404 if value is None else 200
        return HttpAnswer(status, {"content-type": "application/json"}, json.dumps(value).encode())

    with patch.object(cold_http, "exchange", exchange):
        try:
            info = backend.preflight(Target("http://127.0.0.1", "m"))
        except Unlisted as problem:
            info = problem.info
        except UserError as problem:
            assert "\n" not in str(problem)
            return
        assert info.model.isprintable() and len(info.name) <= 100
        assert info.version is None or (info.version.isprintable() and len(info.version) <= 100)
        for number in (info.context_tokens, info.max_prompt_tokens, info.max_in_flight, info.slots, info.cache_tokens):
            assert number is None or 0 < number <= 10**9
        assert len(orjson.dumps(asdict(info))) < 10**5  # as run.json has it
        with suppress(UserError):
            count = backend.count_tokens(Target("http://127.0.0.1", "m", options=info.options), HELLO)
            assert count is None or 0 <= count <= 10**9
