"""A model's own tokenizer and chat template from a local folder, for when the server is not to count, or cannot.

One tokenizer for several servers makes one plan for all of them: the same texts, whatever each of them counts.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bench.types import Message, Render, UserError

TOKENIZER = "tokenizer.json"


def counter(path: Path) -> Callable[[tuple[Message, ...]], int]:
    """Count the tokens of prompts, template included, by a Hugging Face folder, or of bare text by its tokenizer.json.

    Raises UserError when there is no such tokenizer or the package that reads it is not installed.
    """
    file = path / TOKENIZER if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"--tokenizer {path}: expected a {TOKENIZER} or a model's folder with one")
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise UserError("--tokenizer needs the package tokenizers: pip install tokenizers") from None
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as problem:  # the package raises nothing narrower
        raise UserError(f"--tokenizer {file}: not a tokenizer: {problem}") from None
    render = _template(path) if path.is_dir() else _plain

    def count(messages: tuple[Message, ...]) -> int:
        try:
            return len(tokenizer.encode(render(messages), add_special_tokens=False).ids)
        except TemplateError as problem:
            raise UserError(f"--tokenizer {path}: its chat template does not take this prompt: {problem}") from None

    return count


def template(path: Path) -> Render | None:
    """Give the chat template of a Hugging Face folder; None where the path is no folder or has none."""
    render = _template(path) if path.is_dir() else _plain
    if render is _plain:
        return None

    def rendered(messages: tuple[Message, ...]) -> str | None:
        try:
            return render(messages)
        except TemplateError:
            return None

    return rendered


def _plain(messages: tuple[Message, ...]) -> str:
    return "\n".join(message.text for message in messages)


def _template(folder: Path) -> Callable[[tuple[Message, ...]], str]:
    """The folder's chat template as a function, as the transformers library would apply it."""
    config = _config(folder)
    source = config.get("chat_template")
    if (file := folder / "chat_template.jinja").exists():
        source = file.read_text()
    if isinstance(source, list):
        source = next((entry["template"] for entry in source if entry["name"] == "default"), None)
    if source is None:
        return _plain
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = _refuse
    template = environment.from_string(source)
    specials = {name: _text(config[name]) for name in ("bos_token", "eos_token") if config.get(name)}

    def render(messages: tuple[Message, ...]) -> str:
        turns = [{"role": message.role, "content": message.text} for message in messages]
        return template.render(messages=turns, add_generation_prompt=True, **specials)

    return render


def _config(folder: Path) -> dict[str, Any]:
    file = folder / "tokenizer_config.json"
    try:
        config: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    except ValueError as problem:
        raise UserError(f"--tokenizer {file}: not JSON: {problem}") from None
    return config


def _text(token: Any) -> str:
    """A special token, which older files write as an object."""
    return str(token["content"] if isinstance(token, dict) else token)


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(reason)
