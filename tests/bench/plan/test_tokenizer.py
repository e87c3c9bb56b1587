import json
import shutil
import sys
from pathlib import Path

import pytest

from bench.plan.tokenizer import counter, template
from bench.server.tinymodel import build
from bench.types import Message, UserError

PROMPT = (Message("system", "take the house"), Message("user", "take a walk"))


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("tiny", tmp_path_factory.mktemp("models")).hf


@pytest.fixture
def folder(tiny: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model's folder, to be changed."""
    shutil.copytree(tiny, tmp_path / "model")
    return tmp_path / "model"


def configure(folder: Path, **changes: object) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_folder_counts_the_words_and_what_its_template_adds(tiny: Path) -> None:
    # The tiny model's template costs two tokens a message and one for the answer; the server agrees, see test_prompts.
    assert counter(tiny)(PROMPT) == 3 + 3 + 2 * 2 + 1
    assert counter(tiny)(PROMPT[1:]) == 3 + 2 + 1


def test_a_bare_file_counts_the_texts_alone(tiny: Path, folder: Path) -> None:
    text = (Message("user", " take a walk"),)
    assert counter(tiny / "tokenizer.json")(text) == 3
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    configure(folder, chat_template=None)
    assert counter(folder)(text) == 3


def test_every_way_to_keep_a_template_is_read(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    one_word = "{{ bos_token }} {{ 'walk' }}"
    configure(folder, chat_template=[{"name": "default", "template": one_word}], bos_token={"content": " take"})
    assert counter(folder)(PROMPT) == 2
    (folder / "chat_template.jinja").write_text(" walk" * 5)
    assert counter(folder)(PROMPT) == 5


def test_a_template_that_refuses_the_prompt_says_so(folder: Path) -> None:
    (folder / "chat_template.jinja").write_text("{{ raise_exception('no system role') }}")
    with pytest.raises(UserError, match=r"--tokenizer .*fails on this prompt: no system role"):
        counter(folder)(PROMPT)


def test_what_is_no_tokenizer_is_the_users_error(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match=r"--tokenizer .*nowhere: expected a tokenizer.json or"):
        counter(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"--tokenizer .*model: expected|expected a tokenizer.json"):
        counter(tmp_path)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(UserError, match=r"--tokenizer .*tokenizer.json: not a tokenizer"):
        counter(folder)


def test_a_broken_configuration_is_the_users_error(folder: Path) -> None:
    (folder / "tokenizer_config.json").write_text("{")
    with pytest.raises(UserError, match=r"tokenizer_config.json: not JSON"):
        counter(folder)


def test_a_missing_package_is_named(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(UserError, match="pip install tokenizers"):
        counter(tiny)


def test_a_folders_template_is_to_be_had_as_text_and_none_where_it_refuses(tmp_path: Path) -> None:
    config = {"chat_template": "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no') }}"
              "{% endif %}<{{ m.content }}>{% endfor %}"}  # fmt: skip
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    render = template(tmp_path)
    assert render is not None
    assert render((Message("user", "hi"),)) == "<hi>"
    assert render((Message("system", "be"), Message("user", "hi"))) is None


def test_without_a_folder_or_a_template_in_it_there_is_none(tmp_path: Path) -> None:
    assert template(tmp_path) is None
    assert template(tmp_path / "tokenizer.json") is None


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{% generation %} walk walk{% endgeneration %} walk", 3),
        ("{% for message in messages %} walk{% if loop.first %}{% break %}{% endif %}{% endfor %}", 1),
        ("{% for message in messages %}{% if loop.first %}{% continue %}{% endif %} walk{% endfor %}", 1),
        ("{% set day = strftime_now('%Y') %}{{ day[:0] }} walk", 1),
        ("{{ (messages | tojson(indent=4))[:0] }} walk", 1),
    ],
)
def test_what_templates_use_beside_plain_jinja_is_known(source: str, words: int, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(source)
    assert counter(folder)(PROMPT) == words


@pytest.mark.parametrize("source", ["{% nothing %}", "{% for %}", "{{ 'x' ", "{% generation %} walk"])
def test_a_template_that_is_none_says_so(source: str, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(source)
    with pytest.raises(UserError, match=r"--tokenizer .*its chat template cannot be read: "):
        counter(folder)
    with pytest.raises(UserError, match=r"--tokenizer .*its chat template cannot be read: "):
        template(folder)


@pytest.mark.parametrize(
    "source", ["{{ 1 + messages }}", "{{ 1 // 0 }}", "{{ messages.x.y }}", "{{ messages[0].role.x.y }}"]
)
def test_a_template_that_fails_does_not_take_the_prompt(source: str, folder: Path) -> None:
    (folder / "chat_template.jinja").write_text(source)
    with pytest.raises(UserError, match="fails on this prompt"):
        counter(folder)(PROMPT)
    render = template(folder)
    assert render is not None and render(PROMPT) is None
