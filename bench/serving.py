"""What is said of servers: how one is launched, what it says of itself, what it refuses; part of `bench.types`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What the user chose about a launched server; `slots` is how many requests it should take at once.

    `server` picks one of a backend's ways to launch, `python` is the interpreter its package is installed in, `command`
    the words to start it by in place of all that, to which the backend's flags are added. `alias` is the name by which
    the server is to call its model, `quantization` how it is to load weights that come in another form.
    """

    server: str | None
    slots: int
    context_tokens: int
    threads: int | None
    extra_args: tuple[str, ...]
    python: str | None = None
    command: tuple[str, ...] = ()
    alias: str | None = None
    quantization: str | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """How to start a server: `{port}` in argv stands for the free loopback port chosen at launch.

    `ready_timeout_s` is how long it may take where the user does not say: some download and compile first.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    ready_path: str
    name: str
    ready_timeout_s: float = 120.0


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says of itself before the load starts.

    `context_tokens` bounds prompt and output together, `max_prompt_tokens` the prompt alone. `options` go into the
    target of every request, `notes` to the user and into run.json. More than `max_in_flight` requests at once are
    refused, more than `slots` wait; `cache_tokens` is what its KV cache holds of all of them together.
    """

    name: str
    version: str | None
    model: str
    context_tokens: int | None
    metrics_path: str | None
    settings: Mapping[str, Any]
    max_prompt_tokens: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    max_output_tokens: int | None = None
    max_in_flight: int | None = None
    slots: int | None = None
    cache_tokens: int | None = None


class Refusal(NamedTuple):
    """What a server answered to the request that the load is made of: a status, or an error inside a 200."""

    status: int
    message: str
    data: bytes


class Adaptation(NamedTuple):
    """What to put into `Target.options` so that the server takes the request, and the line that says so."""

    options: Mapping[str, str]
    said: str
