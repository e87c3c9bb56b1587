"""Words of other tools are our flags where they mean the same, and one line says what is something else here."""

import math
import re
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.run import slo
from bench.app import familiar
from bench.app.options import RunOptions, flag_of, names
from bench.cli.familiar import understood
from bench.cli.run import run
from bench.cli.sweep import sweep
from bench.types import UserError

OWN = {flag: option for option in run.params if isinstance(option, click.Option) for flag in option.opts}
VALUED = sorted(word for word, meaning in familiar.SAME.items() if not OWN[flag_of(meaning.option)].is_flag)
PAGE = (Path(__file__).parents[3] / "docs" / "coming-from.md").read_text(encoding="utf-8")


def options(*words: str) -> dict[str, Any]:
    return dict(run.make_context("run", list(words)).params)


def test_every_word_stands_for_an_option_of_a_run_and_none_hides_one() -> None:
    assert {meaning.option for meaning in familiar.SAME.values()} <= set(names(RunOptions))
    others = {flag_of(word) for word in (*familiar.SAME, *familiar.ELSEWHERE, familiar.MOST_AT_ONCE)}
    assert others & OWN.keys() == set()
    assert familiar.SAME.keys() & familiar.ELSEWHERE.keys() == set()


def test_the_page_names_every_word_that_is_understood_and_by_the_option_it_is() -> None:
    rows = dict(re.findall(r"^\| (`--[^|]*) \| (`--[^|]*) \|$", PAGE, re.MULTILINE))
    for word, meaning in familiar.SAME.items():
        (row,) = [here for here, there in rows.items() if f"`--{word}`" in there]
        assert flag_of(meaning.option) in row


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from(VALUED), unique_by=lambda word: familiar.SAME[word].option), st.data())
def test_any_of_them_together_are_the_same_command_in_our_words(words: list[str], data: st.DataObject) -> None:
    theirs, ours = [], []
    for word in words:
        meaning, value = familiar.SAME[word], str(data.draw(st.integers(1, 9)))
        spelled = f"--{word if data.draw(st.booleans()) else word.replace('-', '_')}"
        theirs += [f"{spelled}={value}"] if data.draw(st.booleans()) else [spelled, value]
        ours.append(f"{flag_of(meaning.option)}={meaning.value(value)}")
    assert understood(theirs, OWN) == ours


def test_what_follows_a_flag_is_its_value_whatever_it_looks_like() -> None:
    assert options("--server-arg", "--max-concurrency", "--server-arg=--num-prompts")["server_arg"] == (
        "--max-concurrency", "--num-prompts",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("--max-concurrency 8", {"concurrency": 8, "max_in_flight": None}),
        ("--request-rate inf --max-concurrency 8", {"concurrency": 8, "rate": None}),
        ("--max-concurrency 8 --rate=4", {"concurrency": None, "max_in_flight": 8}),
        ("--request_rate 4 --max_concurrency 8", {"concurrency": None, "max_in_flight": 8}),
        ("--max-seconds 30", {"duration": "30s"}),
        ("--benchmark-duration 2m", {"duration": "2m"}),
        ("--max-time-per-run 2", {"duration": "2m"}),
        ("--prompt_tokens 7", {"prompt_tokens": 7}),
        ("--goodput ttft:200 tpot:50 --seed 3", {"goodput": "ttft:200 tpot:50", "seed": 3}),
        ("--disable-stream", {"no_stream": True}),
    ],
)
def test_they_are_read_as_they_are_meant(words: str, asked: dict[str, Any]) -> None:
    found = options(*words.split())
    assert {name: found[name] for name in asked} == asked


@settings(max_examples=50, deadline=None)
@given(st.floats(0.01, 100))
def test_burstiness_is_the_shape_of_a_gamma_distribution(shape: float) -> None:
    name, _, spread = familiar.SAME["burstiness"].value(str(shape)).partition(":")
    assert name == "poisson" if shape == 1 else math.isclose(float(spread) ** -2, shape, rel_tol=1e-4)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--num-prompts 5 --requests 6", "--requests and --num-prompts mean the same; give one of them"),
        ("--isl 5 --input-len 6", "--input-len and --isl mean the same; give one of them"),
        ("--rate-type poisson", "--rate-type: use --arrivals"),
        ("--api_key secret-of-mine-12", "--api_key: keys are never on the command line"),
        ("--burstiness 0", "--burstiness 0: expected a number above 0"),
    ],
)
def test_what_is_something_else_is_said_in_one_line_without_its_value(words: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        options(*words.split())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("--max-concurrency 1,4 --num-prompts 20", {"concurrencies": "1,4", "requests": 20}),
        ("--request_rate=1,2 --max_concurrency 8", {"rates": "1,2", "max_in_flight": 8, "concurrencies": None}),
        ("--request-rate inf --max-concurrency 4", {"concurrencies": "4", "rates": None}),
        ("--base-url http://h --isl 7 --osl 3", {"url": "http://h", "prompt_tokens": 7, "output_tokens": 3}),
    ],
)
def test_a_sweep_understands_them_with_commas(words: str, asked: dict[str, Any]) -> None:
    found = dict(sweep.make_context("sweep", words.split()).params)
    assert {name: found[name] for name in asked} == asked


def test_flags_of_nobody_are_told_as_ever() -> None:
    with pytest.raises(click.NoSuchOption):
        options("--xyzzy", "4")


def test_a_mapping_understands_them_too() -> None:
    given = {"num_prompts": 20, "request-rate": 4, "max_concurrency": 8, "isl": 64, "disable_stream": True}
    assert RunOptions.of(given) == RunOptions.of(
        {"requests": 20, "rate": 4, "max_in_flight": 8, "prompt_tokens": 64, "no_stream": True}
    )
    with pytest.raises(UserError, match="--num-prompts and --requests mean the same"):
        RunOptions.of({"num_prompts": 1, "requests": 2})
    with pytest.raises(UserError, match="--rate-type: use --arrivals"):
        RunOptions.of({"rate_type": "poisson"})


def test_goodput_bounds_every_request_from_sending_and_fails_no_run() -> None:
    objectives = [slo.parse(text) for text in familiar.goodput("ttft:200,tpot:50 e2el:5e3".replace("5e3", "5000"))]
    assert [(found.metric, found.limit, found.from_sending) for found in objectives] == [
        ("ttft_ms", 200, True), ("tpot_ms", 50, False), ("service_ms", 5000, False),
    ]  # fmt: skip
    assert all(found.only_counts and found.percentile is None for found in objectives)
    for wrong in ("ttft", "ttft:", "ttft:-1", "speed:4", ""):
        with pytest.raises(UserError, match="--goodput"):
            familiar.goodput(wrong)
