"""The first request before the load, against servers that say what the test wants."""

import json
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backends import BACKENDS
from bench.load.spend import Ledger, Prices, SpendLimiter
from bench.preflight.rehearsal import LAST_SEQ, Rehearsal, RehearsalResult
from bench.types import Call, Lengths, Message, NotReady, Scenario, Target, UserError

KEY = "sk-very-secret-0123"
CALL = Call(0, None, 0, 0, None, (Message("system", "be kind"), Message("user", "tell me")), 16, 7, 20)

Answer = tuple[int, Mapping[str, str], Any]
Serve = Callable[[Callable[[str, dict[str, Any]], Answer]], str]


def chunk(**fields: Any) -> str:
    return f"data: {json.dumps(fields)}\n\n"


STREAM = (
    chunk(choices=[{"index": 0, "delta": {"content": "Once"}, "finish_reason": None}])
    + chunk(choices=[{"index": 0, "delta": {"content": " upon"}, "finish_reason": "length"}])
    + chunk(choices=[], usage={"prompt_tokens": 20, "completion_tokens": 16})
    + "data: [DONE]\n\n"
)
OK: Answer = (200, {"Content-Type": "text/event-stream"}, STREAM)
MESSAGES = "".join(
    f"event: {event['type']}\ndata: {json.dumps(event)}\n\n"
    for event in (
        {"type": "message_start", "message": {"usage": {"input_tokens": 20, "output_tokens": 0}}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Once"}},
        {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 16}},
        {"type": "message_stop"},
    )
)


def error(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


@pytest.fixture
def serve(web_server: Callable[[type[BaseHTTPRequestHandler]], str]) -> Serve:
    """`serve(answer) -> url`, where `answer(path, payload)` gives a status, headers and a body."""

    def start(answer: Callable[[str, dict[str, Any]], Answer]) -> str:
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                sent = self.rfile.read(int(self.headers["Content-Length"]))
                payload = json.loads(sent)
                payload["headers"] = {name.lower(): value for name, value in self.headers.items()}
                status, headers, body = answer(self.path, payload)
                data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(data))} | dict(headers)).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST

            def log_message(self, *_: object) -> None: ...

        return web_server(Handler)

    return start


def rehearse(url: str, backend: str = "openai", call: Call = CALL, **target: Any) -> RehearsalResult:
    one = Rehearsal(BACKENDS[backend], timeout_s=10, limiter=None, say=lambda _: None)
    return one.of(call, Target(url, "m", **target))


def refusing(*names: str, words: str = "Unknown parameter: '{}'.", **marks: str) -> Any:
    """A server that takes a request once none of these fields is in it, and names one at a time."""

    def answer(path: str, payload: dict[str, Any]) -> Answer:
        flat = json.dumps({name: one for name, one in payload.items() if name not in ("messages", "headers")})
        for name in names:
            if f'"{name}"' in flat:
                told = {mark: value.format(name) for mark, value in marks.items()}
                return 400, {}, error(words.format(name), **told)
        return OK

    return answer


# --- what is sent ------------------------------------------------------------------------------------------------


def test_what_is_sent_is_what_the_load_will_send(serve: Serve) -> None:
    seen: list[dict[str, Any]] = []

    def answer(path: str, payload: dict[str, Any]) -> Answer:
        seen.append(payload)
        return OK

    done = rehearse(serve(answer), api_key=KEY)
    [payload] = seen
    asked = BACKENDS["openai"].request(CALL, done.target)
    headers = payload.pop("headers")
    assert payload == json.loads(asked.body)
    assert headers["authorization"] == f"Bearer {KEY}"
    assert str(LAST_SEQ - 1) in headers["x-request-id"]
    assert (done.adapted, done.tries) == ((), 1)
    assert done.heard.reply is not None and done.heard.reply.usage is not None
    assert done.heard.reply.usage.prompt_tokens == 20


# --- adapting ----------------------------------------------------------------------------------------------------

# How servers say that they do not take a field: OpenAI, vLLM's and Mistral's pydantic, Groq, Google, Fireworks,
# Bedrock, serde, Jackson, Python, JSON schema, Azure.
WORDS = [
    "Unknown parameter: '{}'.",
    "Unrecognized request argument supplied: {}",
    "Unsupported parameter: '{}' is not supported with this model.",
    "property '{}' is unsupported",
    'Invalid JSON payload received. Unknown name "{}": Cannot find field.',
    "Extra inputs are not permitted, field: '{}', value: 16",
    "extraneous key [{}] is not permitted",
    "unknown field `{}`, expected one of `model`, `messages`, `max_tokens`, `stop`",
    'Unrecognized field "{}" (class com.acme.Chat), not marked as ignorable',
    "create() got an unexpected keyword argument '{}'",
    "Additional properties are not allowed ('{}' was unexpected)",
    "The parameter {} is not valid for this deployment; please remove it",
]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("name", ["seed", "temperature", "stream_options"])
def test_a_field_that_a_server_does_not_know_is_left_out(serve: Serve, words: str, name: str) -> None:
    done = rehearse(serve(refusing(name, words=words)))
    assert done.target.options == {"without": name}
    assert [said.split()[0] for said in done.adapted] == [name]
    assert name not in json.loads(BACKENDS["openai"].request(CALL, done.target).body)


@pytest.mark.parametrize(
    ("backend", "names"),
    [
        ("vllm", ("ignore_eos", "min_tokens", "continuous_usage_stats")),
        ("llamacpp", ("ignore_eos", "timings_per_token", "seed", "stream_options")),
        ("openai", ("seed", "temperature", "stream_options")),
    ],
)
def test_several_fields_go_one_after_the_other_each_said(serve: Serve, backend: str, names: tuple[str, ...]) -> None:
    done = rehearse(serve(refusing(*names)), backend)
    assert sorted(done.target.options["without"].split()) == sorted(names)
    assert len(done.adapted) == len(names)
    body = BACKENDS[backend].request(CALL, done.target).body.decode()
    assert not any(f'"{name}"' in body for name in names)


def test_what_a_server_marks_goes_before_what_it_says(serve: Serve) -> None:
    def answer(path: str, payload: dict[str, Any]) -> Answer:
        if "seed" not in payload:
            return OK
        detail = {"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}
        return 422, {}, {"object": "error", "message": {"detail": [detail]}}

    assert rehearse(serve(answer)).target.options == {"without": "seed"}


@pytest.mark.parametrize(
    "words",
    [
        "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
        "max_tokens is not supported; use max_completion_tokens",
        "Unknown parameter: 'max_tokens'",
    ],
)
def test_the_length_of_answers_is_renamed_and_never_left_out(serve: Serve, words: str) -> None:
    done = rehearse(serve(refusing("max_tokens", words=words)))
    assert done.target.options == {"renamed": "max_tokens=max_completion_tokens"}
    body = json.loads(BACKENDS["openai"].request(CALL, done.target).body)
    assert body["max_completion_tokens"] == 16 and "max_tokens" not in body


def test_a_temperature_that_must_be_the_default_is_left_to_the_server(serve: Serve) -> None:
    words = "Unsupported value: '{}' does not support 0 with this model. Only the default (1) value is supported."
    done = rehearse(serve(refusing("temperature", words=words, param="{}")))
    assert done.target.options == {"without": "temperature"}
    assert "sampled" in done.adapted[0]


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, "System role not supported"),
        (400, "Conversation roles must alternate user/assistant/user/assistant/..."),
        (500, "Jinja Exception: Only user and assistant roles are supported!"),
        (400, "Unsupported value: 'messages[0].role' does not support 'system' with this model."),
        (422, "unknown role: system message"),
    ],
)
def test_a_system_message_goes_to_the_user_where_there_is_no_such_role(serve: Serve, status: int, words: str) -> None:
    def answer(path: str, payload: dict[str, Any]) -> Answer:
        return (status, {}, error(words)) if payload["messages"][0]["role"] == "system" else OK

    done = rehearse(serve(answer))
    assert done.target.options == {"system": "user"}
    told = json.loads(BACKENDS["openai"].request(CALL, done.target).body)["messages"]
    assert told == [{"role": "user", "content": "be kind\n\ntell me"}]


def test_an_api_without_v1_is_found(serve: Serve) -> None:
    def answer(path: str, payload: dict[str, Any]) -> Answer:
        return OK if path == "/inference/chat/completions" else (404, {}, "404 page not found")

    done = rehearse(serve(answer) + "/inference")
    assert done.target.options == {"api_path": ""}


def test_the_messages_api_does_without_its_cache_where_a_server_has_none(serve: Serve) -> None:
    def answer(path: str, payload: dict[str, Any]) -> Answer:
        if "cache_control" in json.dumps(payload["system"]):
            words = "system.0.cache_control: Extra inputs are not permitted"
            return 400, {}, {"type": "error", "error": {"type": "invalid_request_error", "message": words}}
        return 200, {"Content-Type": "text/event-stream"}, MESSAGES

    done = rehearse(serve(answer), "claude")
    assert done.target.options == {"without": "cache_control"}


def test_a_server_that_refuses_whatever_it_is_sent_is_not_asked_for_ever(serve: Serve) -> None:
    asked = []

    def answer(path: str, payload: dict[str, Any]) -> Answer:
        asked.append(path)
        return 400, {}, error(f"Unknown parameter: {' '.join(payload)}, {len(asked)}")

    with pytest.raises(UserError, match="Unknown parameter"):
        rehearse(serve(answer))
    assert len(asked) < 20


# --- what cannot be adapted ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "hint"),
    [
        (401, error("Incorrect API key provided"), "OPENAI_API_KEY"),
        (403, error("You do not have permission"), "OPENAI_API_KEY"),
        (402, error("Insufficient Balance"), "add credit"),
        (429, error("You exceeded your current quota, check your billing", code="insufficient_quota"), "add credit"),
        (
            404,
            error("The model `m` does not exist or you have no access.", code="model_not_found"),
            "--model",
        ),
        (400, error("This model's maximum context length is 512 tokens, however you requested 900"), "--prompt-tokens"),
        (413, error("Request too large"), "--prompt-tokens"),
        (
            400,
            error("'max_tokens' is too large: 16. This model supports at most 8 tokens"),
            "--output-tokens",
        ),
        (404, "<html><h1>404 Not Found</h1></html>", "--url"),
        (405, error("Method Not Allowed"), "--url"),
        (415, "expected protobuf", "--backend"),
        (400, error("The response was filtered: content management policy"), "filter"),
        (400, "<center>No required SSL certificate was sent</center>", "--client-cert"),
        (400, error("what is this?"), "docs/backends.md"),
    ],
)
def test_a_refusal_has_the_servers_words_and_the_hint_of_its_kind(
    serve: Serve, status: int, body: Any, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.preflight.rehearsal.PAUSES_S", ())
    with pytest.raises(UserError) as raised:
        rehearse(serve(lambda *_: (status, {}, body)))
    said = str(raised.value)
    assert f"HTTP {status}" in said and "\n" not in said
    words = body["error"]["message"] if isinstance(body, dict) else body.partition(">")[2][:8] or body
    assert words[:20].replace("<h1>", "").split("<")[0] in said
    assert hint in said.partition(f"HTTP {status}")[2]


@pytest.mark.parametrize(
    "body",
    ["<html>hello</html>", "", "data: {not json}\n\n", chunk(hello="world"), STREAM[:90]],
)
def test_a_stream_that_cannot_be_read_is_said_before_the_load(
    serve: Serve, body: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.preflight.rehearsal.PAUSES_S", ())
    with pytest.raises(UserError, match="--backend and --url"):
        rehearse(serve(lambda *_: (200, {"Content-Type": "text/event-stream"}, body)))


def test_a_redirect_is_named_and_not_followed(serve: Serve) -> None:
    followed: list[str] = []
    other = serve(lambda path, _: followed.append(path) or OK)  # type: ignore[func-returns-value]
    url = serve(lambda *_: (307, {"Location": f"{other}/v1?key={KEY}"}, ""))
    with pytest.raises(
        UserError, match=r"redirects with HTTP 307 to http://127.0.0.1:\d+/v1\?key=\*+; give the URL"
    ) as raised:
        rehearse(url, api_key=KEY)
    assert followed == [] and KEY not in str(raised.value)


def test_what_may_pass_is_tried_again(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.preflight.rehearsal.PAUSES_S", (0.0, 0.0))
    answers = iter([(500, {}, "boom"), (429, {"retry-after": "0"}, error("slow down")), OK])
    assert rehearse(serve(lambda *_: next(answers))).tries == 3


def test_a_server_that_loads_is_waited_for_as_long_as_is_allowed(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.preflight.rehearsal.POLL_S", 0.01)
    monkeypatch.setattr("bench.preflight.rehearsal.PAUSES_S", ())
    answers: Iterator[Answer] = iter([(503, {}, error("Loading model"))] * 3 + [OK])
    said: list[str] = []
    one = Rehearsal(BACKENDS["openai"], 10, None, said.append, ready_timeout_s=30)
    assert one.of(CALL, Target(serve(lambda *_: next(answers)), "m")).tries == 4
    assert "Loading model" in said[0]
    with pytest.raises(NotReady, match=r"Loading model.*--ready-timeout"):
        rehearse(serve(lambda *_: (503, {}, error("Loading model"))))


def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.preflight.rehearsal.PAUSES_S", ())
    with socket.create_server(("127.0.0.1", 0)) as silent:
        one = Rehearsal(BACKENDS["openai"], 0.3, None, lambda _: None)
        with pytest.raises(NotReady, match=r"no answer .*timeout: not complete after 0\.3 s"):
            one.of(CALL, Target(f"http://127.0.0.1:{silent.getsockname()[1]}", "m"))


def test_a_dripping_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.preflight.rehearsal.PAUSES_S", ())
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                while not stop.wait(0.05):
                    connection.sendall(b"3\r\n:\n\n\r\n")

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            one = Rehearsal(BACKENDS["openai"], 0.4, None, lambda _: None)
            with pytest.raises(NotReady, match="not complete after"):
                one.of(CALL, Target(f"http://127.0.0.1:{server.getsockname()[1]}", "m"))
        finally:
            stop.set()
            thread.join()


# --- endpoints ----------------------------------------------------------------------------------------------------


def test_headers_and_the_query_of_the_user_go_with_every_request(serve: Serve) -> None:
    seen: list[tuple[str, dict[str, str]]] = []

    def answer(path: str, payload: dict[str, Any]) -> Answer:
        seen.append((path, payload["headers"]))
        return OK

    target: dict[str, Any] = {
        "query": "api-version=2024-10-21",
        "headers": (("api-key", KEY), ("accept", "*/*"), ("Host", "inner.example")),
        "options": {"api_path": ""},
    }
    rehearse(serve(answer) + "/openai/deployments/d", **target)
    [(path, headers)] = seen
    assert path == "/openai/deployments/d/chat/completions?api-version=2024-10-21"
    assert (headers["api-key"], headers["accept"], headers["host"]) == (KEY, "*/*", "inner.example")
    assert "authorization" not in headers


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """(certificate, key) of a self-signed 127.0.0.1, which both sides show and trust."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-subj", "/CN=bench test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*argv, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return str(cert), str(key)


@pytest.fixture
def picky(certificate: tuple[str, str]) -> Iterator[str]:
    """The URL of a server that answers only those who show the certificate."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = STREAM.encode() if self.command == "POST" else b'{"data": [{"id": "m"}]}'
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *_: object) -> None: ...

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    context.load_verify_locations(certificate[0])
    context.verify_mode = ssl.CERT_REQUIRED
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_client_shows_its_certificate_to_whoever_wants_one(
    picky: str, certificate: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.preflight.rehearsal.PAUSES_S", ())
    cert, key = certificate
    shown: dict[str, Any] = {"ca_file": cert, "client_cert": cert, "client_key": key}
    assert rehearse(picky, **shown).tries == 1
    assert BACKENDS["openai"].preflight(Target(picky, "m", **shown)).model == "m"
    with pytest.raises(UserError, match="--client-cert"):
        rehearse(picky, ca_file=cert)
    with pytest.raises(UserError, match="--ca-file"):
        rehearse(picky, client_cert=cert, client_key=key)
    with pytest.raises(UserError, match="--client-cert"):
        rehearse(picky, ca_file=cert, client_cert="nope.pem")
    with pytest.raises(UserError, match="--client-cert"):
        BACKENDS["openai"].preflight(Target(picky, "m", ca_file=cert, client_cert="nope.pem"))


# --- what it costs ------------------------------------------------------------------------------------------------


def test_every_try_is_charged_and_none_is_made_that_does_not_fit(serve: Serve, tmp_path: Path) -> None:
    cent = Decimal("0.01")
    prices = Prices(
        worst_usd=lambda prompt, output: cent * (prompt + output),
        charge_usd=lambda usage: cent * ((usage.prompt_tokens or 0) + (usage.output_tokens or 0)),
    )
    lengths = Lengths("fixed", 20, 20), Lengths("fixed", 16, 16)
    scenario = Scenario("toy", "", *lengths, 0, 1, 1, 0)
    url = serve(refusing("seed"))
    for cap, spent in ((Decimal(100), cent * 36), (cent, None)):
        account = tmp_path / f"{cap}"
        Ledger.open_account(account, cap)
        limiter = SpendLimiter(
            Ledger(account), prices, (scenario.prompt_tokens.low, scenario.output_tokens.low), counted=True
        )
        one = Rehearsal(BACKENDS["openai"], 10, limiter, lambda _: None)
        if spent is None:
            with pytest.raises(UserError, match="--max-usd"):
                one.of(CALL, Target(url, "m"))
        else:
            assert one.of(CALL, Target(url, "m")).tries == 2
            assert Ledger.spending(account).spent_usd == spent  # the refusal is free, the answer is not
