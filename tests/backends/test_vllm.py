import json
import re
from collections.abc import Callable
from dataclasses import replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest

from backends import BACKENDS
from backends.cold import openai as openai_cold
from backends.cold import vllm as vllm_cold
from backends.dialect import openai, vllm
from backends.launch import vllm as vllm_launch
from bench.types import Body, Call, Message, Reply, ServeOptions, Target, Usage, UserError
from tests.backends.conftest import Asked
from tests.simulations import few_or_many
from tests.vendors import openai_client

FIXTURES = Path(__file__).parents[1] / "fixtures"
CALL = Call(0, None, 0, 0, None, (Message("user", "hello"),), 16, 7, None)
TARGET = Target("http://127.0.0.1:8000", "m")


def body_of(target: Target) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(vllm.request(CALL, target).body)
    return body


# --- request ----------------------------------------------------------------------------------------------------


def test_a_request_fixes_the_length_and_asks_for_usage_with_every_chunk() -> None:
    plain = json.loads(openai.request(CALL, TARGET).body)
    usage = {"include_usage": True, "continuous_usage_stats": True}
    assert body_of(TARGET) == plain | {"ignore_eos": True, "min_tokens": 16, "stream_options": usage}


def test_usage_is_asked_for_at_the_end_where_the_server_gives_it_only_there() -> None:
    assert body_of(replace(TARGET, options={"usage": "final"}))["stream_options"] == {"include_usage": True}


def test_an_adapter_is_asked_in_place_of_the_model() -> None:
    assert body_of(replace(TARGET, options={"adapter": "poet"}))["model"] == "poet"


@pytest.mark.parametrize(("thinking", "told"), [("on", True), ("off", False)])
def test_the_chat_template_is_told_to_think_by_both_names_that_templates_have_for_it(thinking: str, told: bool) -> None:
    fields = body_of(replace(TARGET, options={"thinking": thinking}))["chat_template_kwargs"]
    assert fields == {"enable_thinking": told, "thinking": told}
    assert "chat_template_kwargs" not in body_of(replace(TARGET, options={"thinking": "default"}))


# --- preflight: a stand-in that answers as vLLM does -------------------------------------------------------------

Answer = tuple[int, Any]
Serve = Callable[..., str]

BASE = {
    "id": "m",
    "object": "model",
    "owned_by": "vllm",
    "root": "org/model-awq",
    "parent": None,
    "max_model_len": 2048,
}
POET = {
    "id": "poet",
    "object": "model",
    "owned_by": "vllm",
    "root": "adapters/poet",
    "parent": "m",
    "max_model_len": None,
}
COUNTED = (FIXTURES / "vllm-continuous-usage.sse").read_text()
UNCOUNTED = (FIXTURES / "vllm.sse").read_text()


@pytest.fixture
def serve(answering: Callable[..., str]) -> Serve:
    """`serve(chat=answer to a request, **{path: (status, body)}) -> url`: a vLLM with a model and an adapter."""

    def start(chat: Callable[[dict[str, Any]], Answer] = lambda _: (200, COUNTED), **changes: Answer) -> str:
        answers: dict[str, Answer] = {
            "version": (200, {"version": "0.32.0"}),
            "v1/models": (200, {"object": "list", "data": [BASE, POET]}),
            "metrics": (200, "vllm:num_requests_running 0\n"),
            **changes,
        }

        def answer(asked: Asked) -> tuple[int, dict[str, str], Any]:
            path = asked.path.lstrip("/")
            if path == "v1/chat/completions":
                status, body = chat(json.loads(asked.body))
            else:
                status, body = answers.get(path, (404, {"detail": "Not Found"}))
            return status, {}, body

        return answering(answer)

    return start


def test_preflight_says_what_the_server_is(serve: Serve) -> None:
    info = vllm_cold.preflight(Target(serve(), "m"))
    assert (info.name, info.version, info.model, info.context_tokens) == ("vllm", "0.32.0", "m", 2048)
    assert info.metrics_path == "/metrics"
    assert info.settings == {"root": "org/model-awq", "max_model_len": 2048, "adapters": ["poet"]}
    assert (info.options, info.notes) == ({}, ())


@pytest.mark.parametrize("names", [{"model": "mistral", "aliases": ("x", "m")}, {"model": "org/model-awq"}])
def test_a_model_is_found_by_an_alias_or_by_what_it_was_loaded_from(serve: Serve, names: dict[str, Any]) -> None:
    assert vllm_cold.preflight(Target(serve(), **names)).model == "m"


def test_the_plain_dialect_finds_a_model_by_its_aliases_too(serve: Serve) -> None:
    url = serve()
    assert openai_cold.preflight(Target(url, "mistral", aliases=("m",))).model == "m"
    with pytest.raises(UserError, match="does not serve the model 'mistral'; it serves m, poet"):
        openai_cold.preflight(Target(url, "mistral"))


def test_a_model_or_adapter_that_is_not_served_is_named(serve: Serve) -> None:
    url = serve()
    with pytest.raises(UserError, match="does not serve the model 'm1'; it serves m, poet; did you mean 'm'"):
        vllm_cold.preflight(Target(url, "m1"))
    with pytest.raises(UserError, match=r"--adapter 'bard': .* serves poet; .*--lora-modules NAME=PATH"):
        vllm_cold.preflight(Target(url, "m", options={"adapter": "bard"}))
    assert vllm_cold.preflight(Target(url, "m", options={"adapter": "poet"})).model == "m"


def test_without_metrics_there_is_no_path_to_them(serve: Serve) -> None:
    assert vllm_cold.preflight(Target(serve(metrics=(404, "")), "m")).metrics_path is None


def test_a_server_that_gives_usage_only_at_the_end_is_known_and_said(serve: Serve) -> None:
    info = vllm_cold.preflight(Target(serve(lambda _: (200, UNCOUNTED)), "m"))
    assert info.options == {"usage": "final"}
    assert [re.sub(r"http://\S+", "URL", note) for note in info.notes] == [
        "URL gives usage only at the end; each chunk counts as one token, or as its share of the total"
    ]


def test_a_server_that_refuses_the_field_is_asked_without_it(serve: Serve) -> None:
    def chat(asked: dict[str, Any]) -> Answer:
        return (400, {"error": "unknown"}) if "continuous_usage_stats" in asked["stream_options"] else (200, UNCOUNTED)

    assert vllm_cold.preflight(Target(serve(chat), "m")).options == {"usage": "final"}


def test_a_server_that_answers_no_request_is_not_loaded_with_them(serve: Serve) -> None:
    url = serve(lambda _: (400, {"error": {"message": "the model has no chat template", "code": 400}}))
    with pytest.raises(UserError, match="answered HTTP 400: the model has no chat template"):
        vllm_cold.preflight(Target(url, "m"))


@pytest.mark.parametrize("version", [(404, {"detail": "Not Found"}), (200, "<html>"), (200, {"build": 1})])
def test_another_server_is_sent_to_the_plain_dialect(serve: Serve, version: Answer) -> None:
    with pytest.raises(UserError, match=r"is not vLLM \(its /version has no version\); try --backend openai"):
        vllm_cold.preflight(Target(serve(version=version), "m"))


def test_a_refused_key_is_said_to_be_one(serve: Serve) -> None:
    with pytest.raises(UserError, match=r"refuses the API key it was given \(HTTP 401: no\)"):
        vllm_cold.preflight(Target(serve(version=(401, {"error": "no"})), "m", "key-0123456789"))


@pytest.mark.parametrize(
    ("answer", "emptied"),
    [((200, ""), True), ((200, {"success": True}), True), ((200, {"success": False}), False), ((404, {}), False)],
)
def test_the_cache_is_emptied_when_the_server_says_so(serve: Serve, answer: Answer, emptied: bool) -> None:
    assert vllm_cold.reset_cache(Target(serve(reset_prefix_cache=answer), "m")) is emptied


# --- launch commands --------------------------------------------------------------------------------------------

FLAGS = "--host 127.0.0.1 --port {port} --served-model-name NAME --max-model-len 512 --enable-prompt-tokens-details"


def options(*extra_args: str, **chosen: Any) -> ServeOptions:
    return ServeOptions(
        **{"server": None, "slots": 3, "context_tokens": 512, "threads": None, **chosen}, extra_args=extra_args
    )


def flags(name: str) -> list[str]:
    return FLAGS.replace("NAME", name).split()


@pytest.fixture
def no_vllm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Neither PATH nor the project has a vLLM; PATH is this folder."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(vllm_launch, "ROOT", tmp_path)
    return tmp_path


def test_a_repository_is_served_under_its_own_name_by_the_vllm_on_path(no_vllm: Path) -> None:
    program = no_vllm / "vllm"
    program.touch(mode=0o755)
    how = vllm_launch.serve("org/model-awq", options("--max-model-len", "9"))
    assert how.argv == (str(program), "serve", "org/model-awq", *flags("org/model-awq"), "--max-model-len", "9")
    assert (how.ready_path, how.name, how.ready_timeout_s) == ("/health", "vllm", 1800)
    assert how.env == {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


def test_a_folder_is_served_under_its_name_or_the_users_and_nothing_is_downloaded(tmp_path: Path) -> None:
    model = str(tmp_path)
    how = vllm_launch.serve(model, options(python="/some/python"))
    assert how.argv == ("/some/python", "-m", vllm_launch.MODULE, "--model", model, *flags(tmp_path.name))
    assert how.env["HF_HUB_OFFLINE"] == "1"
    assert flags("tiny") == list(vllm_launch.serve(model, options(python="/some/python", alias="tiny")).argv[5:])


def test_a_command_of_the_users_is_given_the_model_and_the_flags() -> None:
    how = vllm_launch.serve("org/model", options("--seed", "1", command=("docker", "run", "vllm")))
    assert how.argv == ("docker", "run", "vllm", "org/model", *flags("org/model"), "--seed", "1")


def test_the_projects_own_vllm_is_used_where_path_has_none(no_vllm: Path) -> None:
    python = no_vllm / ".engines" / "vllm" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.touch()
    assert vllm_launch.serve("org/model", options()).argv[:3] == (str(python), "-m", vllm_launch.MODULE)


def test_no_vllm_at_all_is_said_with_the_ways_to_get_one(no_vllm: Path) -> None:
    with pytest.raises(UserError, match=r"no vllm on PATH; .*make engines.*--server-python.*--url"):
        vllm_launch.serve("org/model", options())


@pytest.mark.parametrize(
    ("model", "chosen", "message"),
    [
        ("org/model", {"server": "xllamacpp"}, "--server 'xllamacpp': not for vllm; give --server-python"),
        ("org/model", {"command": ("x",), "python": "y"}, "--server-cmd is the whole command"),
        ("./nowhere", {}, "--model './nowhere': no such folder"),
        (__file__, {}, "no such folder"),
    ],
)
def test_what_cannot_be_launched_is_the_users_error(model: str, chosen: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        vllm_launch.serve(model, options(**chosen))


# --- captured streams -------------------------------------------------------------------------------------------

# Both are of vLLM 0.32. The reasoning one is of the tiny model with other words for some tokens: a sixth token that
# reads </think> for --reasoning-parser deepseek_r1, then one character over two tokens, and at the end three tokens
# that are halves of characters and never become text.
CAPTURED = {
    "vllm-continuous-usage": ([(1, "text")] * 12, Usage(8, 0, None, 12, None, total_tokens=20)),
    "vllm-reasoning": (
        [(1, "reasoning")] * 5 + [(2, "text"), (1, "text"), (2, "text"), (1, "text")],
        Usage(8, 0, None, 14, 0, total_tokens=22),
    ),
}


def decode(*segments: bytes) -> Reply:
    ends = list(accumulate(map(len, segments)))
    return BACKENDS["vllm"].decode(200, {}, Body(b"".join(segments), ends, list(range(10, 10 * len(segments) + 1, 10))))


@pytest.mark.parametrize("name", CAPTURED)
def test_a_captured_stream_has_the_tokens_of_every_chunk(name: str) -> None:
    reply = decode((FIXTURES / f"{name}.sse").read_bytes())
    assert ([delta[1:] for delta in reply.deltas], reply.usage) == CAPTURED[name]
    assert (reply.finish, reply.error) == ("length", None)


@pytest.mark.parametrize("name", CAPTURED)
def test_the_official_client_reads_the_same(serve: Serve, name: str) -> None:
    stream = (FIXTURES / f"{name}.sse").read_text()
    url = serve(lambda _: (200, stream))
    with openai_client(url) as client:
        chunks = list(
            client.chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], stream=True)
        )
    choices = [choice for chunk in chunks for choice in chunk.choices]
    reply, usage = decode(stream.encode()), chunks[-1].usage
    assert usage is not None
    assert usage.prompt_tokens_details is not None
    assert reply.text == "".join(choice.delta.content or "" for choice in choices)
    assert reply.finish == choices[-1].finish_reason
    assert reply.usage is not None
    assert (reply.usage.prompt_tokens, reply.usage.output_tokens) == (usage.prompt_tokens, usage.completion_tokens)
    assert reply.usage.cached_tokens == usage.prompt_tokens_details.cached_tokens
    reasoning = [choice for choice in choices if (choice.delta.model_extra or {}).get("reasoning")]
    assert len(reasoning) == [kind for _, _, kind in reply.deltas].count("reasoning")


@few_or_many("step", 31, 1)
@pytest.mark.parametrize("name", CAPTURED)
def test_where_the_bytes_are_cut_changes_only_the_stamps(name: str, step: int) -> None:
    stream = (FIXTURES / f"{name}.sse").read_bytes()
    whole = decode(stream)
    output = [match.end() - 1 for match in re.finditer(rb'[^\n]*"(?:content|reasoning)":"[^"][^\n]*\n\n', stream)]
    assert len(output) == len(whole.deltas)
    for cut in range(1, len(stream), step):
        reply = decode(stream[:cut], stream[cut:])
        stamps = [10 if end <= cut else 20 for end in output]
        assert reply == whole._replace(deltas=[(t, *delta[1:]) for t, delta in zip(stamps, whole.deltas, strict=True)])


def test_a_stream_that_breaks_off_keeps_what_was_counted() -> None:
    stream = (FIXTURES / "vllm-continuous-usage.sse").read_bytes()
    reply = decode(stream[: stream.index(b'"completion_tokens":5')])
    assert reply.error is not None
    assert reply.error[0] == "cut_stream"
    assert ([tokens for _, tokens, _ in reply.deltas], reply.usage) == (
        [1] * 4,
        Usage(8, None, None, 4, None, total_tokens=12),
    )
