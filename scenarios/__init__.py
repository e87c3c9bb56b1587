"""Workloads, one YAML file each, and the loader; a new one is a file and no code."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from bench.suggest import did_you_mean
from bench.types import Lengths, Scenario, Turns, UserError
from scenarios.sessions import MAX_TURNS, added_tokens, parse_pause, pause_text

MAX_TOKENS = 2_000_000
MAX_TEMPERATURE = 100

Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Location = tuple[str, ...]
_OF_SESSIONS = {"turn_tokens", "think_time", "history", "window", "when_full", "sessions", "warmup_sessions"}


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _Lognormal(_Strict):
    median: Tokens
    sigma: Annotated[float, Field(gt=0, le=3)]
    low: Tokens
    high: Tokens

    @field_validator("high")
    @classmethod
    def _ordered(cls, high: int, info: ValidationInfo) -> int:
        low, median = info.data.get("low", 1), info.data.get("median", high)
        if not low <= median <= high:
            raise ValueError(f"low, median and high must ascend, got {low}, {median} and {high}")
        return high


class _Lengths(_Strict):
    fixed: Tokens | None = None
    uniform: Annotated[list[Tokens], Field(min_length=2, max_length=2)] | None = None
    lognormal: _Lognormal | None = None

    @field_validator("uniform")
    @classmethod
    def _ascending(cls, bounds: list[int] | None) -> list[int] | None:
        if bounds and bounds[0] > bounds[1]:
            raise ValueError(f"must be [low, high], got {bounds}")
        return bounds

    @model_validator(mode="before")
    @classmethod
    def _number_is_fixed(cls, value: Any) -> Any:
        return {"fixed": value} if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if len(self.model_fields_set) != 1:
            raise ValueError("must be a number, or one of {uniform: [low, high]} and {lognormal: {…}}")
        return self

    def lengths(self) -> Lengths:
        if self.lognormal:
            shape = self.lognormal
            return Lengths("lognormal", shape.low, shape.high, shape.median, shape.sigma)
        if self.uniform:
            return Lengths("uniform", *self.uniform)
        assert self.fixed
        return Lengths("fixed", self.fixed, self.fixed)


class _File(_Strict):
    """The keys of a scenario file."""

    name: str = ""
    description: str = ""
    prompt_tokens: _Lengths
    output_tokens: _Lengths
    shared_prefix_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)] = 0
    concurrency: Annotated[int, Field(ge=1)] = 8
    requests: Annotated[int, Field(ge=1)] = 200
    warmup_requests: Annotated[int, Field(ge=0)] = 16
    thinking: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=MAX_TEMPERATURE)] | None = 0.0
    turns: _Lengths | None = None
    turn_tokens: _Lengths | None = None
    think_time: str = "0"
    history: Literal["actual", "planned"] = "actual"
    window: Tokens | None = None
    when_full: Literal["drop", "stop"] = "drop"
    sessions: Annotated[int, Field(ge=1)] = 16
    warmup_sessions: Annotated[int, Field(ge=0)] = 0

    @field_validator("turns")
    @classmethod
    def _not_too_many(cls, turns: _Lengths | None) -> _Lengths | None:
        if turns and turns.lengths().high > MAX_TURNS:
            raise ValueError(f"must be at most {MAX_TURNS}, got {turns.lengths().high}")
        return turns

    @field_validator("think_time", mode="before")
    @classmethod
    def _is_a_pause(cls, value: Any) -> Any:
        text = pause_text(value)
        if isinstance(text, str):
            try:
                parse_pause(text, "think_time")
            except UserError as problem:
                raise ValueError(str(problem).removeprefix("think_time: ")) from None
        return text

    @model_validator(mode="after")
    def _belongs_to_sessions(self) -> Self:
        if self.turns is None and (of_none := sorted(_OF_SESSIONS & self.model_fields_set)):
            raise ValueError(f"{of_none[0]} is for sessions, and there are no turns")
        return self

    dataset: str | None = None
    dataset_output: Literal["file", "scenario"] | None = None

    @field_validator("temperature", mode="before")
    @classmethod
    def _or_the_servers(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "server":
            raise ValueError(f"must be a number or server, got {value!r}")
        return None if value == "server" else value

    @field_validator("shared_prefix_tokens")
    @classmethod
    def _fits_every_prompt(cls, prefix: int, info: ValidationInfo) -> int:
        prompt = info.data.get("prompt_tokens")
        if prompt and prefix >= prompt.lengths().low:
            raise ValueError(f"must be less than the shortest prompt, {prompt.lengths().low} tokens, got {prefix}")
        return prefix


def list_scenarios() -> list[Scenario]:
    """The bundled scenarios by name."""
    return [_read(path) for path in sorted(_bundled().values())]


def load_scenario(name_or_path: str) -> Scenario:
    """A bundled scenario by name, or any by the path of its YAML file; every fault is a UserError of one line."""
    bundled = _bundled()
    if name_or_path in bundled:
        return _read(bundled[name_or_path])
    path = Path(name_or_path)
    if path.exists() or path.suffix in (".yaml", ".yml"):
        return _read(path)
    raise UserError(
        f"--scenario: unknown scenario {name_or_path!r}{did_you_mean(name_or_path, bundled)}; "
        f"expected one of {', '.join(bundled)}, or a path to a YAML file"
    )


def with_lengths(scenario: Scenario, prompt_tokens: int | None, output_tokens: int | None) -> Scenario:
    """The scenario with fixed lengths instead of its own, where given."""
    for flag, tokens in (("--prompt-tokens", prompt_tokens), ("--output-tokens", output_tokens)):
        if tokens is not None and not 1 <= tokens <= MAX_TOKENS:
            raise UserError(f"{flag}: must be from 1 to {MAX_TOKENS}, got {tokens}")
    prefix = scenario.shared_prefix_tokens
    if prompt_tokens is not None and prompt_tokens <= prefix:
        raise UserError(
            f"--prompt-tokens: must be more than the {prefix} tokens of shared prefix of scenario {scenario.name!r}, "
            f"got {prompt_tokens}; the nearest is {prefix + 1}"
        )
    return replace(
        scenario,
        prompt_tokens=_fixed(prompt_tokens) if prompt_tokens else scenario.prompt_tokens,
        output_tokens=_fixed(output_tokens) if output_tokens else scenario.output_tokens,
    )


def _fixed(tokens: int) -> Lengths:
    return Lengths("fixed", tokens, tokens)


def _bundled() -> dict[str, Path]:
    return {path.stem: path for path in sorted(Path(__file__).parent.glob("*.yaml"))}


def _read(path: Path) -> Scenario:
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UserError(f"--scenario: {path} cannot be read: {reason}") from error
    data, lines = _parse(content, path)
    try:
        file = _File.model_validate(data)
    except ValidationError as error:
        raise UserError(_explain(error, path, lines)) from error
    scenario = Scenario(
        name=file.name or path.stem,
        description=file.description,
        prompt_tokens=file.prompt_tokens.lengths(),
        output_tokens=file.output_tokens.lengths(),
        shared_prefix_tokens=file.shared_prefix_tokens,
        concurrency=file.concurrency,
        requests=file.requests,
        warmup_requests=file.warmup_requests,
        thinking=file.thinking,
        temperature=file.temperature,
        dataset=None if file.dataset is None else str(path.parent / file.dataset),
        dataset_output=file.dataset_output,
    )
    if file.turns is None:
        return scenario
    turns = Turns(
        count=file.turns.lengths(),
        added_tokens=file.turn_tokens.lengths() if file.turn_tokens else added_tokens(scenario),
        pause=parse_pause(file.think_time, "think_time"),
        history=file.history,
        window_tokens=file.window,
        when_full=file.when_full,
        sessions=file.sessions,
        warmup_sessions=file.warmup_sessions,
    )
    return replace(scenario, turns=turns)


def _parse(content: str, path: Path) -> tuple[Any, dict[Location, int]]:
    """The YAML's data, and the line of every key in it."""
    try:
        loader = yaml.SafeLoader(content)
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise UserError(f"{path}:1: expected keys and values, such as prompt_tokens: 256")
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(f"{path}:{line}: not valid YAML: {error.problem}") from error
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{path}:1: not valid YAML: {' '.join(str(error).split())}") from error
    lines: dict[Location, int] = {}
    for at, line in _lines(node):
        if at in lines:
            raise UserError(f"{path}:{line}: {'.'.join(at)}: given twice, first in line {lines[at]}")
        lines[at] = line
    return data, lines


def _lines(node: yaml.Node, at: Location = ()) -> list[tuple[Location, int]]:
    if isinstance(node, yaml.MappingNode):
        children = [((*at, str(key.value)), key, value) for key, value in node.value]
    elif isinstance(node, yaml.SequenceNode):
        children = [((*at, str(i)), value, value) for i, value in enumerate(node.value)]
    else:
        return []
    found = [(here, key.start_mark.line + 1) for here, key, _ in children]
    return found + [line for here, _, value in children for line in _lines(value, here)]


def _explain(error: ValidationError, path: Path, lines: Mapping[Location, int]) -> str:
    """The first fault in the file's order, as `path:line: key: what is wrong`."""
    faults = []
    for fault in error.errors():
        wanted = at = tuple(map(str, fault["loc"]))
        while at and at not in lines:  # a missing key, or a name of ours that the file leaves out, such as `fixed`
            at = at[:-1]
        key = wanted if fault["type"] == "missing" else at
        faults.append((lines.get(at, 1), ".".join(key), _complaint(fault)))
    line, name, complaint = min(faults)
    return f"{path}:{line}: {name}: {complaint}"


def _complaint(fault: Any) -> str:
    kind, got, context = fault["type"], fault["input"], fault.get("ctx", {})
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        known = _LEVELS[len(fault["loc"]) - 1].model_fields.keys() - {"fixed"}
        near = did_you_mean(str(fault["loc"][-1]), known) or f"; known are {', '.join(sorted(known))}"
        return f"unknown key{near}"
    if kind == "value_error":
        return str(context["error"])
    wanted = _WANTED[kind].format(**context) if kind in _WANTED else fault["msg"]
    return f"{wanted}, got {got!r}"


_LEVELS: Sequence[type[BaseModel]] = (_File, _Lengths, _Lognormal)
_WANTED = {
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "greater_than": "must be more than {gt}",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be on or off",
    "string_type": "must be text",
    "list_type": "must be [low, high]",
    "too_short": "must be [low, high]",
    "too_long": "must be [low, high]",
    "literal_error": "must be {expected}",
    "model_type": "must be a number, {{uniform: [low, high]}} or {{lognormal: {{…}}}}",
}
