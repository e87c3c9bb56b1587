"""Workloads, one YAML file each, and their loader; a new one is a file and no code."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from bench import numeric
from bench.suggest import did_you_mean
from bench.types import OF_A_CLASS, Lengths, Prefixes, Scenario, TrafficClass, Turns, UserError
from scenarios.documents import DocumentKeys, beside
from scenarios.faults import explain
from scenarios.lined import parse
from scenarios.numbers import Strict
from scenarios.sessions import MAX_TURNS, added_tokens, parse_pause, pause_text

MAX_TOKENS = 2_000_000
MAX_GROUPS = 1_000_000
MAX_CLASSES = 64
MAX_TEMPERATURE = 100

Tokens = Annotated[int, Field(ge=1, le=MAX_TOKENS)]
Weight = Annotated[float, Field(gt=0, le=1e6)]
Name = Annotated[str, Field(pattern=r"^[\w.:/@+-]{1,200}$")]
_OF_SESSIONS = {"turn_tokens", "think_time", "history", "window", "when_full", "sessions", "warmup_sessions"}


class _Lognormal(Strict):
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


class _Lengths(Strict):
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
        is_number = isinstance(value, int | float) or (isinstance(value, str) and numeric.read(value) is not None)
        return {"fixed": value} if is_number else value

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


class _Prefixes(Strict):
    tokens: Tokens
    groups: Annotated[int, Field(ge=1, le=MAX_GROUPS)]
    zipf: Annotated[float, Field(ge=0, le=10)] = 1.0


class _Load(Strict):
    """What every scenario file may say about itself and its load."""

    name: str = ""
    description: str = ""
    concurrency: Annotated[int, Field(ge=1)] = 8
    requests: Annotated[int, Field(ge=1)] = 200
    warmup_requests: Annotated[int, Field(ge=0)] = 16

    def load(self, name: str) -> dict[str, Any]:
        """These as a scenario has them; `name` is for a file that gives itself none."""
        return {**{each: getattr(self, each) for each in _Load.model_fields}, "name": self.name or name}


class _File(_Load, DocumentKeys):
    """The keys of a scenario file."""

    prompt_tokens: _Lengths
    output_tokens: _Lengths
    shared_prefix_tokens: Annotated[int, Field(ge=0, le=MAX_TOKENS)] = 0
    thinking: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=MAX_TEMPERATURE)] | None = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    prefixes: list[_Prefixes] = Field(default_factory=list)
    adapters: dict[Name, Weight] = Field(default_factory=dict)
    turns: _Lengths | None = None
    turn_tokens: _Lengths | None = None
    think_time: str = "0"
    history: Literal["actual", "planned"] = "actual"
    window: Tokens | None = None
    when_full: Literal["drop", "stop"] = "drop"
    sessions: Annotated[int, Field(ge=1)] = 16
    warmup_sessions: Annotated[int, Field(ge=0)] = 0
    dataset: str | None = None
    dataset_output: Literal["file", "scenario"] | None = None

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
            raise ValueError(f"{of_none[0]} applies to sessions; add turns, or leave it out")
        if (found := self.passages()) and (self.turns or self.dataset):
            raise ValueError(f"{found.name} decides the prompts; leave out {'turns' if self.turns else 'dataset'}")
        return self

    @field_validator("temperature", mode="before")
    @classmethod
    def _or_the_servers(cls, value: Any) -> Any:
        if isinstance(value, str) and value != "server" and numeric.read(value) is None:
            raise ValueError(f"must be a number or server, got {value!r}")
        return None if value == "server" else value

    @field_validator("shared_prefix_tokens")
    @classmethod
    def _fits_every_prompt(cls, prefix: int, info: ValidationInfo) -> int:
        prompt = info.data.get("prompt_tokens")
        if prompt and prefix >= prompt.lengths().low:
            raise ValueError(f"must be less than the shortest prompt, {prompt.lengths().low} tokens, got {prefix}")
        return prefix

    @field_validator("prefixes")
    @classmethod
    def _fit_every_prompt(cls, prefixes: list[_Prefixes], info: ValidationInfo) -> list[_Prefixes]:
        prompt, shared = info.data.get("prompt_tokens"), info.data.get("shared_prefix_tokens") or 0
        whole = shared + sum(level.tokens for level in prefixes)
        if prompt and prefixes and whole >= prompt.lengths().low:
            raise ValueError(
                f"must be less than the shortest prompt together, {prompt.lengths().low} tokens, got {whole}"
            )
        return prefixes

    def scenario(self, name: str) -> Scenario:
        """The scenario; `name` is for a file that gives itself none."""
        found = Scenario(
            **self.load(name),
            prompt_tokens=self.prompt_tokens.lengths(),
            output_tokens=self.output_tokens.lengths(),
            shared_prefix_tokens=self.shared_prefix_tokens,
            thinking=self.thinking,
            temperature=self.temperature,
            prefixes=tuple(Prefixes(level.tokens, level.groups, level.zipf) for level in self.prefixes),
            adapters=self.adapters,
            top_p=self.top_p,
            dataset=self.dataset,
            dataset_output=self.dataset_output,
            documents=self.passages(),
        )
        if self.turns is None:
            return found
        turns = Turns(
            count=self.turns.lengths(),
            added_tokens=self.turn_tokens.lengths() if self.turn_tokens else added_tokens(found),
            pause=parse_pause(self.think_time, "think_time"),
            history=self.history,
            window_tokens=self.window,
            when_full=self.when_full,
            sessions=self.sessions,
            warmup_sessions=self.warmup_sessions,
        )
        return replace(found, turns=turns)


_OF_A_LOAD = {
    *(*_Load.model_fields, "sessions", "warmup_sessions", "dataset", "dataset_output", *DocumentKeys.model_fields),
}


class _Class(_File):
    """The keys of a class of a mix: what its requests are, and its weight."""

    weight: Weight = 1.0
    slo: list[str] = Field(default_factory=list)

    @model_validator(mode="after")
    def _is_no_load(self) -> Self:
        if found := sorted(self.model_fields_set & _OF_A_LOAD):
            raise ValueError(f"{found[0]} applies to all classes together; put it beside `classes`")
        return self

    def of(self, name: str) -> TrafficClass:
        chosen = [each for each in ("temperature", "top_p", "thinking") if each in self.model_fields_set]
        own = self.scenario(name)
        return TrafficClass(
            **{each: getattr(own, each) for each in OF_A_CLASS},
            weight=self.weight,
            sampling={each: _word(getattr(self, each)) for each in chosen},
            slo=tuple(self.slo),
        )


class _Mix(_Load):
    """The keys of a scenario file whose requests are of several classes."""

    classes: Annotated[dict[Name, _Class], Field(min_length=1, max_length=MAX_CLASSES)]

    def scenario(self, name: str) -> Scenario:
        """The scenario; its lengths are the bounds of its classes' lengths."""
        classes = tuple(each.of(label) for label, each in self.classes.items())
        return Scenario(
            **self.load(name),
            prompt_tokens=_bounds([each.prompt_tokens for each in classes]),
            output_tokens=_bounds([each.output_tokens for each in classes]),
            shared_prefix_tokens=0,
            classes=classes,
        )


def _bounds(lengths: Sequence[Lengths]) -> Lengths:
    return Lengths("mixed", min(each.low for each in lengths), max(each.high for each in lengths))


def _word(value: float | bool | None) -> str:
    """A sampling option as the user would write it."""
    if value is None:
        return "server"
    return ("on" if value else "off") if isinstance(value, bool) else f"{value:.12g}"


def names() -> tuple[str, ...]:
    return tuple(sorted(_bundled()))


def list_scenarios() -> list[Scenario]:
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
    """The scenario with fixed lengths instead of its own, if given."""
    for flag, tokens in (("--prompt-tokens", prompt_tokens), ("--output-tokens", output_tokens)):
        if tokens is not None and not 1 <= tokens <= MAX_TOKENS:
            raise UserError(f"{flag}: must be from 1 to {MAX_TOKENS}, got {tokens}")
    if scenario.classes and (prompt_tokens or output_tokens):
        flag = "--prompt-tokens" if prompt_tokens else "--output-tokens"
        raise UserError(f"{flag}: scenario {scenario.name!r} has classes with their own lengths; leave it out")
    prefix = scenario.prefix_tokens
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
    data, lines = parse(content, path)
    kind: type[_Mix | _File] = _Mix if "classes" in data else _File
    try:
        file = kind.model_validate(data)
    except ValidationError as error:
        raise UserError(explain(error, kind, path, lines)) from error
    scenario = file.scenario(path.stem)
    dataset = scenario.dataset and str(path.parent / scenario.dataset)
    return replace(scenario, dataset=dataset, documents=beside(scenario.documents, path.parent))
