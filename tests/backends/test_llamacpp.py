import json
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends import llamacpp, openai
from bench.launch import Server, launch
from bench.prometheus import read_metrics
from bench.tinymodel import build
from bench.types import Body, Call, Message, Reply, ServeOptions, Target, UserError

PYTHON = llamacpp.ROOT / ".engines" / "llama-cpp-python" / "bin" / "python"
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


def start(gguf: str, folder: Path, how: ServeOptions) -> Server:
    return launch(
        llamacpp.serve(gguf, how), folder / "server.log", ready_timeout_s=60, on_progress=lambda _: None, port=None
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
    how = llamacpp.serve(gguf, options(None, "n_batch=64", threads=2))
    assert how.argv[:2] == (sys.executable, "-P")
    assert Path(how.argv[2]).is_file()
    flags = "--host 127.0.0.1 --port {port} --alias tiny --parallel 3 --ctx-size 1536 --threads 2 n_batch=64"
    assert how.argv[3:] == (gguf, *flags.split())
    assert (how.ready_path, how.name) == ("/health", "xllamacpp")


def test_llama_cpp_python_is_told_to_finish_its_answers(gguf: str) -> None:
    how = llamacpp.serve(gguf, options("llama-cpp-python:/some/python", "--verbose", "true"))
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
    flags = "--host 127.0.0.1 --port {port} --alias tiny --parallel 3 --ctx-size 1536"
    for name in ("llama-server", str(binary)):
        argv = llamacpp.serve(gguf, options(name)).argv
        assert argv[:4] == (str(binary), "--model", gguf, "--metrics")
        assert argv[4:] == (*flags.split(),)


def test_an_unknown_server_or_model_file_is_the_users_error(gguf: str) -> None:
    with pytest.raises(UserError, match="did you mean 'xllamacpp'"):
        llamacpp.serve(gguf, options("xlamacpp"))
    with pytest.raises(UserError, match=r"--model 'nope\.gguf': no such file"):
        llamacpp.serve("nope.gguf", options())


# --- the embedded server ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def xllamacpp(gguf: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    with start(gguf, tmp_path_factory.mktemp("xllamacpp"), options(threads=1)) as server:
        yield Target(server.url, "tiny")


def test_the_embedded_server_says_what_it_is(xllamacpp: Target) -> None:
    info = llamacpp.preflight(xllamacpp)
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
    assert llamacpp.count_tokens(xllamacpp, MESSAGES) == usage.prompt_tokens
    assert openai.count_tokens(xllamacpp, MESSAGES) == usage.prompt_tokens


def test_every_gauge_is_among_the_servers_metrics(xllamacpp: Target) -> None:
    with urllib.request.urlopen(f"{xllamacpp.url}/metrics") as response:
        readings = read_metrics(response.read().decode(), llamacpp.BACKEND.gauges)
    assert readings.keys() == llamacpp.BACKEND.gauges.keys()


def test_a_wrong_server_setting_is_named_before_the_run(gguf: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no setting 'n_bach'; did you mean 'n_batch'"):
        start(gguf, tmp_path, options(None, "n_bach=5"))
    with pytest.raises(UserError, match="n_batch=many: expected int"):
        start(gguf, tmp_path, options(None, "n_batch=many"))


# --- llama-cpp-python -------------------------------------------------------------------------------------------


@pytest.mark.engine
@pytest.mark.skipif(not PYTHON.exists(), reason="no .engines/llama-cpp-python: make engines")
def test_llama_cpp_python_is_launched_understood_and_counted(gguf: str, tmp_path: Path) -> None:
    with start(gguf, tmp_path, options("llama-cpp-python", threads=1)) as server:
        target = Target(server.url, "tiny")
        info = llamacpp.preflight(target)
        assert (info.name, info.model, info.metrics_path) == ("llama-cpp-python", "tiny", None)
        reply = ask(target, 9)
        assert (reply.error, reply.finish, reply.usage) == (None, "length", None)
        assert [tokens for _, tokens, _ in reply.deltas] == [None] * 9
        assert llamacpp.count_tokens(target, MESSAGES) is not None
