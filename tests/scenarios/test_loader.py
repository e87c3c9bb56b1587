import json
from functools import reduce
from operator import getitem
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from bench import numeric
from bench.types import Lengths, Prefixes, Scenario, UserError
from scenarios import MAX_TOKENS, list_scenarios, load_scenario, with_lengths

VALID = "prompt_tokens: 100\noutput_tokens: 10\n"


def read(tmp_path: Path, content: str) -> Scenario:
    file = tmp_path / "my.yaml"
    file.write_text(content)
    return load_scenario(str(file))


def fault(tmp_path: Path, content: str) -> str:
    with pytest.raises(UserError) as error:
        read(tmp_path, content)
    return str(error.value).removeprefix(f"{tmp_path}/")


def test_the_bundled_scenarios_are_described_and_load_by_their_names() -> None:
    names = [scenario.name for scenario in list_scenarios()]
    assert names == ["agent", "assistant", "chat", "code", "long-context", "rag", "smoke"]
    assert [load_scenario(name) for name in names] == list_scenarios()
    assert all(scenario.description for scenario in list_scenarios())


def test_the_chat_demo_is_small_enough_for_a_laptop() -> None:
    chat = load_scenario("chat")
    assert (chat.concurrency, chat.output_tokens.median) == (8, 128)
    assert chat.requests * chat.output_tokens.high < 100_000


def test_a_file_of_two_lines_is_a_scenario_named_after_it(tmp_path: Path) -> None:
    scenario = read(tmp_path, VALID)
    assert scenario.name == "my"
    assert scenario.prompt_tokens == Lengths("fixed", 100, 100)
    assert scenario.shared_prefix_tokens == 0


def test_every_key_of_a_file_arrives(tmp_path: Path) -> None:
    scenario = read(
        tmp_path,
        """
        name: mine
        description: all of it
        prompt_tokens: {lognormal: {median: 300, sigma: 0.5, low: 60, high: 900}}
        output_tokens: {uniform: [5, 9]}
        shared_prefix_tokens: 50
        concurrency: 3
        requests: 7
        warmup_requests: 0
        """,
    )
    assert scenario == Scenario(
        "mine", "all of it", Lengths("lognormal", 60, 900, 300, 0.5), Lengths("uniform", 5, 9), 50, 3, 7, 0
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "prompt_tokens:\n  lognormal:\n    {median: 9, sigma: 1,\n    low: -3, high: 20}\noutput_tokens: 1\n",
            "my.yaml:4: prompt_tokens.lognormal.low: must be at least 1, got -3",
        ),
        (VALID + "prompt_token: 3\n", "my.yaml:3: prompt_token: unknown key; did you mean 'prompt_tokens'?"),
        (
            "prompt_tokens: {normal: 3}\noutput_tokens: 1\n",
            "my.yaml:1: prompt_tokens.normal: unknown key; did you mean",
        ),
        ("prompt_tokens: 5\n", "my.yaml:1: output_tokens: is missing"),
        (
            "prompt_tokens: 3000000\noutput_tokens: 1\n",
            "my.yaml:1: prompt_tokens: must be at most 2000000, got 3000000",
        ),
        ("output_tokens: 1\nprompt_tokens: 2.5\n", "my.yaml:2: prompt_tokens: must be a whole number, got 2.5"),
        ("prompt_tokens: true\noutput_tokens: 1\n", "my.yaml:1: prompt_tokens: must be a whole number, got True"),
        (
            "prompt_tokens: many\noutput_tokens: 1\n",
            "my.yaml:1: prompt_tokens: must be a number, {uniform: [low, high]}",
        ),
        ("prompt_tokens: {uniform: [5]}\noutput_tokens: 1\n", "my.yaml:1: prompt_tokens.uniform: must be [low, high]"),
        (
            "prompt_tokens: {uniform: [5, 1]}\noutput_tokens: 1\n",
            "my.yaml:1: prompt_tokens.uniform: must be [low, high]",
        ),
        (
            "prompt_tokens:\n  uniform:\n  - 5\n  - x\noutput_tokens: 1\n",
            "my.yaml:4: prompt_tokens.uniform.1: must be a",
        ),
        ("prompt_tokens: {}\noutput_tokens: 1\n", "my.yaml:1: prompt_tokens: must be a number, or one of {uniform:"),
        (
            "prompt_tokens: {lognormal: {median: 9, sigma: 1, low: 1, high: 5}}\noutput_tokens: 1\n",
            "my.yaml:1: prompt_tokens.lognormal.high: low, median and high must ascend, got 1, 9 and 5",
        ),
        (
            VALID + "shared_prefix_tokens: 100\n",
            "my.yaml:3: shared_prefix_tokens: must be less than the shortest prompt",
        ),
        (VALID + "requests: lots\nconcurrency: 0\n", "my.yaml:3: requests: must be a whole number, got 'lots'"),
        (VALID + "prompt_tokens: 3\n", "my.yaml:3: prompt_tokens: given twice, first in line 1"),
        ("", "my.yaml:1: expected keys and values"),
        ("- 1\n", "my.yaml:1: expected keys and values"),
        (VALID + "name: [\n", "my.yaml:4: not valid YAML:"),
        (VALID + "name: a: b\n", "my.yaml:3: not valid YAML: mapping values are not allowed here"),
        (VALID + "name: \x07\n", "my.yaml:1: not valid YAML: unacceptable character"),
    ],
)
def test_a_fault_is_one_line_with_its_place_and_key(tmp_path: Path, content: str, message: str) -> None:
    said = fault(tmp_path, content)
    assert said.startswith(message)
    assert "\n" not in said


def test_an_unknown_scenario_gets_the_nearest_name_and_the_choices() -> None:
    with pytest.raises(UserError, match=r"'chta'; did you mean 'chat'\?; .* or a path to a YAML file"):
        load_scenario("chta")


@pytest.mark.parametrize(("file", "reason"), [("absent.yaml", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_named_with_the_reason(tmp_path: Path, file: str, reason: str) -> None:
    with pytest.raises(UserError, match=rf"--scenario: .* cannot be read: {reason}"):
        load_scenario(str(tmp_path / file))


def test_bytes_that_are_no_text_are_a_user_error(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="not UTF-8 text"):
        load_scenario(str(tmp_path / "my.yaml"))


def test_lengths_given_by_the_user_replace_the_scenarios() -> None:
    chat = load_scenario("chat")
    changed = with_lengths(chat, 64, None)
    assert changed.prompt_tokens == Lengths("fixed", 64, 64)
    assert changed.output_tokens == chat.output_tokens
    assert with_lengths(chat, None, None) == chat


@pytest.mark.parametrize(
    ("prompt_tokens", "output_tokens", "message"),
    [
        (0, None, "--prompt-tokens: must be from 1 to 2000000, got 0"),
        (None, 2_000_001, "--output-tokens: must be from 1"),
        (1500, None, "--prompt-tokens: must be more than the 1500 tokens of shared prefix .* the nearest is 1501"),
    ],
)
def test_impossible_lengths_are_refused(prompt_tokens: int | None, output_tokens: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        with_lengths(load_scenario("rag"), prompt_tokens, output_tokens)


MIX = """
classes:
  chat:
    weight: 3
    prompt_tokens: {uniform: [700, 900]}
    output_tokens: 16
    shared_prefix_tokens: 100
    prefixes: [{tokens: 50, groups: 20}, {tokens: 60, groups: 5, zipf: 0.5}]
    adapters: {a: 5, b: 1}
    temperature: 0.7
    thinking: off
    slo: ["ttft_ms:p90<500"]
  batch:
    prompt_tokens: 3000
    output_tokens: 32
    temperature: server
concurrency: 4
"""


def test_a_mix_has_classes_with_what_is_their_own(tmp_path: Path) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(MIX)
    found = load_scenario(str(path))
    chat, batch = found.classes
    assert (found.name, found.concurrency) == ("two", 4)
    assert (found.prompt_tokens.low, found.prompt_tokens.high, found.output_tokens.high) == (700, 3000, 32)
    assert (chat.name, chat.weight, batch.weight) == ("chat", 3, 1)
    assert chat.prefixes == (Prefixes(50, 20, 1.0), Prefixes(60, 5, 0.5))
    assert dict(chat.adapters) == {"a": 5, "b": 1} and chat.slo == ("ttft_ms:p90<500",)
    assert chat.sampling == {"temperature": "0.7", "thinking": "off"} and batch.sampling == {"temperature": "server"}
    assert [part.prefix_tokens for part in found.parts] == [210, 0]
    with pytest.raises(UserError, match="--prompt-tokens: scenario 'two' has classes"):
        with_lengths(found, 100, None)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("weight: 3", "weight: 0"), "4: classes.chat.weight: must be more than 0"),
        (("weight: 3", "wieght: 3"), "4: classes.chat.wieght: unknown key; did you mean 'weight'?"),
        (("groups: 20", "groupes: 20"), "classes.chat.prefixes.0.groupes: unknown key; did you mean 'groups'?"),
        (("tokens: 50", "tokens: 5000"), "classes.chat.prefixes: must be less than the shortest prompt together"),
        (("weight: 3", "concurrency: 3"), "classes.chat: concurrency applies to all classes together"),
        (("concurrency: 4", "prompt_tokens: 4"), ": prompt_tokens: belongs to each class, below `classes`"),
        (("concurrency: 4", "slo: []"), ": slo: belongs to each class, below `classes`"),
        (("weight: 3", "weight: .nan"), "4: classes.chat.weight: must be a number, got nan"),
        (("a: 5", "a: -5"), "classes.chat.adapters.a: must be more than 0"),
    ],
)
def test_what_is_wrong_with_a_class_is_said_with_its_place(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    path = tmp_path / "two.yaml"
    path.write_text(MIX.replace(*change))
    with pytest.raises(UserError) as wrong:
        load_scenario(str(path))
    assert said in str(wrong.value) and "\n" not in str(wrong.value)


FORMS = st.one_of(
    st.integers(1, 10**6).map(str),
    st.integers(1, 900).map("{}k".format),
    st.integers(1, 9).map("{}e2".format),
    st.integers(1000, 99_999).map("{:,}".format),
    st.integers(1, 90).map("{}00%".format),
    st.sampled_from(["2m", "1_000", "20.0", "0.5", "70%", "x", "-3", "", "true", "1,4", "inf", "nan"]),
)
LINES = ["requests: {}", "prompt_tokens: {}", "prompt_tokens: {{uniform: [{}, {}]}}", "top_p: {}"]


@settings(max_examples=100, deadline=None)
@given(FORMS, st.sampled_from(LINES))
def test_a_number_of_a_file_is_read_as_one_of_the_command_line(text: str, line: str) -> None:
    key, named = line.partition(":")[0], numeric.whole(text)
    other = "" if key == "prompt_tokens" else "prompt_tokens: 8\n"
    quoted = json.dumps(text) if "," in text or not text else text
    with TemporaryDirectory() as folder:
        path = Path(folder, "my.yaml")
        path.write_text(f"{other}output_tokens: 1\n{line.format(quoted, quoted)}\n")
        try:
            found = load_scenario(str(path))
        except UserError as problem:
            assert f": {key}: " in str(problem) or f": {key}." in str(problem)
            accepted = None
        else:
            accepted = {"requests": found.requests, "prompt_tokens": found.prompt_tokens.low, "top_p": found.top_p}[key]
    if key == "top_p":
        part = numeric.read(text)
        assert accepted == (float(part) if part is not None and 0 < part <= 1 else None)
    else:
        low_enough = named is not None and 1 <= named <= (MAX_TOKENS if key == "prompt_tokens" else 10**9)
        assert accepted == (named if low_enough else None)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *(place for key, each in inner for place in places(each, (*at, key)))]


KEYS = ["prompt_tokens", "slo", "weight", "classes", "uniform", "low", "groups", "requests", "documents", "turns"]
VALUES = st.one_of(
    st.none(), st.booleans(), st.floats(), st.integers(-2, 10**7), st.text(max_size=3),
    st.lists(st.integers(0, 9), max_size=3), st.dictionaries(st.sampled_from(KEYS), st.integers(0, 9), max_size=2),
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_whatever_stands_anywhere_in_a_file_is_taken_or_refused_in_our_own_words(data: st.DataObject) -> None:
    file = yaml.safe_load(data.draw(st.sampled_from([MIX, VALID, VALID + "turns: {uniform: [2, 3]}\n"])))
    *way, last = data.draw(st.sampled_from(places(file)[1:]))
    inner = reduce(getitem, way, file)
    value, key = data.draw(VALUES), data.draw(st.sampled_from(KEYS))
    if isinstance(inner, dict) and data.draw(st.booleans()):
        inner[key] = value
    else:
        inner[last] = value
    with TemporaryDirectory() as folder:
        try:
            read(Path(folder), yaml.safe_dump(file))
        except UserError as error:
            said = str(error).removeprefix(folder)
            assert "\n" not in said and "Input should" not in said
            unknown, _, offered = said.partition(": unknown key; did you mean ")
            assert not offered or offered != f"{unknown.rpartition('.')[2].rpartition(' ')[2]!r}?"
            assert "[low, high]" not in said or "uniform" in said
