"""Any program as a backend: a small one in C, run for each request and kept, through the bridge and our own wire."""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import BACKENDS
from backends.dialect import exec as dialect
from backends.launch.exec import BRIDGE, VALUES
from bench.app.options import RunOptions
from bench.app.request import ServerToLaunch, run_request
from bench.preflight.rehearsal import RehearsalAnswer, exchange
from bench.server import bridge
from bench.server.launch import free_port
from bench.types import Body, Call, Message, Reply, ServeOptions, Target, Usage, UserError
from bench.wire.endpoint import endpoint
from bench.wire.http1 import encode_request
from tests.commands import bench

needs_cc = pytest.mark.skipif(shutil.which("cc") is None, reason="the program is compiled")
PROMPT = "a b; touch '$HOME' `x` \"y\"\n-n 3"
CALL = Call(3, None, 0, 0, None, (Message("user", PROMPT),), 6, 7, 20)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("exec") / "program"
    source = Path(__file__).parents[1] / "fixtures" / "program.c"
    subprocess.run(["cc", "-O1", "-o", str(path), str(source)], check=True)
    return str(path)


@contextmanager
def bridged(*words: str, mode: str = "process", slots: int = 2) -> Iterator[Target]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-I", str(BRIDGE), str(port), mode, str(slots), *words])
    try:
        target = Target(f"http://127.0.0.1:{port}", "m")
        for _ in range(200):
            if is_ready(target):
                break
            time.sleep(0.02)
        yield target
    finally:
        process.kill()
        process.wait()


def is_ready(target: Target) -> bool:
    try:
        return BACKENDS["exec"].preflight(target).name == "exec"
    except UserError:
        return False


def ask(target: Target, call: Call = CALL, timeout_s: float = 10.0) -> RehearsalAnswer:
    place = endpoint(target.url)
    request = encode_request(dialect.request(call, target), place.host_header)
    return exchange(place, request, dialect.decode, target, timeout_s)


def replied(heard: RehearsalAnswer) -> Reply:
    assert heard.reply is not None
    return heard.reply


# --- a process for each request -----------------------------------------------------------------------------------


@needs_cc
def test_each_flush_is_an_arrival_and_has_a_stamp_of_its_own(program: str) -> None:
    with bridged(program, "words", "{output_tokens}", "{prompt}") as target:
        heard = ask(target)
    reply = replied(heard)
    assert (heard.error, reply.text, reply.finish) == (None, " w0 w1 w2 w3 w4 w5", "completed")
    stamps = [t_ns for t_ns, _, _ in reply.deltas]
    assert stamps == sorted(stamps)
    assert len(set(stamps)) > 1


@needs_cc
def test_a_prompt_is_one_argument_or_standard_input_and_never_interpreted(program: str) -> None:
    by_argument = bridged(program, "args", "0", "{prompt}", "seed={seed}")
    with by_argument as argument, bridged(program, "stdin", "0") as standard_input:
        for prompt in (PROMPT, "", "-h", "{seed} {output_tokens}", "é \u20ac \U0001f600", "$(id)"):
            # What it repeats of the prompt is no answer: that it was taken off shows that it came unharmed.
            heard = replied(ask(argument, CALL._replace(messages=(Message("user", prompt),))))
            assert heard.text == "\nseed=7\n", prompt
            heard = replied(ask(standard_input, CALL._replace(messages=(Message("user", f"{prompt}!"),))))
            assert heard.error is not None and heard.error[0] == "empty", "all it wrote is its prompt again"


@needs_cc
def test_a_program_that_repeats_its_prompt_first_has_not_answered_by_that(program: str) -> None:
    call = CALL._replace(messages=(Message("user", "once upon a time"),))
    with bridged(program, "echo", "2", "{prompt}") as target:
        reply = replied(ask(target, call))
    assert reply.text == " w0 w1"
    assert len(reply.deltas) <= 2


@needs_cc
def test_a_program_that_knows_its_counts_says_them_last_on_standard_error(program: str) -> None:
    with bridged(program, "counts", "4", "{prompt}") as target:
        assert replied(ask(target)).usage == Usage(64, output_tokens=4)


@needs_cc
@pytest.mark.parametrize(
    ("mode", "text", "error"),
    [
        ("crash", " w0 w1 w2", ("error_event", "the program ended: killed by SIGABRT")),
        ("fail", " w0 w1 w2", ("error_event", "the program ended: exit code 3 (out of cheese)")),
        ("silent", "", ("empty", "the program succeeded but wrote nothing")),
        ("noisy", " w0 w1 w2 w3 w4 w5", None),
    ],
)
def test_how_a_program_ends_is_said_and_what_came_before_is_kept(
    program: str, mode: str, text: str, error: tuple[str, str] | None
) -> None:
    with bridged(program, mode, "6", "{prompt}") as target:
        reply = replied(ask(target))
        assert (reply.text, reply.error) == (text, error)
        assert replied(ask(target)).text == text, "and the next request is answered"


@needs_cc
def test_a_program_that_hangs_is_ended_with_its_children_when_the_client_gives_it_up(program: str) -> None:
    def living() -> int:
        return int(subprocess.run(["pgrep", "-c", "-f", f"^{program} hang"], capture_output=True).stdout)

    with bridged(program, "hang", "6", "{prompt}") as target:
        heard = ask(target, timeout_s=0.5)
        assert heard.error is not None and heard.error[0] == "timeout"
        assert replied(heard).text == " w0 w1 w2"
        for _ in range(100):
            if not living():
                break
            time.sleep(0.02)
        assert living() == 0


def test_what_cannot_be_run_is_said() -> None:
    with bridged("/nowhere/to/be/found", "{prompt}") as target:
        assert replied(ask(target)).error == ("error_event", "the program could not be run: No such file or directory")


@needs_cc
def test_an_argument_too_long_for_the_system_is_an_error_of_its_call(program: str) -> None:
    call = CALL._replace(messages=(Message("user", "x" * 3_000_000),))
    with bridged(program, "args", "0", "{prompt}") as target:
        assert replied(ask(target, call)).error == (
            "error_event",
            "the program could not be run: Argument list too long",
        )


# --- processes that are kept --------------------------------------------------------------------------------------


@needs_cc
def test_a_kept_program_answers_one_request_after_another_and_is_started_again_when_it_dies(program: str) -> None:
    with bridged(program, "kept", "4", mode="kept", slots=1) as target:
        for _ in range(3):
            reply = replied(ask(target))
            assert (reply.text, reply.usage, reply.finish, reply.error) == (
                " w0 w1 w2 w3", Usage(64, output_tokens=4), "length", None,
            )  # fmt: skip
            assert [tokens for _, tokens, _ in reply.deltas] == [1, 1, 1, 1]
        died = replied(ask(target, CALL._replace(messages=(Message("user", "DIE NOW"),))))
        assert died.error is not None and "exit code 7 (asked to die)" in died.error[1]
        assert replied(ask(target)).text == " w0 w1 w2 w3"


@pytest.mark.slow
@needs_cc
@pytest.mark.parametrize(
    ("server", "words", "source"),
    [
        ("kept", "kept 8", "per-chunk usage"),
        ("process", "words 4", "tokenizer"),
    ],
)
def test_a_run_of_a_program_is_a_run_like_any_other_and_can_be_decoded_again(
    program: str, tmp_path: Path, server: str, words: str, source: str
) -> None:
    folder = tmp_path / "run"
    asked = ["--backend", "exec", "--command", f"{program} {words}", "--server", server, "--model", "toy"]
    if source == "tokenizer":
        asked += ["--tokenizer", str(two_tokens_a_word(tmp_path))]
    load = ["--scenario", "smoke", "--requests", "12", "--warmup", "2", "--output-tokens", "8", "--out", str(folder)]
    done = bench("run", *asked, *load)
    assert done.returncode == 0, done.stderr
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["requests"]["succeeded"] == 12
    assert summary["metrics"]["output_tokens"]["mean"] == 8
    assert summary["metrics"]["ttft_ms"]["count"] == 12
    assert summary["tokens"]["token_sources"] == {source: 12}
    assert json.loads((folder / "run.json").read_text())["server"]["settings"]["mode"] == server
    assert bench("decode", str(folder)).returncode == 0
    assert json.loads((folder / "summary.json").read_text()) == summary


def two_tokens_a_word(folder: Path) -> Path:
    """A tokenizer by which ` w3` is two tokens."""
    tokenizers = pytest.importorskip("tokenizers")
    vocabulary = {"w": 0, **{str(digit): digit + 1 for digit in range(10)}, "?": 11}
    found = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="?"))
    split = tokenizers.pre_tokenizers
    found.pre_tokenizer = split.Sequence([split.Whitespace(), split.Digits(individual_digits=True)])
    found.save(str(folder / "tokenizer.json"))
    return folder / "tokenizer.json"


# --- pure ---------------------------------------------------------------------------------------------------------


def body(*parts: bytes) -> Body:
    return Body(b"".join(parts), list(accumulate(map(len, parts))), [10 * (i + 1) for i in range(len(parts))])


@settings(max_examples=80, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=9), max_size=6), st.data())
def test_whatever_a_program_writes_is_its_text_wherever_reads_cut_it(parts: list[bytes], data: Any) -> None:
    ended = bridge.END + json.dumps({"exit": 0, "stderr": ""}).encode() + b"\n"
    whole = b"".join(parts) + ended
    cut = data.draw(st.integers(1, len(whole)))
    split = [whole[:cut], whole[cut:]] if cut < len(whole) else [whole]
    for pieces in ([*parts, ended], [whole], split):
        reply = dialect.decode(200, {"x-answer": "text"}, body(*pieces))
        assert reply.text == b"".join(parts).decode("utf-8", "replace")
        assert (reply.error is None) == bool(parts)
    for end in range(len(whole)):
        reply = dialect.decode(200, {"x-answer": "text"}, body(whole[:end] or b""))
        assert reply.error is not None or end == len(whole) - 1


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=60), st.sampled_from(["text", "lines", "x"]))
def test_no_bytes_make_the_decoder_fail(data: bytes, mode: str) -> None:
    for tail in (b"", bridge.END + data, bridge.END + b'{"exit": "x", "stderr": 3}'):
        dialect.decode(200, {"x-answer": mode, "x-prompt-bytes": "3"}, body(data + tail or b"x"))


def test_the_bridge_and_the_dialect_agree_on_what_stands_before_the_end() -> None:
    assert bridge.END == dialect.END


def test_every_value_that_a_command_may_name_is_in_a_request() -> None:
    values = json.loads(dialect.request(CALL, Target("http://h", "m")).body)
    assert set(values) == set(VALUES)
    assert (values["prompt"], values["output_tokens"], values["total_tokens"], values["seed"]) == (PROMPT, 6, 26, 7)
    assert bridge.filled("-n={output_tokens}{x} {}", values) == "-n=6{x} {}"


# --- from flags ---------------------------------------------------------------------------------------------------


def launched(command: str, server: str | None = None) -> tuple[str, ...]:
    request = run_request(RunOptions(backend="exec", command=command, model="m", server=server))
    assert isinstance(request.server, ServerToLaunch)
    options = ServeOptions(request.server.kind, 2, 100, None, (), command=request.server.command)
    serve = BACKENDS["exec"].serve
    assert serve is not None
    return serve(request.server.model, options).argv


def test_a_command_is_split_as_a_shell_would_and_run_by_its_path() -> None:
    argv = launched("echo -n {output_tokens} 'a b' \"{prompt}\" $HOME")
    assert argv[3:6] == ("{port}", "process", "2")
    assert argv[6] == shutil.which("echo")
    assert argv[7:] == ("-n", "{output_tokens}", "a b", "{prompt}", "$HOME")


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"command": None}, "--backend exec: runs a program; give its --command"),
        ({"command": "echo", "url": "http://h"}, "--command applies to a server that this command launches"),
        ({"command": "echo 'x"}, "--command: expected words quoted as for a shell"),
        ({"command": " "}, "--command: expected a program"),
        ({"command": "echo", "backend": "vllm"}, "--command: needs --backend exec"),
        ({"command": "no-such-program-here {prompt}"}, "--command: no executable 'no-such-program-here'"),
        ({"command": "echo {promt}"}, "--command: {promt} is not a placeholder; did you mean 'prompt'"),
        ({"command": "echo {prompt}", "server": "kept"}, "--command: {prompt} is not a placeholder"),
        ({"command": "echo", "server": "keep"}, "--server 'keep': expected process or kept; did you mean 'kept'"),
        ({"command": "echo", "route": "chat"}, "--route: not supported by backend exec"),
    ],
)
def test_what_cannot_be_run_is_one_line_that_names_the_flag(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        request = run_request(RunOptions.of({"backend": "exec", "model": "m", **asked}))
        assert isinstance(request.server, ServerToLaunch)
        serve = BACKENDS["exec"].serve
        assert serve is not None
        serve("m", ServeOptions(request.server.kind, 2, 100, None, (), command=request.server.command))


@pytest.mark.slow
@needs_cc
def test_a_program_that_cannot_answer_is_said_before_the_load(program: str, tmp_path: Path) -> None:
    done = bench(
        *("run", "--backend", "exec", "--command", f"{program} fail 4", "--model", "toy"),
        *("--scenario", "smoke", "--out", str(tmp_path / "run")),
    )
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert line.startswith("error: --command: its first answer is unusable")
    assert "exit code 3 (out of cheese)" in line
