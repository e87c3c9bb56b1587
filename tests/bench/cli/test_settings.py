"""Options from flags, variables, profiles and files: who wins, what is said of it; no secret lies in a file."""

import json
import tomllib
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench.cli import settings as module
from bench.cli.root import command
from bench.cli.settings import flags_of
from bench.types import UserError
from tests.commands import bench
from tests.test_docs import DOCS, blocks

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
GONE = ("--backend", "openai", "--model", "m", "--url", "http://127.0.0.1:9", "--scenario", "smoke")
# By how much they are meant, the least first; and how each is written.
EITHER = [["concurrency", "rate", "trace"], ["requests", "duration", "sessions"]]
SOURCES = ("file", "file [run]", "profile", "profile [run]", "variable", "flag")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def asked(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, dict[str, Any]], name: str = "run", *arguments: str
) -> click.Context:
    """The context of a command for which each source says these options."""

    def table(*of: str) -> list[str]:
        return [f"{key} = {json.dumps(value)}" for source in of for key, value in said.get(source, {}).items()]

    lines = [*table("file"), f"[{name}]", *table("file [run]"), "[profiles.p]", *table("profile")]
    Path("bench.toml").write_text("\n".join([*lines, f"[profiles.p.{name}]", *table("profile [run]")]))
    for key, value in said.get("variable", {}).items():
        monkeypatch.setenv(f"BENCH_{key.upper().replace('-', '_')}", str(value))
    flags = [word for key, value in said.get("flag", {}).items() for word in (f"--{key}", str(value))]
    return command(name).make_context(name, ["--config", "bench.toml", "--profile", "p", *flags, *arguments])


# An option that is a number, or a name, of each command that has settings.
ONE = {
    "ab": "seed", "breakeven": "gpus", "capacity": "seed", "compare": "junit", "gate": "rounds", "run": "seed",
    "size": "context", "sweep": "seed",
}  # fmt: skip
ARGUMENTS = {"compare": ("base",), "size": ("model",)}


@QUICK
@given(st.sampled_from(sorted(ONE)), st.dictionaries(st.sampled_from(SOURCES), st.integers(1, 999)))
def test_the_source_that_is_meant_the_most_gives_the_value(here: Path, name: str, values: dict[str, int]) -> None:
    flag = ONE[name]
    with pytest.MonkeyPatch.context() as patch:
        said = {source: {flag: value} for source, value in values.items()}
        ctx = asked(patch, said, name, *ARGUMENTS.get(name, ()))
    best = max(values, key=SOURCES.index, default=None)
    option = flags_of(ctx.command)[flag]
    if best is not None:
        assert ctx.params[flag] == option.type_cast_value(ctx, str(values[best]))
    source = module.source_of(ctx, option)
    places = ("", f" [{name}]", " [profiles.p]", f" [profiles.p] [{name}]")
    variable = f"BENCH_{flag.upper()}"
    expected = dict(zip(SOURCES, [*(f"bench.toml{place}" for place in places), variable, None], strict=True))
    assert source == (None if best is None else expected[best])


@QUICK
@given(st.permutations(SOURCES), st.sampled_from(EITHER))
def test_of_what_excludes_each_other_only_what_is_meant_the_most_is_left(
    here: Path, sources: list[str], names: list[str]
) -> None:
    said = dict(zip(sources, ({name: "3"} for name in names), strict=False))
    ranks = {"file": 1, "file [run]": 1, "profile": 2, "profile [run]": 2, "variable": 3, "flag": 4}
    with pytest.MonkeyPatch.context() as patch:
        ctx = asked(patch, said)
    most = max(ranks[source] for source in said)
    left = {name for source, (name,) in said.items() if ranks[source] == most}
    assert {name for name in names if ctx.params[name] is not None} == left


def test_no_option_that_may_be_left_out_so_has_a_default() -> None:
    assert set(ONE) == set(module._COMMANDS)
    for found in map(command, ONE):
        assert isinstance(found, module.ConfigurableCommand)
        options = {option.name: option for option in flags_of(found).values()}
        for name in (name for alternatives in found.either for names in alternatives for name in names):
            assert name not in options or not options[name].to_info_dict()["default"]


def test_what_means_something_else_in_a_command_is_said_to_it_alone(here: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        assert asked(patch, {"file": {"model": "m"}, "variable": {"model": "v"}}, "breakeven").params["model"] is None
        assert asked(patch, {"profile [run]": {"model": "m"}}, "breakeven").params["model"] == "m"


def test_several_values_are_a_list_in_a_file_and_words_in_a_variable(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ctx = asked(monkeypatch, {"file": {"slo": ["ttft_ms<1", "tpot_ms<2"], "header": "a: b c", "backoff": False}})
    assert ctx.params["slo"] == ("ttft_ms<1", "tpot_ms<2")
    assert (ctx.params["header"], ctx.params["backoff"]) == (("a: b c",), "off")
    ctx = asked(monkeypatch, {"file": {"slo": "ttft_ms<1"}, "variable": {"slo": "a<1 'b < 2'", "no-stream": "1"}})
    assert (ctx.params["slo"], ctx.params["no_stream"]) == (("a<1", "b < 2"), True)
    ctx = asked(monkeypatch, {"file": {}, "flag": {"slo": "c<3"}})
    assert ctx.params["slo"] == ("c<3",)


WRONG = [
    ("backnd = 'vllm'", "bench.toml: backnd is not an option of any command; did you mean 'backend'?"),
    ("[rnu]\nseed = 1", "bench.toml: rnu is not an option of any command; did you mean 'run'?"),
    ("[run]\nprecision = '5%'", "bench.toml [run]: precision is not an option of run"),
    ("[profiles.p]\nsed = 1", "bench.toml [profiles.p]: sed is not an option of any command; did you mean 'seed'?"),
    ("seed = 'x'", "Invalid value for '--seed': expected a whole number, got 'x' (from bench.toml)"),
    ("rate = 'x'", "--rate x: expected requests/s"),
    ("no-stream = 'yes'", "bench.toml: no-stream: expected true or false, got 'yes'"),
    ("model = ['a', 'b']", "bench.toml: model: expected one value, got a list"),
    ("seed = ", "--config bench.toml: expected TOML: "),
    ("profiles = 3", "bench.toml: expected tables [profiles.NAME] with options"),
    ("run = 3", "bench.toml: expected a table [run] with options"),
    ("[profiles.q]", "--profile 'p': bench.toml has q"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_what_is_wrong_in_a_file_is_one_line_that_says_where(here: Path, text: str, message: str) -> None:
    Path("bench.toml").write_text(text if "profiles" in text else f"{text}\n[profiles.p]\n")
    done = bench("run", "--config", "bench.toml", "--profile", "p", "--dry-run")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith(f"error: {message}")


def test_a_byte_order_mark_before_a_file_changes_nothing(here: Path) -> None:
    Path("bench.toml").write_text("\ufeff[run]\r\nseed = 7\r\n", encoding="utf-8")
    assert command("run").make_context("run", ["--config", "bench.toml"]).params["seed"] == 7


def test_an_error_says_from_where_a_value_was_taken(here: Path) -> None:
    done = bench("run", "--dry-run", env={"BENCH_RATE": "x"})
    assert done.stderr.endswith(" or inf (from BENCH_RATE)\n") and done.returncode == 2
    done = bench("run", "--dry-run", env={"BENCH_CONCURENCY": "3"})
    assert done.stderr == "note: BENCH_CONCURENCY is not an option; did you mean BENCH_CONCURRENCY?\n"
    done = bench("run", "--dry-run", env={"BENCH_PRECISION": "3%", "BENCH_PROFILE": "p"})
    assert done.stderr.startswith("error: --profile: names a profile in a settings file; give --config")


SECRET = "hunter2-hunter2"
SECRETS = [
    f"api-key = '{SECRET}'",
    f"header = 'Authorization: Bearer {SECRET}'",
    f"header = ['a: b', 'X-API-Key: {SECRET}']",
    f"url = 'http://me:{SECRET}@127.0.0.1:9'",
    f"url = 'http://127.0.0.1:9/?api_key={SECRET}'",
    f"server-arg = ['--api-key', '{SECRET}']",
    f"server-arg = '--api-key={SECRET}'",
    f"extra-body = {{ user = {{ token = '{SECRET}' }} }}",
    "model = 'sk-ant-0123456789abcdef'",
    "[profiles.other.run]\nextra-body = { key = 'sk-ant-0123456789abcdef' }",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_in_a_file_is_refused_and_not_shown(here: Path, text: str) -> None:
    Path("bench.toml").write_text(text)
    done = bench("run", *GONE, "--config", "bench.toml", "--dry-run")
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert "secrets come from an environment variable, never from this file" in done.stderr
    assert SECRET not in done.stderr and "sk-ant" not in done.stderr


def test_what_only_looks_like_a_secret_is_none(here: Path) -> None:
    Path("bench.toml").write_text(
        "header = 'Authorization: Bearer $KEY'\nprompt-tokens = 100\nclient-key = 'key.pem'\n"
        "extra-body = { max_tokens = 5, api_key = '$KEY' }\n"
        "server-arg = ['--tokenizer=meta-llama/x', '--max-num-batched-tokens=8192', '--api-key=$KEY']\n"
    )
    ctx = command("run").make_context("run", ["--config", "bench.toml"])
    assert json.loads(ctx.params["extra_body"]) == {"max_tokens": 5, "api_key": "$KEY"}


def test_a_dry_run_and_the_page_say_what_is_taken_from_where(here: Path) -> None:
    (text,) = blocks(DOCS["scripts.md"], "toml", tested=True)
    assert tomllib.loads(text)["profiles"]["nightly"]["run"] == {"repeat": 5}
    Path("bench.toml").write_text(text)
    done = bench(
        "run", "--config", "bench.toml", "--profile", "nightly", "--dry-run", "--json", "--seed", "4",
        env={"GATEWAY_KEY": SECRET, "BENCH_MODEL": "other"},
    )  # fmt: skip
    settings = {each["option"]: (each["value"], each["source"]) for each in json.loads(done.stdout)["settings"]}
    assert settings["--model"] == ("other", "BENCH_MODEL")
    assert settings["--duration"] == ("10m", "bench.toml [profiles.nightly]")
    assert settings["--repeat"] == ("5", "bench.toml [profiles.nightly] [run]")
    assert settings.keys().isdisjoint({"--requests", "--seed", "--precision"})
    assert SECRET not in done.stdout + done.stderr


def test_a_study_says_itself_what_is_measured(here: Path) -> None:
    assert bench("init", "study.yaml").returncode == 0
    Path("bench.toml").write_text("backend = 'openai'\nrate = 3\n[sweep]\nrepeats = 3\n")
    done = bench("sweep", "study.yaml", "--dry-run", "--config", "bench.toml")
    plain = bench("sweep", "study.yaml", "--dry-run", "--repeats", "3")
    assert done.returncode == plain.returncode
    assert [line for line in done.stdout.splitlines() if ": from " not in line] == plain.stdout.splitlines()


def test_a_profile_without_a_file_is_refused() -> None:
    with pytest.raises(UserError, match="--profile: names a profile in a settings file"):
        command("run").make_context("run", ["--profile", "p"])
