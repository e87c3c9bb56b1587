"""A run as the user states it: the same names and values as flags, as keys of a YAML file and as keyword arguments.

Nothing is looked up or opened here; `bench.app.request` turns it into a request and reports what is wrong with it.
"""

import json
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Final, Literal, NewType, Self, get_args, get_origin, get_type_hints

from bench import numeric
from bench.app import familiar
from bench.numeric import Range
from bench.plan.resolve import within
from bench.suggest import did_you_mean
from bench.types import UserError

MAX_WORKERS: Final = 64
MAX_REPEATS: Final = 50
GPUS: Final = Range(1, 4096, whole=True)
USD: Final = Range("1e-12", 10**6, or_zero=True)
"""Dollars, per request or per hour."""
GCO2E_PER_KWH: Final = Range("0.001", 5000)

OnOff = Literal["on", "off"]
JsonText = NewType("JsonText", str)
"""JSON, or the name of a JSON file; from YAML and Python also the value itself."""
Inconclusive = Literal["pass", "fail"]
GatePart = Literal["llamacpp", "vllm", "client"]
Window = Literal["planned", "steady"]
Stamps = Literal["auto", "packets", "kernel", "user"]


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """How much load there is; the scenario's defaults apply to what is not given."""

    concurrency: int | None = None
    rate: str | None = None
    arrivals: str | None = None
    requests: int | None = None
    sessions: int | None = None
    duration: str | None = None
    warmup: str | None = None
    max_in_flight: int | None = None
    overload: Literal["wait", "drop"] | None = None


@dataclass(frozen=True, kw_only=True)
class FileOptions:
    """The user's own traffic instead of the scenario's prompts; see docs/traffic.md."""

    dataset: str | None = None
    dataset_output: Literal["file", "scenario"] | None = None
    trace: str | None = None
    speed: Decimal | None = None
    from_: str | None = None
    for_: str | None = None


@dataclass(frozen=True, kw_only=True)
class HourOptions:
    """What self-hosted servers cost per hour."""

    gpu: str | None = None
    gpus: Annotated[int, GPUS] | None = None
    usd_per_hour: Annotated[Decimal, USD] | None = None
    owned: str | None = None
    prices: Path | None = None


@dataclass(frozen=True, kw_only=True)
class ServerOptions:
    """The server: one that is running, by its URL, or one to launch; and how requests to it are worded."""

    backend: str | None = None
    model: str | None = None
    url: str | None = None
    header: tuple[str, ...] = ()
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    ready_timeout: str | None = None
    server: str | None = None
    server_python: str | None = None
    server_cmd: str | None = None
    command: str | None = None
    server_arg: tuple[str, ...] = ()
    port: int | None = None
    dialect: str | None = None
    adapter: str | None = None
    thinking: str | None = None
    cache_ttl: str | None = None
    service_tier: str | None = None
    temperature: str | None = None
    top_p: str | None = None
    seed_requests: OnOff | None = None
    extra_body: JsonText | None = None
    route: str | None = None
    no_stream: bool = False
    tools: JsonText | None = None
    response_format: JsonText | None = None


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """Where the server's machine and engine export metrics, which GPUs are its own, and its grid's emissions."""

    metrics_url: tuple[str, ...] = ()
    metrics_gpu: tuple[str, ...] = ()
    grid_gco2e_per_kwh: Annotated[Decimal, GCO2E_PER_KWH] | None = None


@dataclass(frozen=True, kw_only=True)
class ClientOptions:
    """How the client sends requests, and when it gives up on one."""

    workers: int = 1
    timeout: str = "120s"
    stall_timeout: str = "30s"
    max_body: str = "64MiB"
    backoff: OnOff = "on"
    quick_ack: OnOff = "off"
    stamps: Stamps = "auto"
    late_reads: OnOff = "on"
    locust_web: int | None = None


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How the highest rate is searched for; defaults follow from the scenario and the objectives."""

    precision: str = "5%"
    repeats: int = 3
    up_to: float | None = None
    max_time: str | None = None
    attainment: str | None = None
    requests: int | None = None
    concurrency: int | None = None
    max_in_flight: int | None = None
    arrivals: str | None = None


@dataclass(frozen=True, kw_only=True)
class JudgeOptions:
    """How two sides are judged."""

    threshold: tuple[str, ...] = ()
    inconclusive: Inconclusive = "pass"
    different_plans: bool = False
    untrusted: bool = False


@dataclass(frozen=True, kw_only=True)
class AbOptions(JudgeOptions):
    """How two sides that run in turns are decided between, and in which folder."""

    max_pairs: int = 48
    decide: tuple[str, ...] = ()
    equal_sides: bool = False
    out: Path | None = None


@dataclass(frozen=True, kw_only=True)
class GateOptions:
    """What is measured, how often, and what it is compared with or written to."""

    baseline: Path | None = None
    against: Path | None = None
    update: bool = False
    add: bool = False
    part: tuple[GatePart, ...] = ()
    rounds: int = 5
    out: Path | None = None


@dataclass(frozen=True, kw_only=True)
class RunOptions(ServerOptions, LoadOptions, FileOptions, ClientOptions, HourOptions, WatchOptions):
    """All options of a run; each field is the flag of its name."""

    scenario: str = "chat"
    seed: int = 0
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    turns: str | None = None
    think_time: str | None = None
    history: Literal["actual", "planned"] | None = None
    cache: Literal["cold", "warm"] = "cold"
    tokenizer: Path | None = None
    slo: tuple[str, ...] = ()
    goodput: str | None = None
    inconclusive: Inconclusive | None = None
    window: Window = "planned"
    images: str | None = None
    max_usd: str | None = None
    out: Path | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Options from a mapping, such as that of a YAML file; dashes may replace underscores, None means not given.

        Raises UserError for a name that is not an option and a value of the wrong kind.
        """
        kinds, found = kinds_of(cls), {}
        for key, value in given.items():
            name = str(key).replace("-", "_")
            name = f"{name}_" if f"{name}_" in kinds else name
            if name not in kinds:
                name, value = _in_our_words(name, value, given)
            found[name] = value
        return cls(**values_of(cls, found))


def _in_our_words(name: str, value: Any, given: Mapping[str, Any]) -> tuple[str, Any]:
    """The option that another tool's option stands for, and its value.

    Raises UserError if there is none, or it was already given.
    """
    plain = {str(key).replace("-", "_"): each for key, each in given.items()}
    rate = plain.get("rate", plain.get("request_rate"))
    meaning = familiar.meaning_of(name, at_a_rate=rate is not None and str(rate) != "inf")
    if meaning is None:
        advice = familiar.here(flag_of(name))
        raise UserError(advice or f"{flag_of(name)}: no such option of a run{did_you_mean(name, names(RunOptions))}")
    if plain.get(meaning.option) is not None:
        raise UserError(f"{flag_of(name)} and {flag_of(meaning.option)} mean the same; give one of them")
    return meaning.option, value if isinstance(value, bool) or value is None else meaning.value(str(value))


def check_repeat(runs: int, url: str | None, *, keep_server: bool) -> int:
    """How many runs of one load are asked for; UserError for options that do not fit that."""
    within("--repeat", runs, 1, MAX_REPEATS)
    if keep_server and (runs == 1 or url is not None):
        raise UserError("--keep-server needs --repeat and a server that this command launches; leave it out")
    return runs


def given_of(options: Any, *names: str) -> list[str]:
    """The flags of those options that were given."""
    return [flag_of(name) for name in names if getattr(options, name) not in (None, ())]


def check_one_of(options: Any, *names: str) -> None:
    """Raise UserError if more than one of these was given."""
    if len(given := given_of(options, *names)) > 1:
        raise UserError(f"{given[0]} and {given[1]} exclude each other; give one of them")


def refuse(why: str, options: Any, *names: str) -> None:
    """Raise UserError with the reason if one of these was given."""
    if given := given_of(options, *names):
        raise UserError(f"{given[0]}: {why}")


def flag_of(name: str) -> str:
    """The flag of an option."""
    return f"--{name.rstrip('_').replace('_', '-')}"


def words_of(name: str, text: str | None) -> tuple[str, ...]:
    """The words of a command, split as by a shell; no shell is run. UserError names the option that it came from."""
    try:
        return tuple(shlex.split(text or ""))
    except ValueError as problem:
        raise UserError(f"{name}: expected words quoted as for a shell ({problem})") from None


def plain(value: Any, text: Callable[[str], str]) -> Any:
    """The value in the types of JSON and YAML, from which it can be restored; `text` redacts secrets."""
    if isinstance(value, Mapping):
        return {str(name): plain(inner, text) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner, text) for inner in value]
    return value if value is None or isinstance(value, bool | int | float) else text(str(value))


def names(group: type[Any]) -> tuple[str, ...]:
    """The options of a group."""
    return tuple(field.name for field in fields(group))


_KINDS: dict[Any, dict[str, Any]] = {}  # takes half a millisecond for each group, and help needs many


def kinds_of(group: type[Any]) -> dict[str, Any]:
    """The type of each option of a group, without the None of those that are optional."""
    if group not in _KINDS:
        kinds = get_type_hints(group, include_extras=True)
        _KINDS[group] = {
            name: next((kind for kind in get_args(kinds[name]) if NoneType in get_args(kinds[name])), kinds[name])
            for name in names(group)
        }
    return _KINDS[group]


def values_of(group: type[Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Values from a file or Python converted to the types of a group's options; None is not given. Raises UserError."""
    kinds = kinds_of(group)
    return {name: _read(name, value, kinds[name]) for name, value in given.items() if value is not None}


def _read(name: str, value: Any, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        choices = get_args(kind)
        # YAML reads a bare on or off as a boolean.
        word = {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value
        if word in choices:
            return word
        near = did_you_mean(str(word), choices)
        raise UserError(f"{flag_of(name)}: expected {' or '.join(choices)}, got {value!r}{near}")
    if kind is bool and isinstance(value, bool):
        return value
    if get_origin(kind) is Annotated:
        number, of = get_args(kind)
        return number(of.of(flag_of(name), str(value)))
    if get_origin(kind) is tuple:
        each = value if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
        return tuple(_read(name, one, str) for one in each)
    expected, read = _READERS[kind]
    try:
        found = None if isinstance(value, bool) else read(value)
    except (TypeError, ValueError, OverflowError):
        found = None
    if found is None:
        raise UserError(f"{flag_of(name)}: expected {expected}, got {value!r}")
    return found


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int | float | Decimal | Path) else None


def _json(value: Any) -> str | None:
    return json.dumps(value) if isinstance(value, dict | list) else _text(value)


def _exact(value: Any) -> Decimal | None:
    return numeric.read(str(value))


_READERS: Mapping[Any, tuple[str, Callable[[Any], Any]]] = {
    bool: ("true or false", lambda _: None),
    str: ("text", _text),
    int: ("a whole number", lambda value: numeric.whole(str(value))),
    float: ("a number", lambda value: None if (found := numeric.read(str(value))) is None else float(found)),
    Decimal: ("a number", _exact),
    Path: ("a path", Path),
    JsonText: ("JSON, or a file with it", _json),
}
