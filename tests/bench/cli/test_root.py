"""The command line as its user meets it: help, examples, and errors that are one line."""

import http.server
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import click
import pytest

from bench import cli
from bench.app.options import RunOptions
from bench.app.request import ServerToLaunch, run_request
from bench.cli import lists, root
from bench.exit_codes import EXIT_BUG
from bench.runs import folder
from tests.summaries import MANIFEST

ROOT = Path(__file__).parents[3]

Bench = Callable[..., tuple[int, str, str]]


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Bench]:
    """`bench(*arguments) -> (exit code, standard output, standard error)`, in an empty working directory."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.chdir(tmp_path)
    actions = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def call(*arguments: str) -> tuple[int, str, str]:
        for number, action in actions.items():
            signal.signal(number, action)
        monkeypatch.setattr(sys, "argv", ["bench.py", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    yield call
    for number, action in actions.items():
        signal.signal(number, action)


def commands(known: Mapping[str, click.Command], above: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command by its name under bench.py, such as `models build`."""
    for name, command in known.items():
        yield above + name, command
        if isinstance(command, click.Group):
            yield from commands(command.commands, f"{above}{name} ")


COMMANDS = dict(commands({name: root.command(name) for name in root.COMMANDS}))


# --- help -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help_and_every_command_an_example(name: str) -> None:
    command = COMMANDS[name]
    assert f"bench.py {name}" in (command.help or "").partition("\n")[2]
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


def test_the_first_page_says_of_every_command_what_its_own_help_begins_with() -> None:
    assert list(root.COMMANDS) == sorted(root.COMMANDS)
    assert {name: place.help for name, place in root.COMMANDS.items()} == {
        name: root.command(name).get_short_help_str(200) for name in root.COMMANDS
    }


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_prints_its_help(name: str, bench: Bench) -> None:
    code, out, _ = bench(*name.split(), "--help")
    assert code == 0
    assert out.startswith(f"Usage: bench.py {name}")


def test_the_list_of_commands_shows_each_in_full(bench: Bench) -> None:
    code, out, _ = bench("--help")
    assert code == 0
    assert "..." not in out.partition("Commands:")[2]


def test_without_a_command_there_is_help_and_exit_code_2(bench: Bench) -> None:
    code, out, err = bench()
    assert (code, err) == (2, "")
    assert out.startswith("Usage: bench.py")


@pytest.mark.parametrize("command", ["backends", "scenarios"])
def test_lists_come_as_text_and_as_json(command: str, bench: Bench) -> None:
    _, text, _ = bench(command)
    code, out, _ = bench(command, "--json")
    assert code == 0
    assert [line.split()[0] for line in text.splitlines()] == ["name", *(row["name"] for row in json.loads(out))]


# --- errors: one line on standard error, exit code 2, nothing left behind ----------------------------------------

WRONG = [
    ("rum", "no command 'rum'; did you mean 'run'?; see bench.py --help"),
    ("models bild", "no command 'bild'; did you mean 'build'?; see bench.py models --help"),
    ("run --concurency 3", "No such option '--concurency'. (Did you mean one of: '--concurrency', "),
    ("report", "Missing argument 'FOLDER'"),
    ("run chat", "unexpected extra argument (chat)"),
    ("report . --format htm", "'--format': expected html or markdown or json or csv, got 'htm'; did you mean"),
    ("models build tinny", "'tinny'; expected one of tiny, tiny-3l, tiny-16l; did you mean 'tiny"),
    ("run --backend lamacpp", "--backend 'lamacpp': expected one of claude, exec, llamacpp, openai, tgi, vllm; did"),
    ("run --model tinny", "--model 'tinny': expected a path, a repository (OWNER/NAME) or a name that `bench"),
    ("run --model .", "--model '.': expected the path of a .gguf file"),
    ("run --scenario caht", "--scenario: unknown scenario 'caht'; did you mean 'chat'?"),
    ("run --scenario no.yaml", "--scenario: no.yaml cannot be read: No such file"),
    ("run --rate 1 --arrivals poison", "--arrivals 'poison': expected constant, poisson or gamma:CV; did"),
    ("run --rate 1 --overload weight", "expected wait or drop, got 'weight'; did you mean 'wait'?"),
    ("run --rate fast", "--rate fast: expected requests/s such as 4, a ramp"),
    ("run --rate 0", "--rate: must be from 0.001 to 1000000, got 0.0; the nearest is 0.001"),
    ("run --rate nan", "--rate nan: expected requests/s such as 4, a ramp"),
    ("run --concurrency 0", "--concurrency: must be from 1 to 100000, got 0; the nearest is 1"),
    ("run --requests 1.5", "Invalid value for '--requests': expected a whole number, got '1.5'"),
    ("run --requests -1", "--requests: must be from 1 to 10000000, got -1; the nearest is 1"),
    ("run --duration 5", "--duration: expected a time with its unit (ms, s, m or h), such as 5s, got '5'"),
    ("run --duration 0s", "--duration: must be from 0.1 to 604800 s, got 0.0 s; the nearest is 0.1 s"),
    ("run --warmup 5s", "--warmup: expected a number of requests, such as 16"),
    ("run --rate 1 --max-in-flight 0", "--max-in-flight: must be from 1 to 100000, got 0"),
    ("run --concurrency 99999", "--concurrency: 99999 connections need "),
    ("run --seed -1", "--seed: must be from 0 to 9223372036854775807, got -1; the nearest is 0"),
    ("run --prompt-tokens 0", "--prompt-tokens: must be from 1 to 2000000, got 0"),
    ("run --output-tokens -3", "--output-tokens: must be from 1 to 2000000, got -3"),
    ("run --workers 0", "--workers: must be from 1 to 64, got 0; the nearest is 1"),
    ("run --workers 9", "--workers: 9 processes cannot share 8 requests in flight; give --workers 8 or"),
    ("run --slo ttft<5", "--slo 'ttft<5': ttft is not a latency metric; did you mean 'ttft_ms'?"),
    ("run --slo fast", "--slo 'fast' is not an objective: write METRIC:pNN<LIMIT or METRIC<LIMIT"),
    ("run --timeout 1", "--timeout: expected a time with its unit (ms, s, m or h), such as 1s, got '1'"),
    ("run --timeout 0s", "--timeout: must be from 0.2 to 86400 s, got 0.0 s; the nearest is 0.2 s"),
    ("run --stall-timeout 99h", "--stall-timeout: must be from 0.2 to 86400 s, got 356400.0 s; the nearest"),
    ("run --ready-timeout x", "--ready-timeout: expected a time with its unit"),
    ("run --port 0", "--port: must be from 1 to 65535, got 0; the nearest is 1"),
    ("run --locust-web 65536", "--locust-web: must be from 1 to 65535, got 65536; the nearest is 65535"),
    ("run --server xlamacpp", "--server 'xlamacpp': no such program; expected xllamacpp, llama-cpp-python, "),
    ("run --url ftp://h", "--url 'ftp://h': expected http://HOST[:PORT] or https://HOST[:PORT]"),
    ("run --url h:80", "--url 'h:80': expected http://HOST[:PORT] or https://HOST[:PORT]; did you mean 'http"),
    ("run --url http://h:99999", "--url 'http://h:99999': expected http://HOST[:PORT]"),
    ("run --url http://h/v1#three", "--url 'http://h/v1#three': expected a URL without #"),
    (
        "run --url http://127.0.0.1:9",
        "connection refused at http://127.0.0.1:9; start the server, or check --url",
    ),
    ("run --url http://no.invalid", "the host of http://no.invalid does not resolve; check --url"),
    ("run --backend openai", "--backend openai cannot launch a server; give the --url"),
    ("run --url https://h --ca-file no", "--ca-file 'no' cannot be used: No such file or directory; expected"),
    ("run --url http://h --ca-file x", "--ca-file: needs an https --url, got http://h"),
    ("run --ca-file x", "--ca-file: needs --url https://"),
    ("run --out /dev/null", "--out /dev/null: expected a new or empty folder, this is a file"),
    ("run --rate 1 --concurrency 1", "--concurrency and --rate exclude each other"),
    ("run --requests 1 --duration 1s", "--requests and --duration exclude each other"),
    ("run --arrivals poisson", "--arrivals: applies to an open loop; give --rate as well"),
    ("run --url http://127.0.0.1:9 --server x", "--server applies to a server that this command launches"),
    ("run --url http://127.0.0.1:9 --port 1", "--port applies to a server that this command launches"),
    ("run --url http://127.0.0.1:9 --server-arg x", "--server-arg applies to a server that this command launches"),
    ("run --url http://127.0.0.1:9 --ready-timeout 1", "--ready-timeout: expected a time with its unit"),
    ("run --url http://h --header nothing", "--header (number 1): expected 'NAME: VALUE'"),
    ("run --url http://h --header api-key:$NO_SUCH_VARIABLE_HERE", "$NO_SUCH_VARIABLE_HERE is not set"),
    ("run --url http://h --header Content-Length:3", "this header frames the request"),
    ("run --url http://h --client-cert c.pem", "--client-cert: needs an https --url, got http://h"),
    ("run --url https://h --client-key k.pem", "--client-key: needs --client-cert"),
    ("decode .", "is not a run folder: run.json: No such file or directory"),
]


def one_line(code: int, err: str) -> str:
    """The error, which is one line that a person can act on."""
    assert code == 2
    assert err.startswith("error: ") and err.count("\n") == 1, err
    return err.removeprefix("error: ").rstrip("\n")


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_a_wrong_value_is_one_line_and_leaves_nothing_behind(
    arguments: str, message: str, bench: Bench, tmp_path: Path
) -> None:
    code, _, err = bench(*arguments.split())
    assert message in one_line(code, err)
    assert [path for path in tmp_path.rglob("*") if path.name != "results"] == []


def test_a_password_in_the_url_is_refused_and_not_repeated(bench: Bench) -> None:
    code, out, err = bench("run", "--url", "http://user:hunter2@h/v1")
    said = "--url: expected a URL without user or password; set the key's variable, such as OPENAI_API_KEY"
    assert one_line(code, err) == said
    assert "hunter2" not in out + err


@pytest.mark.parametrize("key", ["hunter2 hunter2", "hunter2\nx", "hunter2é"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_repeated(
    key: str, bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    code, out, err = bench("run", "--url", "http://127.0.0.1:9")
    assert one_line(code, err).startswith("OPENAI_API_KEY: expected printable ASCII without spaces")
    assert "hunter2" not in out + err


@pytest.mark.parametrize(("key", "kept"), [("hunter2-hunter2", "--api-key=(key)"), ("EMPTY", "--api-key=EMPTY")])
def test_a_key_that_a_launched_server_is_given_is_not_kept_unless_it_is_a_placeholder(
    key: str, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ["--server-arg", f"--api-key={key}"]
    monkeypatch.setenv("OPENAI_API_KEY", key)
    made = run_request(RunOptions(server_arg=(f"--api-key={key}",)), ["bench.py", "run", *arguments])
    assert made.argv == ("bench.py", "run", "--server-arg", kept)
    assert isinstance(made.server, ServerToLaunch)
    assert made.server.arguments == (f"--api-key={key}",)
    assert made.access.api_key == key


@pytest.mark.parametrize("flag", ["--port", "--locust-web"])
def test_a_port_in_use_names_its_flag(flag: str, bench: Bench) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = bench("run", flag, str(port))
    assert one_line(code, err).startswith(f"{flag}: port {port} cannot be used (Address already in use)")


def test_a_scenario_file_with_a_fault_names_its_line(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("prompt_tokens: 8\noutput_tokens: many\n")
    code, _, err = bench("run", "--scenario", "mine.yaml")
    assert one_line(code, err).startswith("mine.yaml:2: output_tokens: must be a number")


def test_a_model_file_that_is_none_is_named(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "fake.gguf").write_text("hello")
    code, _, err = bench("run", "--model", "fake.gguf", "--out", "run")
    assert one_line(code, err) == "--model 'fake.gguf': expected a GGUF file, but this one begins with b'hell'"
    assert not Path("run").exists()


def test_an_out_folder_in_use_is_left_as_it_is(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "run.json").touch()
    code, _, err = bench("run", "--out", ".")
    assert "expected a new or empty folder, this one has files in it" in one_line(code, err)
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def server_binary(path: Path, script: str) -> str:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


def test_a_server_that_dies_at_start_leaves_its_log_and_nothing_else(bench: Bench, tmp_path: Path) -> None:
    binary = server_binary(tmp_path / "llama-server", "echo 'error: out of memory'; exit 3")
    code, _, err = bench("run", "--quiet", "--server", binary, "--out", "run")
    log = tmp_path / "run" / "server.log"
    assert one_line(code, err) == f"llama-server ended while starting (exit code 3): error: out of memory; see {log}"
    assert list((tmp_path / "run").iterdir()) == [log]


def test_a_server_that_never_gets_ready_is_given_up_and_ended(bench: Bench, tmp_path: Path) -> None:
    binary = server_binary(tmp_path / "llama-server", "echo $$ >&2; exec sleep 60")
    code, _, err = bench("run", "--quiet", "--server", binary, "--ready-timeout", "500ms", "--out", "run")
    log = tmp_path / "run" / "server.log"
    assert f"llama-server was not ready after 0.5 s; raise --ready-timeout if it needs longer, or see {log}" in (
        one_line(code, err)
    )
    assert not Path("/proc", log.read_text().strip()).exists()


class WebServer(http.server.BaseHTTPRequestHandler):
    """A web server that answers any request with the same status and body."""

    status, kind, body = 404, "text/html", "<h1>Nothing here</h1>"

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.send_header("Content-Type", self.kind)
        self.end_headers()
        self.wfile.write(self.body.format(key=self.headers.get("Authorization")).encode())

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("backend", ["openai", "llamacpp"])
def test_a_web_server_that_serves_no_model_is_told_from_one_that_does(
    backend: str, web_server: Callable[[type[WebServer]], str], bench: Bench
) -> None:
    url = web_server(WebServer)
    code, _, err = bench("run", "--backend", backend, "--url", url, "--out", "run")
    assert one_line(code, err).startswith(f"no LLM server at {url}: /v1/models returned HTTP 404 from ")
    assert not Path("run").exists()


def test_a_refused_key_names_its_variable_and_is_not_repeated(
    web_server: Callable[[type[WebServer]], str], bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Refuses(WebServer):
        status, kind, body = 401, "application/json", '{{"error": "bad header {key}"}}'

    monkeypatch.setenv("OPENAI_API_KEY", "hunter2hunter2")
    url = web_server(Refuses)
    code, out, err = bench("run", "--backend", "openai", "--url", url)
    line = one_line(code, err)
    assert line.startswith(f"{url} refuses the API key it was given (HTTP 401: bad header Bearer ")
    assert "set OPENAI_API_KEY" in line
    assert "hunter2" not in out + err


# --- manners ----------------------------------------------------------------------------------------------------


def test_output_that_nobody_reads_ends_the_command_quietly() -> None:
    command = f"{sys.executable} bench.py run --help; echo $? >&2"
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, stdout=reader.stdin, stderr=subprocess.PIPE, text=True)
    assert reader.stdin is not None
    reader.stdin.close()
    assert done.stderr == "141\n"


def test_ctrl_c_and_a_kill_end_a_command_with_130_and_one_word(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        monkeypatch.setattr(lists.backends, "callback", lambda number=number, **_: os.kill(os.getpid(), number))
        assert bench("backends") == (130, "", "interrupted\n")


def test_a_fault_of_the_system_is_one_line(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists.backends, "callback", lambda **_: Path("no/such/file").read_text())
    code, _, err = bench("backends")
    assert one_line(code, err) == "[Errno 2] No such file or directory: 'no/such/file'"


def test_a_fault_of_ours_is_no_users_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lists.backends, "callback", lambda **_: [][0])
    code, out, err = bench("backends")
    assert (code, out) == (EXIT_BUG, "")
    assert "IndexError" in err.splitlines()[-1]


def test_a_report_of_a_run_without_a_summary_says_how_to_get_one(bench: Bench, tmp_path: Path) -> None:
    folder.write_json(tmp_path / folder.RUN, MANIFEST | {"schema": folder.SCHEMA})
    code, _, err = bench("report", ".", "--format", "json")
    assert one_line(code, err).endswith("has no summary.json; make it with: bench.py decode .")
