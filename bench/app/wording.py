"""How requests are worded: the user's options are checked here and become `Target.options`."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import orjson

from backends.dialect.adapting import WHAT_IS_LOST
from backends.dialect.outgoing import SERVERS_OWN
from bench.app import address
from bench.app.options import RunOptions, flag_of
from bench.numeric import read, whole
from bench.plan import tokenizer as tokenizers
from bench.suggest import did_you_mean
from bench.types import Backend, Call, Scenario, Target, UserError
from scenarios import MAX_TEMPERATURE

CHOICES: Final = (
    *("dialect", "adapter", "thinking", "cache_ttl", "service_tier"),
    *("temperature", "top_p", "seed_requests", "route"),
)
"""The options about wording, for backends that offer a choice."""

MOST_BODY_BYTES: Final = 1 << 20

_FREE: Final = {"<name>": r"\S+", "<number>": r"\d{1,6}"}
_RANGES: Final = {"<temperature>": (0.0, MAX_TEMPERATURE), "<share>": (0.001, 1.0)}
# Fields that define the load have a flag or a place of their own, under whatever name a dialect gives them.
_DECIDED_BY: Final = {
    "model": "--model",
    **dict.fromkeys(("messages", "prompt", "input", "inputs", "system"), "--scenario"),
    **dict.fromkeys(
        ("max_tokens", "max_completion_tokens", "max_new_tokens", "max_output_tokens", "n_predict"), "--output-tokens"
    ),
    **dict.fromkeys(("temperature", "do_sample"), "--temperature"),
    "top_p": "--top-p",
    "seed": "--seed-requests",
    "thinking": "--thinking",
    "adapter_id": "--adapter",
    "service_tier": "--service-tier",
}
_FIXED: Final = {"stream": "set by --no-stream", "n": "only one answer per request is measured", "best_of": "same as n"}
_EXPECTED: Final = "JSON such as '{\"top_k\": 40}', or a file with it"
_SECRET_FIELD: Final = re.compile(
    r"key|secret|passw|auth|credential|cookie|signature|(?:^|access|api|id|refresh|session)_?token$", re.IGNORECASE
)


def choices(backend: Backend, scenario: Scenario, options: RunOptions) -> dict[str, str]:
    """What was chosen among the backend's choices; the scenario supplies defaults."""
    chosen = _of_scenario(backend, scenario)
    for name in CHOICES:
        if (value := getattr(options, name)) is not None:
            chosen[name] = _choice(backend, name, str(value))
    if options.no_stream:
        chosen["stream"] = _choice(backend, "stream", "off")
    return chosen


def of_classes(backend: Backend, scenario: Scenario, options: RunOptions) -> dict[str, dict[str, str]]:
    """What the classes of a mix choose, unless the user does; checks the adapters of all."""
    if scenario.adapter_names and options.adapter is not None:
        raise UserError(f"--adapter: scenario {scenario.name!r} has adapters of its own; leave it out")
    for name in scenario.adapter_names:
        _choice(backend, "adapter", name)
    return {
        each.name: {
            name: _choice(backend, name, value)
            for name, value in each.sampling.items()
            if getattr(options, name) is None
        }
        for each in scenario.classes
        if each.sampling
    }


def _of_scenario(backend: Backend, scenario: Scenario) -> dict[str, str]:
    """Whether the model thinks, and the temperature: recorded in run.json whoever chose them."""
    chosen = {}
    if scenario.thinking is not None and "thinking" in backend.options:
        chosen["thinking"] = "on" if scenario.thinking else "off"
    if known := backend.options.get("temperature"):
        of_server = scenario.temperature is None or known[0] == SERVERS_OWN
        chosen["temperature"] = SERVERS_OWN if of_server else f"{scenario.temperature:.12g}"
    if scenario.top_p is not None and "top_p" in backend.options:
        chosen["top_p"] = f"{scenario.top_p:.12g}"
    return chosen


def _choice(backend: Backend, name: str, value: str) -> str:
    flag, known = flag_of(name), backend.options.get(name)
    if known is None:
        raise UserError(f"{flag}: not supported by backend {backend.name}; leave it out")
    words = [word for word in known if not word.startswith("<")]
    if value in words or any(re.fullmatch(_FREE[word], value) for word in known if word in _FREE):
        return value
    if "<tokens>" in known and (tokens := whole(value)):
        return str(tokens)
    number, expected = read(value), [word for word in known if word != "0"]
    for place, word in enumerate(expected):
        if word in _RANGES:
            low, high = _RANGES[word]
            if number is not None and low <= number <= high:
                return f"{float(number):.12g}"
            expected[place] = f"a number from {low:g} to {high:g}"
    raise UserError(f"{flag}: expected {' or '.join(expected)}, got {value!r}{did_you_mean(value, words)}")


def frame(backend: Backend, tokenizer: Path | None) -> dict[str, str]:
    """The files of the tokenizer's folder needed by a backend that applies the chat template to prompts itself."""
    if tokenizer is None or backend.frame is None:
        return {}
    render = tokenizers.template(tokenizer)
    found = backend.frame(render) if render else None
    return {"frame": found} if found else {}


def structure(backend: Backend, options: RunOptions) -> dict[str, str]:
    """Tools and the response format, as OpenAI's chat has them; UserError if the dialect has no such field."""
    found: dict[str, Any] = {}
    if options.tools is not None:
        found["tools"] = [_tool(tool) for tool in _list_of_tools(options.tools)]
    if options.response_format is not None:
        found["response_format"] = _response_format(options.response_format)
    for name in found:
        _check_chat(backend, options, name)
    if backend.name == "claude" and found.get("response_format", {}).get("type") == "json_object":
        raise UserError("--response-format json_object: expected a JSON schema; the Messages API has no other format")
    return {name: _encoded(flag_of(name), value) for name, value in found.items()}


def check_images(backend: Backend, options: RunOptions) -> None:
    """Raise UserError if images are asked for and requests cannot carry any."""
    if options.images is not None:
        _check_chat(backend, options, "images")


def _check_chat(backend: Backend, options: RunOptions, name: str) -> None:
    """Raise UserError if prompts are plain text, which has no place for what an option asks for."""
    bare = options.route == "completions" or (backend.name == "tgi" and options.dialect != "chat")
    if bare or "tools" not in backend.options:
        raise UserError(f"{flag_of(name)}: needs a chat route, the Responses API or the Messages API; leave it out")


def _list_of_tools(given: str) -> list[Any]:
    value = _json("--tools", given)
    tools = value.get("tools", [value]) if isinstance(value, dict) else value
    if not isinstance(tools, list) or not tools:
        raise UserError("--tools: expected a list of functions, as OpenAI's or Anthropic's API takes them")
    return tools


def _tool(tool: Any) -> dict[str, Any]:
    """A function in any of three shapes: OpenAI's chat, its Responses API, Anthropic's."""
    function = tool.get("function", tool) if isinstance(tool, dict) else None
    if not isinstance(function, dict) or not isinstance(function.get("name"), str):
        raise UserError("--tools: expected functions with a name, as OpenAI's or Anthropic's API takes them")
    schema = function.get("parameters", function.get("input_schema"))
    kept = {name: function[name] for name in ("name", "description", "strict") if name in function}
    return {"type": "function", "function": kept | ({} if schema is None else {"parameters": schema})}


def _response_format(given: str) -> dict[str, Any]:
    """OpenAI's response_format, or a bare JSON schema."""
    if given == "json_object":
        return {"type": given}
    value = _json("--response-format", given)
    if isinstance(value, dict) and value.get("type") == "json_object":
        return value
    if isinstance(value, dict) and isinstance(value.get("json_schema"), dict):
        return {"type": "json_schema", "json_schema": {"name": "answer", **value["json_schema"]}}
    if isinstance(value, dict) and {"type", "properties", "$schema", "anyOf", "$ref"} & value.keys():
        return {"type": "json_schema", "json_schema": {"name": "answer", "schema": value}}
    raise UserError("--response-format: expected json_object, a JSON schema, or OpenAI's response_format")


def tokenizer_of(backend: Backend, path: Path | None) -> dict[str, str]:
    """The tokenizer file that counts answers for a backend that does not: a program reports no token counts."""
    if path is None or backend.name != "exec":
        return {}
    file = path / tokenizers.TOKENIZER if path.is_dir() else path
    return {"tokenizer": str(file.absolute())}


# --- fields of the user's own -----------------------------------------------------------------------------------


def own_fields(backend: Backend, options: RunOptions) -> tuple[dict[str, str], tuple[str, ...]]:
    """The user's own fields, which go with every request, as options of the target; and which of them are secret.

    Raises UserError, which shows no value. Variables ($NAME) are expanded and secret, as in a header.
    """
    fields: dict[str, Any] = {}
    hidden: list[str] = []
    if options.extra_body is not None:
        if "extra_body" not in backend.options:
            raise UserError(f"--extra-body: not supported by backend {backend.name}; leave it out")
        fields = _filled(_object("--extra-body", options.extra_body), hidden)
        _check_own(fields, options)
    asked = {name for name in ("temperature", "top_p") if getattr(options, name) is not None}
    asked |= {name for name in ("tools", "response_format") if getattr(options, name) is not None}
    asked |= {"seed"} if options.seed_requests == "on" else set()
    added = {"asked_for": " ".join(sorted(asked | set(fields)))} if asked or fields else {}
    if fields:
        added["extra_body"] = _encoded("--extra-body", fields)
    return added, address.long_enough(hidden)


def _encoded(flag: str, fields: Any) -> str:
    try:
        return orjson.dumps(fields).decode()
    except TypeError:
        raise UserError(f"{flag}: has a number or text that JSON cannot represent; leave it out") from None


def _object(flag: str, given: str) -> dict[str, Any]:
    value = _json(flag, given)
    if not isinstance(value, dict):
        raise UserError(f"{flag}: expected {_EXPECTED}, got a {type(value).__name__}")
    return value


def _json(flag: str, given: str) -> Any:
    """JSON, given directly or by the name of its file."""
    inline = given.lstrip().startswith(("{", "["))
    where = flag if inline else f"{flag} {given}"
    text = given if inline else _file(flag, given)
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise UserError(f"{where}: is nested too deep") from None
    except ValueError as problem:
        at = f" (line {problem.lineno}, column {problem.colno})" if isinstance(problem, json.JSONDecodeError) else ""
        raise UserError(f"{where}: expected {_EXPECTED}{at}") from None


def _no_number(name: str) -> None:
    raise ValueError(name)


def _file(flag: str, given: str) -> str:
    path = Path(given)
    try:
        size = path.stat().st_size
        if size > MOST_BODY_BYTES:
            raise UserError(f"{flag} {given}: has {size:,} bytes, expected at most {MOST_BODY_BYTES:,}")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "not UTF-8 text"
        raise UserError(f"{flag} {given[:80]}: expected {_EXPECTED}; reading it as a file failed ({reason})") from None


def _filled(value: Any, hidden: list[str], name: str = "", *, secret: bool = False) -> Any:
    """The value with its variables expanded; what is secret in it is added to `hidden`.

    Everything below a field whose name looks like a secret is secret.
    """
    if isinstance(value, dict):
        return {
            key: _filled(one, hidden, key, secret=secret or bool(_SECRET_FIELD.search(key)))
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [_filled(one, hidden, name, secret=secret) for one in value]
    whole = value
    if isinstance(value, str):
        # A dollar sign inside a text is literal: regular expressions and JSON schemas have them.
        if address.VARIABLE.fullmatch(value):
            whole, variables = address.expanded(f"--extra-body {name!r}", value)
            hidden += variables
        hidden += address.like_keys(whole)
    if secret:
        hidden.append(str(whole))
    return whole


def _check_own(fields: Mapping[str, Any], options: RunOptions) -> None:
    """Raise UserError for fields that would break the load, or that have a flag of their own."""
    nested = fields.get("parameters")
    for name in (*fields, *(nested if isinstance(nested, dict) else ())):
        if name in _FIXED:
            raise UserError(f"--extra-body {name!r}: {_FIXED[name]}; leave it out")
        if name in _DECIDED_BY:
            raise UserError(f"--extra-body {name!r}: is set by {_DECIDED_BY[name]}; leave it out here")
        if name in ("tools", "response_format") and getattr(options, name) is not None:
            raise UserError(f"--extra-body {name!r}: is also set by {flag_of(name)}; leave out one of the two")


def replaced(backend: Backend, call: Call, target: Target) -> Iterator[str]:
    """Report which of our fields the user's replace, and what is lost with them."""
    if "extra_body" not in target.options:
        return
    without = {name: value for name, value in target.options.items() if name != "extra_body"}
    targets = replace(target, options=without), target
    for name in _different(*(json.loads(backend.request(call, each).body) for each in targets)):
        lost = f" ({WHAT_IS_LOST[name]})" if name in WHAT_IS_LOST else ""
        yield f"--extra-body replaces this tool's own {name}{lost}"


def _different(ours: Any, sent: Any) -> Iterator[str]:
    for name, value in ours.items():
        if value == sent[name]:
            continue
        if isinstance(value, dict) and isinstance(sent[name], dict):
            yield from _different(value, sent[name])
        else:
            yield name
