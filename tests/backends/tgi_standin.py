"""A stand-in for a TGI server, checked in both directions against the API that TGI publishes.

TGI cannot be built where these tests run. This server speaks with the tiny model's tokenizer, behaves as the router of
TGI 3.3 does (router/src/server.rs, validation.rs, infer/mod.rs of huggingface/text-generation-inference) and as a real
one did (tests/fixtures/tgi/captures), and validates every request that it gets and every answer that it gives, each
event of a stream for itself, against tests/fixtures/tgi/openapi.json: what does not conform is in `violations`.
"""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import jinja2
from tokenizers import Encoding, Tokenizer
from tokenizers.processors import TemplateProcessing

from bench.server.tinytokenizer import CHAT_TEMPLATE, END, tokenizer_json, vocabulary
from tests.backends import tgi_api

MODEL = "tiny-org/tiny"
STREAM = "text/event-stream"
JSON = "application/json"
STATUS = {
    "validation": 422,
    "template_error": 422,
    "generation": 424,
    "overloaded": 429,
    "incomplete_generation": 500,
    "not_found": 404,
}


# --- what it says -----------------------------------------------------------------------------------------------


class Token(NamedTuple):
    """One step of the model: its text is empty where half of a character is held back."""

    id: int
    text: str
    special: bool = False


@cache
def _words() -> tuple[Token, ...]:
    vocab = vocabulary()
    return tuple(Token(i, vocab.tokens[i].replace("Ġ", " ")) for i in vocab.word_ids)


def words(max_tokens: int) -> list[Token]:
    """An answer that never ends by itself."""
    return [_words()[i % len(_words())] for i in range(max_tokens)]


def ends_after(count: int) -> Callable[[int], list[Token]]:
    """Answers of so many words and the end token."""
    return lambda max_tokens: [*words(count), Token(vocabulary().special_id(END), END, special=True)][:max_tokens]


class Failure(Exception):
    """What TGI answers with in place of a generation."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.status = STATUS[kind]
        self.body = {"error": message, "error_type": kind}


@dataclass(slots=True)
class Standin:
    """The server's settings and what it saw; change the former between requests as a test needs.

    `start` is a text that the tokenizer puts in front of bare inputs; `fails_after` ends a stream by (tokens, kind,
    message); `refusals` answer a path before any stream, but for its `served_first` first requests; `comments` sends a
    keep-alive comment before every event.
    """

    url: str = ""
    chat_template: str | None = CHAT_TEMPLATE
    start: str | None = None
    answer: Callable[[int], Sequence[Token]] = words
    fails_after: tuple[int, str, str] | None = None
    refusals: dict[str, Failure] = field(default_factory=dict)
    served_first: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    comments: bool = False
    token_s: float = 0.0
    max_input_tokens: int = 1536
    max_total_tokens: int = 2048
    max_concurrent_requests: int = 128
    violations: list[str] = field(default_factory=list)
    checked: Counter[str] = field(default_factory=Counter)
    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    in_flight: int = 0
    totals: Counter[str] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def check(self, what: str, schema: Any, value: Any) -> None:
        with self.lock:
            self.checked[what] += 1
            self.violations += [f"{what}: {fault}" for fault in tgi_api.violations(schema, value)]


@contextmanager
def running(**settings: Any) -> Iterator[Standin]:
    """A stand-in on a free loopback port."""
    standin = Standin(**settings)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"standin": standin}))
    standin.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield standin
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


# --- tokens and templates ---------------------------------------------------------------------------------------


@cache
def _tokenizer(start: str | None) -> Tokenizer:
    tokenizer = Tokenizer.from_str(json.dumps(tokenizer_json(vocabulary())))
    if start is not None:
        pair = (start, tokenizer.token_to_id(start))
        tokenizer.post_processor = TemplateProcessing(single=f"{start}:0 $A:0", special_tokens=[pair])
    return tokenizer


def _encode(standin: Standin, text: str, *, add_special_tokens: bool) -> Encoding:
    return _tokenizer(standin.start).encode(text, add_special_tokens=add_special_tokens)


def _simple_tokens(encoding: Encoding, text: str) -> list[dict[str, Any]]:
    return [
        {"id": i, "text": text[start:stop], "start": start, "stop": stop}
        for i, (start, stop) in zip(encoding.ids, encoding.offsets, strict=True)
    ]


def _templated(standin: Standin, chat: dict[str, Any]) -> str:
    def refuse(reason: str) -> None:
        raise jinja2.TemplateError(reason)

    if standin.chat_template is None:
        raise Failure("template_error", "Template error: template not found")
    try:
        template = jinja2.Environment().from_string(standin.chat_template)
        return template.render(messages=chat["messages"], add_generation_prompt=True, raise_exception=refuse)
    except jinja2.TemplateError as problem:
        raise Failure("template_error", f"Template error: syntax error: {problem}") from None


# --- generation -------------------------------------------------------------------------------------------------


def _generation(standin: Standin, inputs: str, parameters: dict[str, Any], *, bare: bool) -> Iterator[dict[str, Any]]:
    """The events of one generation as /generate_stream sends them; raises Failure as the router fails."""
    max_new_tokens = parameters.get("max_new_tokens") or 100
    input_length = len(_encode(standin, inputs, add_special_tokens=bare))
    with standin.lock:
        if standin.in_flight >= standin.max_concurrent_requests:
            raise Failure("overloaded", "Model is overloaded")
        standin.in_flight += 1
    try:
        _validate(standin, input_length, max_new_tokens)
        tokens = list(standin.answer(max_new_tokens))[:max_new_tokens]
        for index, token in enumerate(tokens, 1):
            if standin.fails_after and index > standin.fails_after[0]:
                raise Failure(*standin.fails_after[1:])
            time.sleep(standin.token_s)
            shown = {"id": token.id, "text": token.text, "logprob": -0.5, "special": token.special}
            event = {"index": index, "token": shown}
            last = index == len(tokens)
            yield {**event, "generated_text": None, "details": None, **(_end(tokens, input_length) if last else {})}
        with standin.lock:
            standin.totals.update(requests=1, generated_tokens=len(tokens), input_length=input_length)
    finally:
        with standin.lock:
            standin.in_flight -= 1


def _validate(standin: Standin, input_length: int, max_new_tokens: int) -> None:
    if input_length + max_new_tokens > standin.max_total_tokens:
        raise Failure(
            "validation",
            f"Input validation error: `inputs` tokens + `max_new_tokens` must be <= {standin.max_total_tokens}. "
            f"Given: {input_length} `inputs` tokens and {max_new_tokens} `max_new_tokens`",
        )
    if input_length > standin.max_input_tokens:
        raise Failure(
            "validation",
            f"Input validation error: `inputs` must have less than {standin.max_input_tokens} tokens. "
            f"Given: {input_length}",
        )


def _end(tokens: Sequence[Token], input_length: int) -> dict[str, Any]:
    text = "".join(token.text for token in tokens if not token.special)
    finish = "eos_token" if tokens[-1].special else "length"
    details = {"finish_reason": finish, "generated_tokens": len(tokens), "seed": None, "input_length": input_length}
    return {"generated_text": text, "details": details}


def _chat_chunk(event: dict[str, Any]) -> dict[str, Any]:
    """One event as the chat route sends it: a special token has no text.

    `tool_calls` is for the official client, which cannot read a delta without it; the real TGI leaves it out.
    """
    token, details = event["token"], event["details"]
    finish = details and {"eos_token": "stop"}.get(details["finish_reason"], details["finish_reason"])
    delta = {"role": "assistant", "content": "" if token["special"] else token["text"], "tool_calls": None}
    return _chunk([{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}], None)


def _chunk(choices: list[Any], usage: dict[str, int] | None) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", **_chat_head(), "choices": choices, "usage": usage}


def _chat_head() -> dict[str, Any]:
    return {"id": "", "created": int(time.time()), "model": MODEL, "system_fingerprint": "3.3.7-native"}


def _usage(details: dict[str, Any]) -> dict[str, int]:
    prompt, completion = details["input_length"], details["generated_tokens"]
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


# --- routes -----------------------------------------------------------------------------------------------------


class _Handler(BaseHTTPRequestHandler):
    standin: Standin
    protocol_version = "HTTP/1.1"
    # Without it the last small packet of an answer waits for the acknowledgement of the one before.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        routes = {"/info": self._info, "/health": lambda: "", "/metrics": self._metrics}
        if self.path in routes:
            self._send("get", 200, routes[self.path]())
        else:
            self._send("get", 404, {"error": "not found"})

    def do_POST(self) -> None:
        payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.standin.received.append((self.path, payload))
        self.standin.check(f"request {self.path}", tgi_api.request_schema(self.path), payload)
        routes: dict[str, Callable[[dict[str, Any]], Any]] = {
            "/": self._compat_generate,
            "/generate_stream": self._generate_stream,
            "/tokenize": self._tokenize,
            "/chat_tokenize": self._chat_tokenize,
            "/v1/chat/completions": self._chat,
        }
        try:
            self.standin.asked[self.path] += 1
            if self.path in self.standin.refusals and self.standin.asked[self.path] > self.standin.served_first:
                raise self.standin.refusals[self.path]
            answer = routes[self.path](payload)
        except Failure as failure:
            self._send("post", failure.status, failure.body)
            return
        if isinstance(answer, Iterator):
            self._stream(answer)
        else:
            self._send("post", 200, answer)

    def _send(self, method: str, status: int, value: Any) -> None:
        kind = "text/plain" if isinstance(value, str) else JSON
        if schema := tgi_api.answer_schema(method, self.path, status, kind):
            self.standin.check(f"answer {self.path} {status}", schema, value)
        data = (value if isinstance(value, str) else _json(value)).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self, events: Iterator[dict[str, Any]]) -> None:
        """Send events as the real one does; whatever goes wrong once a stream was asked for is said inside its 200."""
        self.send_response(200)
        self.send_header("Content-Type", STREAM)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            for event in events:
                self.standin.check(f"event {self.path}", tgi_api.answer_schema("post", self.path, 200, STREAM), event)
                self._write(":\n\n" * self.standin.comments + f"data: {_json(event)}\n\n")
        except Failure as failure:
            self._write(f"data: {_json(self._stream_error(failure))}\n\n")
        if self.path == "/v1/chat/completions":
            self._write("data: [DONE]\n\n")
        self._write("")

    def _stream_error(self, failure: Failure) -> dict[str, Any]:
        """An error as an event: the chat route has a shape for it that the published API does not know."""
        if self.path == "/v1/chat/completions":
            return {"error": {"message": str(failure), "http_status_code": failure.status}}
        # The API describes an error by the status it would have had.
        schema = tgi_api.answer_schema("post", self.path, failure.status, STREAM)
        self.standin.check(f"error event {self.path}", schema, failure.body)
        return failure.body

    def _write(self, text: str) -> None:
        data = text.encode()
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _info(self) -> dict[str, Any]:
        standin = self.standin
        return {
            "model_id": MODEL,
            "model_sha": None,
            "model_pipeline_tag": "text-generation",
            "max_concurrent_requests": standin.max_concurrent_requests,
            "max_best_of": 2,
            "max_stop_sequences": 4,
            "max_input_tokens": standin.max_input_tokens,
            "max_total_tokens": standin.max_total_tokens,
            "validation_workers": 2,
            "max_client_batch_size": 4,
            "router": "text-generation-router",
            "version": "3.3.7",
            "sha": "0" * 40,
            "docker_label": "sha-0000000",
        }

    def _metrics(self) -> str:
        totals = self.standin.totals
        lines = [f"tgi_queue_size 0\ntgi_batch_current_size {self.standin.in_flight}\n"]
        for name in ("generated_tokens", "input_length", "queue_duration", "duration", "inference_duration"):
            lines.append(f"tgi_request_{name}_sum {totals[name]}\ntgi_request_{name}_count {totals['requests']}\n")
        lines.append(f"tgi_request_mean_time_per_token_duration_sum 0\ntgi_request_count {totals['requests']}\n")
        return "".join(lines)

    def _compat_generate(self, payload: dict[str, Any]) -> Any:
        assert payload["stream"], "only what the official client streams"
        return self._generate_stream(payload)

    def _generate_stream(self, payload: dict[str, Any]) -> Any:
        # Nothing runs before the first event is asked for: whatever goes wrong is said inside a 200.
        return _generation(self.standin, payload["inputs"], payload.get("parameters", {}), bare=True)

    def _tokenize(self, payload: dict[str, Any]) -> Any:
        text = payload["inputs"]
        return _simple_tokens(_encode(self.standin, text, add_special_tokens=True), text)

    def _chat_tokenize(self, payload: dict[str, Any]) -> Any:
        text = _templated(self.standin, payload)
        encoding = _encode(self.standin, text, add_special_tokens=False)
        return {"tokenize_response": _simple_tokens(encoding, text), "templated_text": text}

    def _chat(self, payload: dict[str, Any]) -> Any:
        inputs = _templated(self.standin, payload)
        generation = _generation(self.standin, inputs, {"max_new_tokens": payload.get("max_tokens")}, bare=False)
        if payload.get("stream"):
            with_usage = (payload.get("stream_options") or {}).get("include_usage")
            return _chat_chunks(generation, with_usage=bool(with_usage))
        *_, last = generation
        usage = _usage(last["details"])
        message = {"role": "assistant", "content": last["generated_text"]}
        finish = _chat_chunk(last)["choices"][0]["finish_reason"]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
        return {"object": "chat.completion", **_chat_head(), "choices": [choice], "usage": usage}

    def log_message(self, *_: object) -> None: ...


def _chat_chunks(generation: Iterator[dict[str, Any]], *, with_usage: bool) -> Iterator[dict[str, Any]]:
    for event in generation:
        yield _chat_chunk(event)
    if with_usage:
        yield _chunk([], _usage(event["details"]))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
