"""The settings file (TOML): options by flag name, for all commands, for one command, and in profiles.

    backend = "vllm"
    slo = ["ttft_ms:p99<500"]

    [capacity]
    precision = "2%"

    [profiles.nightly]
    requests = 2000

The more specific setting wins: a profile over settings outside profiles, and within each the command's table over those
for all commands. Secrets are refused.
"""

import json
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench.app import address
from bench.suggest import did_you_mean
from bench.types import UserError

PROFILES: Final = "profiles"
_SECRET_NAME: Final = re.compile(
    r"(?:^|[-_.])(?:api-?key|key|token|secret|passw\w*|credentials?|authorization|cookie|signature)$", re.IGNORECASE
)
_FLAG: Final = re.compile(r"--?([\w.-]+)[=\s]\s*(\S+)")
_BY_VARIABLE: Final = "secrets come from an environment variable, never from this file"


class OptionKind(NamedTuple):
    """What an option of a command takes: nothing (a flag), one value, several, or JSON.

    `own`: the option means something else in this command than elsewhere, so only the command's own table sets it.
    """

    is_flag: bool = False
    several: bool = False
    is_json: bool = False
    own: bool = False


class FromFile(NamedTuple):
    """A value as an option takes it, where in the file it stands, and whether that is a profile."""

    value: Any
    source: str
    in_profile: bool


def read(
    path: Path, profile: str | None, command: str, kinds: Mapping[str, Mapping[str, OptionKind]]
) -> dict[str, FromFile]:
    """The settings of a command, by flag name; `kinds` has the options of every command that reads settings.

    Raises UserError, in a line without secrets, for an unknown option and an unknown profile.
    """
    try:
        content = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as problem:
        raise UserError(f"--config {path}: {problem.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise UserError(f"--config {path}: expected TOML: {problem}") from None
    _refuse_secrets(content, str(path), kinds)
    profiles = content.pop(PROFILES, {})
    if not isinstance(profiles, dict) or not all(isinstance(each, dict) for each in profiles.values()):
        raise UserError(f"{path}: expected tables [{PROFILES}.NAME] with options")
    found = dict(_of_layer(content, str(path), command, kinds, in_profile=False))
    if profile is not None:
        if profile not in profiles:
            known = ", ".join(profiles) or "none"
            raise UserError(f"--profile {profile!r}: {path} has {known}{did_you_mean(profile, profiles)}")
        where = f"{path} [{PROFILES}.{profile}]"
        found |= _of_layer(profiles[profile], where, command, kinds, in_profile=True)
    return found


def _of_layer(
    layer: Mapping[str, Any],
    where: str,
    command: str,
    kinds: Mapping[str, Mapping[str, OptionKind]],
    *,
    in_profile: bool,
) -> Iterator[tuple[str, FromFile]]:
    """The settings for all commands that this command knows, then those of its own table."""
    for_all = {name for options in kinds.values() for name in options}
    for key, value in layer.items():
        if key not in kinds:
            name = _known(key, (*for_all, *kinds), where, "any command")
            if name in kinds[command] and not kinds[command][name].own:
                yield name, FromFile(_value(value, kinds[command][name], f"{where}: {key}"), where, in_profile)
    own, table = layer.get(command, {}), f"{where} [{command}]"
    if not isinstance(own, dict):
        raise UserError(f"{where}: expected a table [{command}] with options")
    for key, value in own.items():
        name = _known(key, kinds[command], table, command)
        yield name, FromFile(_value(value, kinds[command][name], f"{table}: {key}"), table, in_profile)


def _known(key: str, names: Collection[str], where: str, what: str) -> str:
    name = key.replace("_", "-")
    if name not in names:
        if address.NAMES_A_SECRET.search(name):
            raise UserError(f"{where}: {key} is not an option; {_BY_VARIABLE}, such as OPENAI_API_KEY")
        raise UserError(f"{where}: {key} is not an option of {what}{did_you_mean(name, names)}")
    return name


def _value(value: Any, kind: OptionKind, which: str) -> Any:
    if kind.is_flag:
        if not isinstance(value, bool):
            raise UserError(f"{which}: expected true or false, got {value!r}")
        return value
    if kind.is_json and isinstance(value, dict | list):
        return json.dumps(value)
    if kind.several:
        return [_text(each, which) for each in (value if isinstance(value, list) else [value])]
    return _text(value, which)


def _text(value: Any, which: str) -> str:
    if isinstance(value, dict | list):
        raise UserError(f"{which}: expected one value, got {'a table' if isinstance(value, dict) else 'a list'}")
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def _refuse_secrets(content: Mapping[str, Any], where: str, commands: Collection[str]) -> None:
    """Raise UserError, which does not show it, for a secret anywhere in the file."""
    for key, value in content.items():
        if isinstance(value, dict) and (key == PROFILES or key in commands or where.endswith(f"[{PROFILES}]")):
            _refuse_secrets(value, f"{where} [{key}]", commands)
        elif _holds_a_secret(key, value):
            raise UserError(f"{where}: {key}: {_BY_VARIABLE}; write $NAME of a variable instead")


def _holds_a_secret(key: str, value: Any) -> bool:
    if isinstance(value, dict):
        return any(_is_secret(name, inner) or _holds_a_secret(name, inner) for name, inner in value.items())
    texts = list(map(str, value if isinstance(value, list) else [value]))
    named = [text.partition(":")[::2] for text in texts] if key == "header" else _FLAG.findall(" ".join(texts))
    return (
        any(_is_secret(name, inner) for name, inner in named)
        or any(address.PREFIXED_KEY.search(text) for text in texts)
        or (key == "url" and bool(address.secrets_typed(texts[0], ())))
    )


def _is_secret(name: str, value: Any) -> bool:
    literal = isinstance(value, str) and value.strip() and not address.VARIABLE.search(value)
    return bool(literal and _SECRET_NAME.search(name.strip()))
