import hashlib
import json
import re
import sys
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from backends import BACKENDS
from backends.cold import llamacpp as llamacpp_cold
from backends.cold import openai as openai_cold
from backends.dialect import llamacpp, openai
from backends.launch import llamacpp as llamacpp_launch
from bench.server.launch import Server, launch
from bench.server.tinymodel import build
from bench.telemetry.prometheus import read_metrics
from bench.types import Body, Call, Message, Reply, ServeOptions, Target, UserError
from tests.backends.conftest import Asked

REPOSITORY = "TheBloke/Mistral-7B-Instruct-v0.2-GGUF:Q4_K_M"
MESSAGES = (
    Message("system", "you are\n kind"),
    Message("user", "tell me about the sun"),
    Message("assistant", " it is near "),
    Message("user", "more, café <|end|> please"),
)


@pytest.fixture(scope="session")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(build("tiny", tmp_path_factory.mktemp("models")).gguf)


def options(server: str | None = None, *extra_args: str, threads: int | None = None) -> ServeOptions:
    return ServeOptions(server, slots=3, context_tokens=512, threads=threads, extra_args=extra_args)


def pairs(argv: tuple[str, ...]) -> dict[str, str]:
    """Each word of a command by the one before it."""
    return dict(pairwise(argv))


def start(gguf: str, folder: Path, how: ServeOptions) -> Server:
    return launch(
        llamacpp_launch.serve(gguf, how),
        folder / "server.log",
        ready_timeout_s=60,
        on_progress=lambda _: None,
        port=None,
    )


def ask(target: Target, max_tokens: int) -> Reply:
    """One request over the standard library's client; every byte is stamped 0."""
    request = llamacpp.request(Call(0, None, 0, 0, None, MESSAGES, max_tokens, 1, None), target)
    with urllib.request.urlopen(
        urllib.request.Request(target.url + request.path, request.body, dict(request.headers))
    ) as response:
        data = response.read()
        return openai.decode(response.status, {}, Body(data, [len(data)], [0]))


# --- request and launch commands --------------------------------------------------------------------------------


def test_a_request_fixes_the_length_and_asks_for_running_counts() -> None:
    call = Call(0, None, 0, 0, None, MESSAGES, 5, 1, None)
    plain = json.loads(openai.request(call, Target("http://h", "m")).body)
    ours = json.loads(llamacpp.request(call, Target("http://h", "m")).body)
    assert ours == plain | {"ignore_eos": True, "timings_per_token": True}


def test_the_embedded_server_is_the_default_and_its_context_is_shared_by_the_slots(gguf: str) -> None:
    how = llamacpp_launch.serve(gguf, options(None, "n_batch=64", threads=2))
    assert how.argv[:2] == (sys.executable, "-P")
    assert Path(how.argv[2]).is_file()
    flags = "--alias tiny --host 127.0.0.1 --port {port} --parallel 3 --ctx-size 1536 --threads 2 n_batch=64"
    assert how.argv[3:] == ("--model", gguf, *flags.split())
    assert (how.ready_path, how.name) == ("/health", "xllamacpp")


def test_llama_cpp_python_is_told_to_finish_its_answers(gguf: str) -> None:
    how = llamacpp_launch.serve(gguf, replace(options("llama-cpp-python", "--verbose", "true"), python="/some/python"))
    assert how.argv[:3] == ("/some/python", "-m", "llama_cpp.server")
    flags = "--model_alias tiny --host 127.0.0.1 --port {port} --n_ctx 2048 --interrupt_requests false --verbose true"
    assert how.argv[3:] == ("--model", gguf, *flags.split())
    assert how.ready_path == "/v1/models"


def test_a_llama_server_binary_is_found_by_name_or_path(
    gguf: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = tmp_path / "llama-server"
    binary.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    flags = "--alias tiny --host 127.0.0.1 --port {port} --parallel 3 --ctx-size 1536"
    for name in ("llama-server", str(binary)):
        argv = llamacpp_launch.serve(gguf, options(name)).argv
        assert argv == (str(binary), "--metrics", "--model", gguf, *flags.split())


def test_words_of_the_users_own_come_before_llama_servers_flags(gguf: str) -> None:
    words = ("srun", "--gpus=1", "llama-server")
    how = llamacpp_launch.serve(gguf, replace(options(None, "--no-warmup"), command=words))
    assert how.argv[:6] == (*words, "--metrics", "--model", gguf)
    assert how.argv[-1] == "--no-warmup"
    assert (how.ready_path, how.name) == ("/health", "llama-server")


@pytest.mark.parametrize("command", [(), ("my-server",)])
def test_a_repository_is_left_to_llama_cpp_to_download_and_has_the_time(command: tuple[str, ...], gguf: str) -> None:
    how = llamacpp_launch.serve(REPOSITORY, replace(options(), command=command))
    assert pairs(how.argv)["-hf"] == pairs(how.argv)["--alias"] == REPOSITORY
    assert "--model" not in how.argv
    assert how.ready_timeout_s > llamacpp_launch.serve(gguf, options()).ready_timeout_s


@pytest.mark.parametrize("model", [REPOSITORY, REPOSITORY.partition(":")[0]])
def test_llama_cpp_python_is_given_the_repository_and_a_pattern_for_the_file(model: str) -> None:
    flags = pairs(llamacpp_launch.serve(model, options("llama-cpp-python")).argv)
    assert flags["--hf_model_repo_id"] == "TheBloke/Mistral-7B-Instruct-v0.2-GGUF"
    assert flags["--model"] == "*Q4_K_M.gguf"
    assert flags["--model_alias"] == model


def test_an_unknown_server_or_model_file_is_the_users_error(gguf: str) -> None:
    with pytest.raises(UserError, match="did you mean 'xllamacpp'"):
        llamacpp_launch.serve(gguf, options("xlamacpp"))
    for name in ("nope.gguf", "models/nope.gguf", "./nope", "nope", "."):
        with pytest.raises(UserError, match=f"--model '{re.escape(name)}': expected the path of a .gguf file"):
            llamacpp_launch.serve(name, options())


def test_flags_that_would_be_ignored_are_the_users_error(gguf: str) -> None:
    with pytest.raises(UserError, match="--server-python: needs --server llama-cpp-python"):
        llamacpp_launch.serve(gguf, replace(options(), python="/some/python"))
    for how in (options("xllamacpp"), replace(options(), python="/some/python")):
        with pytest.raises(UserError, match="leave out --server and --server-python"):
            llamacpp_launch.serve(gguf, replace(how, command=("my-server",)))


# --- the embedded server ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def xllamacpp(gguf: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with start(gguf, tmp_path_factory.mktemp("xllamacpp"), options(threads=1)) as server:
        yield Target(server.url, "tiny")


def test_the_embedded_server_says_what_it_is(xllamacpp: Target) -> None:
    info = llamacpp_cold.preflight(xllamacpp)
    assert (info.name, info.model, info.context_tokens, info.metrics_path) == ("llama.cpp", "tiny", 512, "/metrics")
    assert info.settings["total_slots"] == 3


def test_a_real_stream_has_exactly_the_tokens_asked_for(xllamacpp: Target) -> None:
    reply = ask(xllamacpp, 9)
    assert (reply.error, reply.finish) == (None, "length")
    assert [tokens for _, tokens, _ in reply.deltas] == [1] * 9
    assert reply.usage is not None
    assert reply.usage.output_tokens == 9


def test_the_prompt_is_counted_as_usage_will_count_it(xllamacpp: Target) -> None:
    usage = ask(xllamacpp, 1).usage
    assert usage is not None
    assert llamacpp_cold.count_tokens(xllamacpp, MESSAGES) == usage.prompt_tokens
    assert openai_cold.count_tokens(xllamacpp, MESSAGES) == usage.prompt_tokens


def test_every_gauge_is_among_the_servers_metrics(xllamacpp: Target) -> None:
    with urllib.request.urlopen(f"{xllamacpp.url}/metrics") as response:
        readings = read_metrics(response.read().decode(), BACKENDS["llamacpp"].gauges)
    assert readings.keys() == BACKENDS["llamacpp"].gauges.keys()


def test_a_wrong_server_setting_is_named_before_the_run(gguf: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no setting 'n_bach'; did you mean 'n_batch'"):
        start(gguf, tmp_path, options(None, "n_bach=5"))
    with pytest.raises(UserError, match="n_batch=many: expected int"):
        start(gguf, tmp_path, options(None, "n_batch=many"))


# --- repositories -----------------------------------------------------------------------------------------------


@pytest.fixture
def hub(gguf: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answering: Callable[..., str]) -> list[str]:
    """A hub, and the paths it is asked for, with one repository, some/model, which has a file of the kind Q4_K_M."""
    data, commit = Path(gguf).read_bytes(), "a" * 40
    listed = {"type": "file", "path": "model.Q4_K_M.gguf", "lfs": {"oid": hashlib.sha256(data).hexdigest()}}
    answers = {
        "/api/models/some/model/refs": json.dumps({"branches": [{"name": "main", "targetCommit": commit}]}).encode(),
        f"/api/models/some/model/tree/{commit}?recursive=true": json.dumps([listed]).encode(),
        f"/some/model/resolve/{commit}/model.Q4_K_M.gguf": data,
    }
    paths = []

    def answer(asked: Asked) -> tuple[int, dict[str, str], bytes]:
        paths.append(asked.path)
        found = answers.get(asked.path)
        return (404, {}, b'{"error": "Repository not found"}') if found is None else (200, {}, found)

    monkeypatch.setenv("MODEL_ENDPOINT", answering(answer))
    monkeypatch.setenv("LLAMA_CACHE", str(tmp_path / "cache"))
    return paths


def test_the_embedded_server_downloads_a_repository_and_needs_the_hub_no_more(
    hub: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start("some/model:Q4_K_M", tmp_path, options(threads=1)) as server:
        assert hub[-1].endswith("model.Q4_K_M.gguf")
        target = Target(server.url, "model")
        assert llamacpp_cold.preflight(target).model == "some/model:Q4_K_M"
        assert ask(target, 4).finish == "length"
    monkeypatch.setenv("MODEL_ENDPOINT", "http://127.0.0.1:1")
    with start("some/model:Q4_K_M", tmp_path, options(threads=1)) as server:
        assert ask(Target(server.url, "model"), 4).finish == "length"


def test_the_hubs_own_reason_is_shown_when_it_does_not_give_the_file(hub: list[str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"GET failed \(404\): Repository not found.*some/other:Q4_K_M.*HF_TOKEN"):
        start("some/other:Q4_K_M", tmp_path, options())
    with pytest.raises(UserError, match=r"no GGUF files found in repository some/model.*download the file"):
        start("some/model:Q8_0", tmp_path, options())


def test_a_hub_that_cannot_be_reached_is_said_in_one_line(
    hub: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODEL_ENDPOINT", "http://127.0.0.1:1")
    with pytest.raises(UserError) as raised:
        start(REPOSITORY, tmp_path, options())
    line = str(raised.value)
    assert "\n" not in line
    assert "Could not establish connection" in line
    assert REPOSITORY in line


def test_a_file_that_is_no_whole_model_is_refused_with_the_engines_first_complaint(gguf: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(Path(gguf).read_bytes()[:5000])
    with pytest.raises(UserError, match=r"xllamacpp: error: gguf_init_from_\w+: "):
        start(str(broken), tmp_path, options())


# --- llama-cpp-python -------------------------------------------------------------------------------------------


@pytest.mark.engine
def test_llama_cpp_python_is_launched_understood_and_counted(gguf: str, tmp_path: Path) -> None:
    with start(gguf, tmp_path, options("llama-cpp-python", threads=1)) as server:
        target = Target(server.url, "tiny")
        info = llamacpp_cold.preflight(target)
        assert (info.name, info.model, info.metrics_path) == ("llama-cpp-python", "tiny", None)
        reply = ask(target, 9)
        assert (reply.error, reply.finish, reply.usage) == (None, "length", None)
        assert [tokens for _, tokens, _ in reply.deltas] == [None] * 9
        assert llamacpp_cold.count_tokens(target, MESSAGES) is not None
