"""From the options of an `ab` to the settings of its two sides."""

from collections.abc import Callable
from typing import Any

import click
import orjson
import pytest

from bench.app.ab import Side
from bench.app.request import ServerToLaunch
from bench.app.sameness import ask_the_same
from bench.cli.ab import OPTIONS, sides_of
from bench.cli.groups import with_options
from bench.types import UserError

Sides = Callable[..., tuple[Side, Side]]


@pytest.fixture
def sides() -> Sides:
    """`sides(a, b, *common options) -> both sides`, as the command line gives them."""

    @click.command()
    @click.option("--a")
    @click.option("--b")
    @with_options(OPTIONS)
    def command(**options: Any) -> tuple[Side, Side]:
        return sides_of(options)

    def build(a: str | None, b: str | None, *common: str) -> tuple[Side, Side]:
        own = [word for name, text in (("--a", a), ("--b", b)) if text is not None for word in (name, text)]
        found: tuple[Side, Side] = command.main([*own, *common], standalone_mode=False)
        return found

    return build


def test_what_is_not_given_for_a_side_is_common_to_both(sides: Sides) -> None:
    a, b = sides("--model tiny", "--model tiny-3l", "--requests", "7", "--seed", "3")
    assert (a.request.model, b.request.model) == ("tiny", "tiny-3l")
    assert [(side.request.workload.load.requests, side.request.workload.seed) for side in (a, b)] == [(7, 3), (7, 3)]
    assert (a.name, b.name) == ("a", "b")


def test_a_sides_own_option_overrides_the_common_one_also_where_it_is_the_default(sides: Sides) -> None:
    a, b = sides("--seed 0", None, "--seed", "5")
    assert (a.request.workload.seed, b.request.workload.seed) == (0, 5)


def test_repeatable_options_are_added_to_the_common_ones(sides: Sides) -> None:
    a, b = sides("--server-arg=n_batch=64 --slo 'ttft_ms:p99<500'", None, "--server-arg=flash=on")
    first, second = a.request, b.request
    assert (first.slo, second.slo) == (("ttft_ms:p99<500",), ())
    assert isinstance(first.server, ServerToLaunch) and first.server.arguments == ("flash=on", "n_batch=64")
    assert isinstance(second.server, ServerToLaunch) and second.server.arguments == ("flash=on",)


@pytest.mark.parametrize(
    "options",
    [("--usd-per-hour", "0.34"), ("--gpu", "l4", "--gpus", "2"), ("--metrics-gpu", "0", "--metrics-url", "http://h:1")],
)
def test_what_was_asked_can_be_written_down_whatever_kind_its_values_are_of(
    sides: Sides, options: tuple[str, ...]
) -> None:
    a, _ = sides("--model tiny", "--model tiny-3l", *options)
    assert orjson.loads(orjson.dumps(a.asked)) == a.asked


URL = "--backend vllm --url http://10.0.0.5:8000 --model m"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (None, None),
        ("--model tiny", None),
        ("--server xllamacpp", None),
        ("--backend llamacpp", "--concurrency 8"),
        ("--port 40123", None),
        ("--rate 4 --requests 200 --max-in-flight 1024", "--rate 4.0 --requests 200"),
        ("--prompt-tokens 2,000", "--prompt-tokens 2e3"),
        ("--timeout 2m", "--timeout 120s"),
        ("--usd-per-hour 1", "--usd-per-hour $1.00"),
        ("--temperature 0", None),
        ("--slo 'ttft_ms:p99<500'", "--slo 'ttft_ms:p99<500'"),
        (URL, f"{URL} --url http://10.0.0.5:8000/v1/"),
        (f"{URL} --url http://localhost:8000", f"{URL} --url http://127.0.0.1:8000"),
        (f"{URL} --model llama-3.1-8b", f"{URL} --model meta-llama/Llama-3.1-8B-Instruct"),
    ],
)
def test_sides_that_ask_for_the_same_in_other_words_are_one(sides: Sides, a: str | None, b: str | None) -> None:
    first, second = (side.request for side in sides(a, b))
    assert ask_the_same(first, second)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("--model tiny", "--model tiny-3l"),
        ("--seed 1", None),
        ("--concurrency 4", None),
        ("--server-arg=n_batch=512", None),
        ("--server llama-cpp-python", None),
        ("--backend vllm", "--backend llamacpp"),
        ("--prompt-tokens 2000", "--prompt-tokens 2001"),
        ("--usd-per-hour 1", "--usd-per-hour 2"),
        ("--temperature 0.5", None),
        ("--quick-ack on", None),
        ("--cache warm", None),
        (URL, f"{URL} --url http://10.0.0.6:8000"),
        (URL, f"{URL} --url http://10.0.0.5:8001"),
        (URL, f"{URL} --model other"),
        (URL, f"{URL} --header 'x-route: b'"),
        (URL, "--backend openai --url http://10.0.0.5:8000 --model m"),
        (URL, None),
        (URL, f"{URL} --extra-body '{{\"top_k\": 1}}'"),
    ],
)
def test_sides_that_differ_in_anything_that_is_measured_are_two(sides: Sides, a: str | None, b: str | None) -> None:
    first, second = (side.request for side in sides(a, b))
    assert not ask_the_same(first, second)


@pytest.mark.parametrize(
    ("a", "b", "common", "says"),
    [
        ("--modle tiny", None, [], "--a: No such option"),
        (None, "stray", [], "--b: Got unexpected extra argument (stray)"),
        ("--model 'tiny", None, [], '--a "--model \'tiny": No closing quotation; expected options'),
        (None, "--scenario chatt", [], "--b: --scenario: unknown scenario 'chatt'"),
        (None, "--seed x", [], "--b: Invalid value for '--seed': expected a whole number, got 'x'"),
        ("--cache hot", None, [], "--a: Invalid value for '--cache': expected cold or warm, got 'hot'"),
        ("--max-usd 1", None, [], "--a: --max-usd is one limit for all runs of both sides"),
        ("--url ftp://x", None, [], "--a: --url 'ftp://x'"),
        (None, None, ["--scenario", "chatt"], "--scenario: unknown scenario 'chatt'"),
        ("--seed 1", None, ["--url", "ftp://x"], "--url 'ftp://x'"),
    ],
)
def test_what_is_wrong_is_one_line_that_names_the_side_if_it_is_its_own(
    sides: Sides, a: str | None, b: str | None, common: list[str], says: str
) -> None:
    with pytest.raises(UserError) as refused:
        sides(a, b, *common)
    assert str(refused.value).startswith(says)
    assert "\n" not in str(refused.value)


def test_what_is_kept_of_the_options_has_no_key(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    a, b = sides("--server-arg=api_key=sk-very-secret", None)
    assert a.asked["server_args"] == ["api_key=(key)"]
    assert "sk-very-secret" not in str((a.asked, b.asked))
