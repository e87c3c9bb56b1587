"""A model's own tokenizer and chat template from a local folder, if the server should not or cannot count.

One tokenizer for several servers makes one plan for all of them: the same texts, whatever each of them counts.
"""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn

from jinja2 import TemplateError, TemplateSyntaxError, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment

from bench.types import Message, Render, UserError

TOKENIZER = "tokenizer.json"


class _Generation(Extension):
    """`{% generation %}`, which marks the answer for training: what is in it is written as it is."""

    tags = {"generation"}  # noqa: RUF012  (jinja's)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        """Render the block's content."""
        next(parser.stream)
        return parser.parse_statements(("name:endgeneration",), drop_needle=True)


def counter(path: Path) -> Callable[[tuple[Message, ...]], int]:
    """A function that counts the tokens of prompts, with the template of a folder, or of bare text without one.

    Raises UserError if there is no such tokenizer, or the package that reads it is not installed.
    """
    file = path / TOKENIZER if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"--tokenizer {path}: expected a {TOKENIZER} or a model's folder with one")
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise UserError("--tokenizer: needs the package tokenizers; pip install tokenizers") from None
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as problem:  # the package raises nothing narrower
        raise UserError(f"--tokenizer {file}: not a tokenizer: {problem}") from None
    render = _template(path) if path.is_dir() else _plain

    def count(messages: tuple[Message, ...]) -> int:
        try:
            return len(tokenizer.encode(render(messages), add_special_tokens=False).ids)
        except Exception as problem:  # a template is a program, and fails as one
            raise UserError(f"--tokenizer {path}: its chat template fails on this prompt: {problem}") from None

    return count


def template(path: Path) -> Render | None:
    """The chat template of a Hugging Face folder; None if it has none, or the path is not a folder."""
    render = _template(path) if path.is_dir() else _plain
    if render is _plain:
        return None

    def rendered(messages: tuple[Message, ...]) -> str | None:
        try:
            return render(messages)
        except Exception:  # a template is a program, and fails as one
            return None

    return rendered


def _plain(messages: tuple[Message, ...]) -> str:
    return "\n".join(message.text for message in messages)


def _template(folder: Path) -> Callable[[tuple[Message, ...]], str]:
    """The folder's chat template as a function, as the transformers library would apply it."""
    config = _config(folder)
    source = config.get("chat_template")
    if (file := folder / "chat_template.jinja").exists():
        source = file.read_text(encoding="utf-8", errors="replace")
    if isinstance(source, list):
        named = {entry.get("name"): entry.get("template") for entry in source if isinstance(entry, dict)}
        source = named.get("default")
    if source is None:
        return _plain
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols, _Generation]
    )
    environment.globals |= {"raise_exception": _refuse, "strftime_now": lambda form: datetime.now().strftime(form)}
    environment.filters["tojson"] = _json
    try:
        template = environment.from_string(str(source))
    except TemplateSyntaxError as problem:
        raise UserError(f"--tokenizer {folder}: its chat template cannot be read: {problem}") from None
    specials = {name: _text(config[name]) for name in ("bos_token", "eos_token") if config.get(name)}

    def render(messages: tuple[Message, ...]) -> str:
        turns = [{"role": message.role, "content": message.text} for message in messages]
        return template.render(messages=turns, add_generation_prompt=True, **specials)

    return render


def _config(folder: Path) -> dict[str, Any]:
    file = folder / "tokenizer_config.json"
    try:
        config = json.loads(file.read_bytes()) if file.exists() else {}
    except (ValueError, RecursionError) as problem:
        raise UserError(f"--tokenizer {file}: not JSON: {problem}") from None
    if not isinstance(config, dict):
        raise UserError(f"--tokenizer {file}: expected an object, found {type(config).__name__}")
    return config


def _text(token: Any) -> str:
    """A special token, which older files write as an object."""
    return str(token.get("content", "") if isinstance(token, dict) else token)


def _json(value: Any, indent: int | None = None) -> str:
    """As the transformers library writes it: letters as they are, and nothing made safe for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _refuse(reason: str) -> NoReturn:
    raise TemplateError(reason)
