"""A server of which the user gave the address alone is asked what it is and what it serves."""

import json
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from bench.app.options import RunOptions
from bench.app.request import RunningServer, run_request
from bench.app.traffic import recording_of
from bench.types import UserError

WebServer = Callable[[type[BaseHTTPRequestHandler]], str]


def models(*names: str, owner: str = "somebody") -> dict[str, Any]:
    return {"/v1/models": {"object": "list", "data": [{"id": name, "owned_by": owner} for name in names]}}


PROPS: dict[str, Any] = {"/props": {"default_generation_settings": {"n_ctx": 512}, "model_alias": "gemma"}}
INFO: dict[str, Any] = {"/info": {"model_id": "mistral", "max_input_tokens": 1, "max_total_tokens": 2}}


def serving(answers: Mapping[str, Any], asked: list[str]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            found = answers.get(self.path)
            body = json.dumps(found).encode()
            self.send_response(404 if found is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    return Handler


@pytest.mark.parametrize(
    ("answers", "backend", "model"),
    [
        (models("m", owner="vllm"), "vllm", "m"),
        (models("m"), "openai", "m"),
        (models("m", owner="me"), "llamacpp", "m"),
        (PROPS | models("gemma", owner="llamacpp"), "llamacpp", "gemma"),
        (INFO | models("mistral"), "tgi", "mistral"),
    ],
)
def test_a_server_is_asked_by_its_own_dialect_for_its_only_model(
    web_server: WebServer, answers: Mapping[str, Any], backend: str, model: str
) -> None:
    url = web_server(serving(answers, []))
    request = run_request(RunOptions(url=f"{url}/v1"))
    assert (request.backend.name, request.model) == (backend, model)
    assert isinstance(request.server, RunningServer)
    assert request.server.url == url
    assert any(f"--model {model} is used" in note for note in request.notes)
    assert any(f"--backend {backend} is used" in note for note in request.notes) == (backend != "llamacpp")


def test_what_the_user_names_is_not_asked_for(web_server: WebServer) -> None:
    asked: list[str] = []
    request = run_request(RunOptions(url=web_server(serving({}, asked)), backend="openai", model="mine"))
    assert (request.backend.name, request.model, request.notes, asked) == ("openai", "mine", (), [])


@pytest.mark.parametrize(
    ("answers", "options", "line"),
    [
        (models("a", "b"), {}, "--model: {url} serves a, b; expected the one to use"),
        (models(), {}, "--model: {url} lists no models; expected the one to use"),
        ({}, {}, "no LLM server at {url}: /v1/models returned HTTP 404"),
        (models("a"), {"concurrency": 0}, "--concurrency: must be from 1"),
    ],
)
def test_where_the_choice_is_the_users_one_line_says_so(
    web_server: WebServer, answers: Mapping[str, Any], options: Mapping[str, Any], line: str
) -> None:
    asked: list[str] = []
    url = web_server(serving(answers, asked))
    with pytest.raises(UserError) as raised:
        run_request(RunOptions(url=url, **options))
    assert str(raised.value).startswith(line.format(url=url))
    assert bool(asked) == (not options)  # what is wrong whoever answers is said before anybody is asked


def test_an_api_that_bills_is_asked_for_no_model_that_nobody_named() -> None:
    with pytest.raises(UserError, match="--model: expected the model to ask claude for"):
        run_request(RunOptions(backend="claude"))


def test_a_dataset_is_read_once_although_what_is_wrong_is_looked_for_before_the_server_is_asked(
    web_server: WebServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, read = tmp_path / "mine.jsonl", []
    dataset.write_text('{"prompt": "say it"}\n')

    def counted(*asked: Any) -> Any:
        read.append(asked)
        return recording_of(*asked)

    monkeypatch.setattr("bench.app.request.recording_of", counted)
    request = run_request(RunOptions(url=web_server(serving(models("m"), [])), dataset=str(dataset)))
    assert request.workload.recording is not None
    assert len(read) == 1
