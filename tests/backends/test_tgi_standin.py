"""The TGI adapter against a server that is checked in both directions, and against TGI's official client."""

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backends import BACKENDS
from backends.cold import openai as openai_cold
from backends.cold import tgi as tgi_cold
from backends.dialect import openai, tgi
from bench.server.tinytokenizer import CHAT_TEMPLATE
from bench.telemetry.prometheus import read_metrics
from bench.types import Body, Call, Message, Reply, Target, Usage, UserError
from tests.backends import tgi_standin
from tests.backends.tgi_standin import Failure, Standin
from tests.commands import bench

ROOT = Path(__file__).parents[2]
USER = (Message("user", "take the sun and write a long story with them"),)
BOTH = (Message("system", "remember the sea"), *USER)
START = "<|end|>"
NO_SYSTEM = "{% if messages[0].role == 'system' %}{{ raise_exception('no system role') }}{% endif %}" + CHAT_TEMPLATE


@pytest.fixture
def standin() -> Iterator[Standin]:
    """A server whose tokenizer and template both begin every prompt with a start token, as Llama's and Mistral's do."""
    with tgi_standin.running(start=START, chat_template=START + CHAT_TEMPLATE) as server:
        yield server
    assert server.checked
    assert server.violations == []


def ready(standin: Standin, **options: str) -> Target:
    """The target as a run has it after preflight."""
    target = Target(standin.url, tgi_standin.MODEL, options=options)
    return replace(target, options={**options, **tgi_cold.preflight(target).options})


def call(messages: tuple[Message, ...] = USER, max_tokens: int = 4) -> Call:
    return Call(0, None, 0, 0, None, messages, max_tokens, 7, None)


def exchange(target: Target, what: Call) -> tuple[int, bytes]:
    """One request over the standard library's client."""
    request = tgi.request(what, target)
    try:
        answer = urllib.request.urlopen(
            urllib.request.Request(target.url + request.path, request.body, dict(request.headers)), timeout=300
        )
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, answer.read()


def ask(target: Target, what: Call) -> Reply:
    status, data = exchange(target, what)
    return tgi.decode(status, {}, Body(data, [len(data)], [0]))


# --- templates --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("messages", [USER, BOTH])
def test_the_native_prompt_is_the_chat_routes_token_for_token(standin: Standin, messages: tuple[Message, ...]) -> None:
    native, chat = ready(standin), ready(standin, dialect="chat")
    lengths = {tgi_cold.count_tokens(native, messages), tgi_cold.count_tokens(chat, messages)}
    for target in (native, chat):
        usage = ask(target, call(messages)).usage
        assert usage is not None
        lengths.add(usage.prompt_tokens)
    assert len(lengths) == 1
    inputs = json.loads(tgi.request(call(messages), native).body)["inputs"]
    templated = openai_cold.probe_json(native, "/chat_tokenize", {"messages": openai.chat_messages(messages)})
    # The start token of the template is left out: TGI adds its own.
    assert START + inputs == templated["templated_text"]


def test_a_start_token_that_only_the_tokenizer_adds_takes_nothing_from_the_template() -> None:
    with tgi_standin.running(start=START) as server:
        target = ready(server)
        assert json.loads(target.options["frame"])["user"][0] == "<|user|> "
        native, chat = (tgi_cold.count_tokens(each, USER) for each in (target, ready(server, dialect="chat")))
    assert native is not None
    assert chat == native - 1


def test_a_template_that_takes_no_system_message_has_its_text_in_front_of_the_users() -> None:
    with tgi_standin.running(chat_template=NO_SYSTEM) as server:
        info = tgi_cold.preflight(Target(server.url, tgi_standin.MODEL))
        assert "no system role (HTTP 422: Template error: syntax error: no system role)" in info.notes[0]
        target = Target(server.url, "m", options=info.options)
        inputs = json.loads(tgi.request(call(BOTH), target).body)["inputs"]
        assert inputs == f"<|user|> {BOTH[0].text}\n\n{BOTH[1].text}<|end|><|assistant|>"
        assert ask(target, call(BOTH)).error is None


def test_without_a_template_bare_text_is_sent_and_said_to_be() -> None:
    with tgi_standin.running(chat_template=None) as server:
        info = tgi_cold.preflight(Target(server.url, tgi_standin.MODEL))
        assert info.options == {}
        assert info.notes == (
            "no chat template available (HTTP 422: Template error: template not found); "
            "messages are sent as plain text, separated by blank lines",
        )
        target = Target(server.url, "m")
        assert json.loads(tgi.request(call(BOTH), target).body)["inputs"] == f"{BOTH[0].text}\n\n{BOTH[1].text}"
        usage = ask(target, call(BOTH)).usage
        assert usage is not None
        assert tgi_cold.count_tokens(target, BOTH) == usage.prompt_tokens


def test_a_frame_that_is_given_is_used_in_place_of_the_servers(standin: Standin) -> None:
    frame = tgi.frame_from(lambda messages: START + "".join(f"[{m.role}] {m.text}" for m in messages) + "[answer]")
    assert frame is not None
    target = ready(standin, frame=frame)
    inputs = json.loads(tgi.request(call(BOTH), target).body)["inputs"]
    assert inputs == f"[system] {BOTH[0].text}[user] {BOTH[1].text}[answer]"
    assert not [path for path, _ in standin.received if path == "/chat_tokenize"]


# --- against the server that is checked in both directions ------------------------------------------------------


def test_a_stream_has_exactly_the_tokens_asked_for(standin: Standin) -> None:
    for messages in (USER, BOTH):
        reply = ask(ready(standin), call(messages, 5))
        assert ([tokens for _, tokens, _ in reply.deltas], reply.finish, reply.error) == ([1] * 5, "length", None)
        assert reply.usage is not None
        assert reply.usage.output_tokens == 5


def test_both_dialects_say_the_same_of_one_answer(standin: Standin) -> None:
    standin.answer = tgi_standin.ends_after(3)
    standin.comments = True
    native, chat = (ask(ready(standin, dialect=dialect), call()) for dialect in ("native", "chat"))
    assert native.usage is not None
    assert (native.text, native.usage._replace(total_tokens=18)) == (chat.text, chat.usage)
    assert (native.finish, chat.finish) == ("eos_token", "stop")
    # Only the native route shows when the end token came.
    assert ([tokens for _, tokens, _ in native.deltas], len(chat.deltas)) == ([1] * 4, 3)
    assert native.usage.output_tokens == 4


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("validation", 422),
        ("template_error", 422),
        ("generation", 424),
        ("overloaded", 429),
        ("incomplete_generation", 500),
    ],
)
def test_an_error_before_the_stream_has_its_status_and_message(standin: Standin, kind: str, status: int) -> None:
    target = ready(standin, dialect="chat")
    standin.refusals["/v1/chat/completions"] = Failure(kind, "so it is")
    assert ask(target, call()).error == (f"http_{status}", "so it is")


def test_errors_of_the_native_route_come_inside_its_200(standin: Standin) -> None:
    target = ready(standin)
    standin.fails_after = (2, "generation", "Request failed during generation: out of memory")
    reply = ask(target, call())
    assert (len(reply.deltas), reply.error) == (
        2,
        ("error_event", "generation: Request failed during generation: out of memory"),
    )
    standin.max_concurrent_requests = 0
    assert ask(target, call()).error == ("overloaded", "overloaded: Model is overloaded")
    standin.max_concurrent_requests, standin.max_total_tokens = 1, 10
    error = ask(target, call()).error
    assert error is not None
    assert error[0] == "error_event"
    assert "`inputs` tokens + `max_new_tokens` must be <= 10" in error[1]
    assert {status for status, _ in [exchange(target, call())]} == {200}


def test_errors_of_the_chat_route_come_inside_its_200(standin: Standin) -> None:
    target = ready(standin, dialect="chat")
    standin.fails_after = (2, "generation", "Request failed during generation: out of memory")
    reply = ask(target, call())
    assert (len(reply.deltas), reply.error) == (2, ("error_event", "Request failed during generation: out of memory"))
    standin.max_concurrent_requests = 0
    assert ask(target, call()).error == ("overloaded", "Model is overloaded")
    standin.max_concurrent_requests, standin.max_total_tokens = 1, 10
    error = ask(target, call()).error
    assert error is not None
    assert error[0] == "error_event"
    assert {status for status, _ in [exchange(target, call())]} == {200}


def test_preflight_knows_the_server_by_its_info(standin: Standin) -> None:
    info = tgi_cold.preflight(Target(standin.url, tgi_standin.MODEL))
    assert (info.name, info.version, info.model) == ("text-generation-inference", "3.3.7", tgi_standin.MODEL)
    assert (info.context_tokens, info.max_prompt_tokens, info.metrics_path) == (2048, 1536, "/metrics")
    assert (info.settings["max_concurrent_requests"], info.settings["sha"]) == (128, "0" * 40)
    assert info.notes == ()


def test_what_tgi_serves_without_a_word_is_noted(standin: Standin) -> None:
    info = tgi_cold.preflight(Target(standin.url, "other", options={"dialect": "chat", "adapter": "a"}))
    assert info.notes == (
        "TGI serves 'tiny-org/tiny' under any name, including 'other'",
        "if TGI does not know the adapter 'a', it silently serves the base model",
    )
    assert tgi_cold.preflight(Target(standin.url, "other", aliases=(tgi_standin.MODEL,))).notes == ()


def test_a_server_that_is_not_tgi_is_the_users_error() -> None:
    with (
        tgi_standin.running() as server,
        pytest.raises(UserError, match=r"/nowhere is not TGI \(its /info is not TGI's\); try --backend openai"),
    ):
        tgi_cold.preflight(Target(server.url + "/nowhere", "m"))


def test_a_count_that_the_server_refuses_is_unknown(standin: Standin) -> None:
    native, chat = ready(standin), ready(standin, dialect="chat")
    standin.refusals = dict.fromkeys(("/tokenize", "/chat_tokenize"), Failure("not_found", "no tokenizer"))
    assert tgi_cold.count_tokens(native, USER) is None
    assert tgi_cold.count_tokens(chat, USER) is None


def test_every_gauge_is_among_the_servers_metrics(standin: Standin) -> None:
    ask(ready(standin), call(USER, 5))
    with urllib.request.urlopen(f"{standin.url}/metrics") as response:
        readings = read_metrics(response.read().decode(), BACKENDS["tgi"].gauges)
    named = {name.removesuffix("_sum").removesuffix("_count") for name in readings}
    assert named == BACKENDS["tgi"].gauges.keys()
    assert readings["generation_tokens_total"] == 5
    assert readings["server_e2e_s_count"] == 1


# --- the official client ----------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of pydantic, whose old names it calls
@pytest.mark.parametrize("answer", [tgi_standin.words, tgi_standin.ends_after(3), tgi_standin.ends_after(4)])
def test_the_official_client_reads_the_native_stream_as_we_do(standin: Standin, answer: Any) -> None:
    from text_generation import Client  # type: ignore[import-untyped]

    target = ready(standin)
    standin.answer = answer
    reply = ask(target, call())
    inputs = json.loads(tgi.request(call(), target).body)["inputs"]
    *_, end = responses = list(Client(standin.url).generate_stream(inputs, max_new_tokens=4))
    assert end.details is not None
    assert end.generated_text == reply.text == "".join(r.token.text for r in responses if not r.token.special)
    assert len(responses) == sum(tokens or 0 for _, tokens, _ in reply.deltas) == end.details.generated_tokens
    assert end.details.finish_reason.value == reply.finish
    # The client drops `input_length`.
    assert reply.usage == Usage(tgi_cold.count_tokens(target, USER), None, None, end.details.generated_tokens)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("answer", [tgi_standin.words, tgi_standin.ends_after(3)])
def test_the_official_client_reads_the_chat_route_as_we_do(standin: Standin, answer: Any) -> None:
    from text_generation import Client
    from text_generation.types import Message as ClientMessage  # type: ignore[import-untyped]

    standin.answer = answer
    reply = ask(ready(standin, dialect="chat"), call())
    messages = [ClientMessage(role="user", content=USER[0].text)]
    whole = Client(standin.url).chat(messages, max_tokens=4)
    assert reply.usage is not None
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (reply.text, reply.finish)
    assert whole.usage["completion_tokens"] == reply.usage.output_tokens
    assert whole.usage["prompt_tokens"] == reply.usage.prompt_tokens
    chunks = []
    with suppress(json.JSONDecodeError):  # the client takes [DONE], with which TGI ends a stream, for JSON
        chunks.extend(Client(standin.url).chat(messages, max_tokens=4, stream=True))
    assert "".join(chunk.choices[0].delta.content for chunk in chunks) == reply.text
    assert chunks[-1].choices[0].finish_reason == reply.finish


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_official_client_sees_the_same_errors(standin: Standin) -> None:
    from text_generation import Client
    from text_generation.errors import GenerationError, OverloadedError  # type: ignore[import-untyped]

    target = ready(standin)
    standin.fails_after = (1, "generation", "out of memory")
    with pytest.raises(GenerationError, match="out of memory"):
        list(Client(standin.url).generate_stream("a"))
    assert ask(target, call()).error == ("error_event", "generation: out of memory")
    standin.max_concurrent_requests = 0
    with pytest.raises(OverloadedError, match="Model is overloaded"):
        list(Client(standin.url).generate_stream("a"))
    assert ask(target, call()).error == ("overloaded", "overloaded: Model is overloaded")


# --- a whole run ------------------------------------------------------------------------------------------------


def bench_run(standin: Standin, out: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    asked = ["--backend", "tgi", "--url", standin.url, "--model", tgi_standin.MODEL, "--requests", "8"]
    return bench("run", *asked, "--concurrency", "4", "--out", out, *arguments)


@pytest.mark.slow
@pytest.mark.parametrize("dialect", ["native", pytest.param("chat", marks=pytest.mark.slow)])
def test_a_whole_run_is_measured_in_either_dialect(standin: Standin, tmp_path: Path, dialect: str) -> None:
    lengths = ("--prompt-tokens", "64", "--output-tokens", "6", "--warmup", "2")
    done = bench_run(standin, tmp_path / "run", "--dialect", dialect, *lengths)
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["requests"]["succeeded"], summary["requests"]["by_error"]) == (8, {})
    for name, tokens in (("prompt_tokens", 64), ("output_tokens", 6)):
        assert (summary["metrics"][name]["min"], summary["metrics"][name]["max"]) == (tokens, tokens)
    manifest = json.loads((tmp_path / "run" / "run.json").read_text())
    assert manifest["options"]["dialect"] == dialect
    assert manifest["tokenizer"]["exact"]
    route = {"native": "/generate_stream", "chat": "/v1/chat/completions"}[dialect]
    assert len([path for path, _ in standin.received if path == route]) >= 10
    assert standin.totals["generated_tokens"] == 6 * standin.totals["requests"]


def test_lengths_beyond_the_servers_are_said_before_the_load_starts(standin: Standin, tmp_path: Path) -> None:
    for prompt, output, limit in (("1000", "1100", "2048"), ("1600", "10", "1536")):
        done = bench_run(standin, tmp_path / "run", "--prompt-tokens", prompt, "--output-tokens", output)
        assert done.returncode == 2
        assert f"the server takes {limit}; give --prompt-tokens" in done.stderr
        assert done.stderr.count("\n") == 1
        assert not (tmp_path / "run").exists()
    assert not [path for path, _ in standin.received if path == "/generate_stream"]


@pytest.mark.slow
def test_a_run_whose_server_fails_says_what_happened_and_is_complete(standin: Standin, tmp_path: Path) -> None:
    standin.served_first = 1
    standin.refusals["/generate_stream"] = Failure("generation", "Request failed during generation: out of memory")
    done = bench_run(standin, tmp_path / "run", "--prompt-tokens", "64", "--output-tokens", "6")
    assert done.returncode == 3
    assert "8 of 8 requests failed with http_424 (Request failed during generation: out of memory)" in done.stdout
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["requests"]["by_error"] == {"http_424": 8}
    assert (tmp_path / "run" / "report.html").exists()
