"""From a user's words to a request: the same from flags, a mapping and keywords, and what is wrong in one line."""

from dataclasses import fields
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.app.options import (
    ClientOptions,
    HourOptions,
    LoadOptions,
    RunOptions,
    ServerOptions,
    WatchOptions,
    flag_of,
    names,
)
from bench.app.request import RunningServer, RunRequest, ServerToLaunch, run_request
from bench.cli.run import run as command
from bench.load.spend import Budget
from bench.runs import folder as files
from bench.types import Load, UserError

URL = "http://127.0.0.1:9"
OF_THE_COMMAND = {"repeat", "keep_server", "dry_run", "batch", "as_json", "quiet"}
FLAGS = {option.name: option for option in command.params if isinstance(option, click.Option)}


def request(**options: Any) -> RunRequest:
    return run_request(RunOptions.of({"backend": "openai", "model": "m", "scenario": "smoke", "url": URL, **options}))


def test_every_option_is_the_flag_of_its_name_and_has_its_default() -> None:
    defaults = command.make_context("run", []).params
    assert set(names(RunOptions)) == defaults.keys() - OF_THE_COMMAND
    assert all(FLAGS[name].opts == [flag_of(name)] for name in names(RunOptions))
    assert RunOptions.of({name: defaults[name] for name in names(RunOptions)}) == RunOptions()


def test_every_option_is_of_one_group() -> None:
    groups = (ServerOptions, LoadOptions, ClientOptions, HourOptions, WatchOptions)
    own = [name for group in groups for name in names(group)]
    assert len(own) == len(set(own))
    assert set(own) < {field.name for field in fields(RunOptions)}


def test_flags_a_mapping_and_keywords_ask_for_the_same() -> None:
    words = "--rate 2 --duration 9s --slo ttft_ms:p99<500 --gpu h100 --gpus 2 --server-arg=a --server-arg=b --out x"
    given = command.make_context("run", words.split()).params
    flags = RunOptions.of({name: value for name, value in given.items() if name not in OF_THE_COMMAND})
    mapping = RunOptions.of(
        {"rate": 2, "duration": "9s", "slo": "ttft_ms:p99<500", "gpu": "h100", "gpus": 2, "server-arg": ["a", "b"],
         "out": "x"}
    )  # fmt: skip
    keywords = RunOptions(
        rate="2", duration="9s", slo=("ttft_ms:p99<500",), gpu="h100", gpus=2, server_arg=("a", "b"), out=Path("x")
    )
    assert flags == mapping == keywords


@pytest.mark.parametrize(
    ("option", "value", "read"),
    [
        ("warmup", 16, "16"), ("max_usd", 0.5, "0.5"), ("usd_per_hour", "$0.34", Decimal("0.34")),
        ("backoff", False, "off"),
        ("concurrency", 8.0, 8), ("rate", 2.5, "2.5"), ("tokenizer", "t", Path("t")), ("header", ("a: b",), ("a: b",)),
    ],
)  # fmt: skip
def test_a_mapping_says_values_as_yaml_reads_them(option: str, value: Any, read: Any) -> None:
    assert getattr(RunOptions.of({option: value}), option) == read


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"concurency": 4}, "--concurency: no such option of a run; did you mean 'concurrency'?"),
        ({"xyzzy": 4}, "--xyzzy: no such option of a run"),
        ({"concurrency": "many"}, "--concurrency: expected a whole number, got 'many'"),
        ({"concurrency": 1.5}, "--concurrency: expected a whole number, got 1.5"),
        ({"concurrency": True}, "--concurrency: expected a whole number, got True"),
        ({"rate": [1]}, "--rate: expected text, got [1]"),
        ({"model": {"a": 1}}, "--model: expected text, got {'a': 1}"),
        ({"cache": "wram"}, "--cache: expected cold or warm, got 'wram'; did you mean 'warm'?"),
        ({"overload": 3}, "--overload: expected wait or drop, got 3"),
    ],
)
def test_a_mapping_that_is_wrong_is_one_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as wrong:
        RunOptions.of(given)
    assert str(wrong.value) == said


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3),
)


@given(st.dictionaries(st.sampled_from(names(RunOptions)) | st.text(max_size=8), anything, max_size=4))
@settings(max_examples=200, deadline=None)
def test_whatever_a_mapping_has_there_are_options_or_one_line(given: dict[str, Any]) -> None:
    try:
        options = RunOptions.of(given)
    except UserError as wrong:
        assert str(wrong).startswith("--")
    else:
        assert RunOptions.of({name: getattr(options, name) for name in names(RunOptions)}) == options


def test_a_running_server_and_one_to_launch_are_told_apart(tmp_path: Path) -> None:
    there = request().server
    assert isinstance(there, RunningServer) and there.url == URL
    started = run_request(RunOptions(scenario="smoke", server="llama-cpp-python", server_arg=("n_batch=64",)))
    assert isinstance(started.server, ServerToLaunch) and started.url is None
    assert (started.server.kind, started.server.arguments) == ("llama-cpp-python", ("n_batch=64",))


def test_what_is_secret_is_in_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "hunter2-hunter2")
    with pytest.raises(UserError) as wrong:
        request(url="http://h:1/?key=hunter2-hunter2#x", header="k: $A_KEY")
    assert "hunter2" not in str(wrong.value) and "(key)" in str(wrong.value)


def test_one_of_several_runs_has_its_folder_its_load_and_the_account_of_all(tmp_path: Path) -> None:
    asked = request(max_usd="1", model="gpt-4o", url="https://api.openai.com")
    load = Load(3, None, "poisson", 5, None, 0, None, 3, "wait")
    one = asked.one_of(tmp_path, "a/01", load, 9)
    assert isinstance(one.costs.budget, Budget)
    assert (one.out, one.costs.budget.account) == (tmp_path / "a/01", tmp_path / files.LEDGER)
    assert (one.workload.load, one.workload.seed) == (load, 9)
    again = request().one_of(tmp_path, "b")
    assert (again.workload, again.costs.budget) == (request().workload, None)
