"""The types every part speaks: frozen, standard library only, the unit in every name; None is unknown, never 0.

Instants named `*_ns` are integer nanoseconds on the monotonic clock. In a `Record` they count from the run's start;
in an `Exchange`, straight off the wire, they are the clock's own values.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

Arrivals = str
"""How calls of an open loop arrive: `poisson`, `constant`, or `gamma:CV` with CV the gaps' spread over their mean."""
Phase = Literal["warmup", "measured"]
DeltaKind = Literal["text", "blank", "reasoning", "tool"]
Headers = tuple[tuple[str, str], ...]


class UserError(Exception):
    """The user's input or surroundings are at fault: one line that says what was expected and what to do; exit 2."""


class ServerFault(UserError):
    """The server did not do what it was asked before the load; its own log may say more."""


class NotReady(ServerFault):
    """It may do so in a while: nothing listens yet, or it says that it is still loading."""


class Unlisted(UserError):
    """The server's list of models speaks against it; `info` is what to go on with if it answers all the same."""

    def __init__(self, message: str, info: "ServerInfo") -> None:
        super().__init__(message)
        self.info = info


# --- what to send -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lengths:
    """A distribution of token counts: `fixed` (low = high), `uniform` on [low, high], or `lognormal` cut to it."""

    kind: Literal["fixed", "uniform", "lognormal"]
    low: int
    high: int
    median: float | None = None
    sigma: float | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """How long it takes after an answer until the next turn: always `s`, exponential with mean `s`, or lognormal with
    median `s`; longer ones are cut to `high_s`.
    """

    kind: Literal["fixed", "exponential", "lognormal"]
    s: float
    sigma: float = 0.0
    high_s: float = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Turns:
    """What makes a session of a scenario: how many turns, and how each goes on from the one before.

    `added_tokens` is what a later turn adds to the prompt besides the answer before it. `history` is the answer that
    came back, or a planned one of that length. Where prompt and answer would be more than `window_tokens` the oldest
    turns are dropped, or the session ends. `sessions` and `warmup_sessions` are for when the user does not say.
    """

    count: Lengths
    added_tokens: Lengths
    pause: Pause
    history: Literal["actual", "planned"] = "actual"
    window_tokens: int | None = None
    when_full: Literal["drop", "stop"] = "drop"
    sessions: int = 16
    warmup_sessions: int = 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """What one request looks like and how much load to offer when the user does not say.

    `prompt_tokens` is the whole prompt as the server counts it, template and shared prefix included; of a session that
    of its first turn. `thinking` says whether a model that can think before it answers is to do so; None leaves it to
    the model. `temperature` is what is asked for where the user does not say; None leaves it to the server. Without
    `turns` every request is by itself.
    """

    name: str
    description: str
    prompt_tokens: Lengths
    output_tokens: Lengths
    shared_prefix_tokens: int
    concurrency: int
    requests: int
    warmup_requests: int
    thinking: bool | None = None
    temperature: float | None = 0.0
    turns: Turns | None = None


@dataclass(frozen=True, slots=True)
class Load:
    """How much load, and for how long: exactly one of concurrency/rate_per_s, and of requests/sessions/duration_s.

    A session of one turn is a request: `concurrency` is how many sessions there are at once, `rate_per_s` how many
    begin in a second.
    """

    concurrency: int | None
    rate_per_s: float | None
    arrivals: Arrivals
    requests: int | None
    duration_s: float | None
    warmup_requests: int | None
    warmup_s: float | None
    max_in_flight: int
    overload: Literal["wait", "drop"]
    sessions: int | None = None
    warmup_sessions: int | None = None


class Message(NamedTuple):
    role: Literal["system", "user", "assistant"]
    text: str


class Call(NamedTuple):
    """One planned request, a pure function of (scenario, seed): the same for every backend and number of workers.

    `due_ns` counts from the start of the load; None in a closed loop, where a call is due when a slot is free. A turn
    after the first follows the call `seq - 1`: it is due `pause_ns` after the end of that, and its messages are what it
    adds; the prompt is made by `bench.plan.source.Conversation`, of the turns from `since` on. `last` says that none
    follows. Of the prompt's first tokens a prefix cache without bounds has seen `cacheable_tokens` in earlier calls.
    """

    seq: int
    due_ns: int | None
    session: int
    turn: int
    phase: Phase | None
    messages: tuple[Message, ...]
    max_tokens: int
    seed: int
    prompt_tokens: int | None
    last: bool = True
    pause_ns: int = 0
    since: int = 0
    cacheable_tokens: int | None = None
    klass: str | None = None
    adapter: str | None = None


Render = Callable[[tuple[Message, ...]], str | None]
"""A chat template: the text of a prompt, None where the template does not take its messages."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a backend's requests go: `url` is the base without `/v1`; the key is sent and never shown.

    `aliases` are other names that the server may know the model by. `options` say how requests are to be worded where
    a backend leaves a choice: its own names (`Backend.options`), what its preflight found (`ServerInfo.options`) and
    what the server made necessary (`Backend.adapt`). `query` goes with every path; `headers` are the user's own and
    replace ours of the same name; `client_cert` and `client_key` are PEM files. `secrets` are what besides the key is
    shown nowhere. `patience_s` is how long a cold request may take where the server loads its model first.
    """

    url: str
    model: str
    api_key: str | None = field(default=None, repr=False)
    ca_file: str | None = None
    aliases: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    query: str = field(default="", repr=False)
    headers: Headers = field(default=(), repr=False)
    client_cert: str | None = None
    client_key: str | None = None
    secrets: tuple[str, ...] = field(default=(), repr=False)
    patience_s: float = 0.0

    @property
    def all_secrets(self) -> tuple[str, ...]:
        """Its secrets and its key."""
        return self.secrets if self.api_key is None else (self.api_key, *self.secrets)


class HttpRequest(NamedTuple):
    method: str
    path: str
    headers: Headers
    body: bytes


# --- what came back ---------------------------------------------------------------------------------------------


class Exchange(NamedTuple):
    """One request as the wire saw it: stamps and bytes, nothing interpreted.

    Read i brought `sizes[i]` bytes of `data` (HTTP head included) and was stamped `user_ns[i]` by us; `kernel` holds
    a (second, nanosecond) pair of the wall clock for each read, (0, 0) where the kernel gave none, and is empty where
    it gave none at all. `connect_ns` is how long the connection took when this request had to open it, else None.
    `error` is (code, message) when the wire itself saw the request fail.
    """

    seq: int
    worker: int
    due_ns: int
    sent_ns: int | None
    end_ns: int
    connect_ns: int | None
    user_ns: "array[int]"
    sizes: "array[int]"
    kernel: "array[int]"
    data: bytes
    error: tuple[str, str] | None


class Body(NamedTuple):
    """A response body freed of its transfer coding; bytes up to `ends[i]` had arrived at `t_ns[i]` (both ascending)."""

    data: bytes
    ends: list[int]
    t_ns: list[int]


class Usage(NamedTuple):
    """Tokens as the server counts them: the prompt includes what was cached and written; writes include the 1 h ones,
    and output what was reasoned. `total_tokens` is the server's own sum where it gives one, never ours.
    """

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    output_tokens: int | None = None
    reasoning_tokens: int | None = None
    cache_write_1h_tokens: int | None = None
    total_tokens: int | None = None


class Reply(NamedTuple):
    """What a response says: deltas are (t_ns, tokens, kind) for each arrival of model output; tokens None = unknown.

    A delta is `blank` while the answer so far is white space and nothing else. `rate_limits` is what the headers say of
    them, name by name without the vendor's prefix. `unread` counts the events that could not be read and were passed
    over, of which `unread_example` shows the first; `encoding` is the content coding the body came in, None for none.
    `usage_settles` is how much of a bill the usage is: `all` where it was said at the answer's end, so that nothing
    came after it; `prompt` where a dialect says the prompt's for good before the answer begins; else `nothing`.
    Of an answer that was not `streamed` the deltas tell what it holds, and their instant is only that of its end.
    """

    text: str
    deltas: list[tuple[int, int | None, DeltaKind]]
    usage: Usage | None
    finish: str | None
    error: tuple[str, str] | None
    service_tier: str | None = None
    rate_limits: Mapping[str, str] | None = None
    unread: int = 0
    unread_example: str | None = None
    encoding: str | None = None
    usage_settles: Literal["nothing", "prompt", "all"] = "nothing"
    streamed: bool = True


@dataclass(frozen=True, slots=True)
class Record:
    """One planned call and what became of it; failures and calls never sent are records too.

    `*_ns` count from the run's start. `arrivals_ns[i]` is when `arrival_tokens[i]` tokens arrived, from the first token
    on; `early_tokens` of the output were made before it: hidden reasoning, and the white space that arrived at
    `first_blank_ns`. How the server's counts were read, and what in them cannot be, are codes of `bench.runs.counts`;
    `lags_ns` is the client's lag of every read (our stamp - the kernel's), empty where the kernel gave none.
    `error` is a code of the taxonomy in docs/metrics.md, None for success; `rate_limits` a JSON object; `unread`,
    `unread_example` and `encoding` are those of `Reply`; `pause_ns`, `cacheable_tokens`, `klass` and `adapter` are the
    plan's (`Call`).
    """

    seq: int
    worker: int | None
    session: int
    turn: int
    phase: Phase | None
    due_ns: int | None
    sent_ns: int | None
    connect_ns: int | None
    headers_ns: int | None
    first_byte_ns: int | None
    first_token_ns: int | None
    first_text_ns: int | None
    last_token_ns: int | None
    end_ns: int | None
    status: int | None
    finish: str | None
    error: str | None
    error_message: str | None
    prompt_tokens_wanted: int | None
    max_tokens: int
    prompt_tokens: int | None
    cached_tokens: int | None
    cache_write_tokens: int | None
    cache_write_1h_tokens: int | None
    output_tokens: int | None
    reasoning_tokens: int | None
    token_source: Literal["server usage", "per-chunk usage", "arrivals", "tokenizer", "chunk count"] | None
    arrivals_ns: Sequence[int]
    arrival_tokens: Sequence[int]
    bytes_received: int
    reads: int
    coalesced_reads: int
    lags_ns: Sequence[int]
    text_sha: str | None
    service_tier: str | None
    rate_limits: str | None
    unread: int
    unread_example: str | None
    encoding: str | None
    first_blank_ns: int | None
    early_tokens: int | None
    count_readings: str | None
    count_contradictions: str | None
    pause_ns: int | None = None
    cacheable_tokens: int | None = None
    klass: str | None = None
    adapter: str | None = None


# --- servers ----------------------------------------------------------------------------------------------------


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


@dataclass(frozen=True, slots=True)
class Backend:
    """A server dialect as plain functions; `request` and `decode` are pure and do no I/O.

    `serve(model, options)` is None for what cannot be launched; `count_tokens` is None where only a measured
    request can tell. `gauges` maps our names (queue, running, kv_use_fraction, …) to the server's own metric names.
    `weights` is the kind of file a launched server loads, `options` the choices that `Target.options` may hold, with
    the values each may have, the default first. `reset_cache` empties the server's prefix cache and says whether it
    could. `frame` turns a chat template into the option of that name, where a prompt is sent with its template around
    it. `adapt` words a refused request in another way, None where there is none; `loaded_context` is the context length
    of a model that only an answer has loaded. An API that bills has a `provider`, by its name in the price list, and is
    found at `default_url`; there it `bills_errors` of its own unless its makers say that it does not.
    """

    name: str
    description: str
    request: "Callable[[Call, Target], HttpRequest]"
    decode: "Callable[[int, Mapping[str, str], Body], Reply]"
    preflight: "Callable[[Target], ServerInfo]"
    count_tokens: "Callable[[Target, tuple[Message, ...]], int | None]"
    serve: "Callable[[str, ServeOptions], Launch] | None" = None
    gauges: Mapping[str, str] = field(default_factory=dict)
    weights: Literal["gguf", "hf"] | None = None
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    frame: "Callable[[Render], str | None] | None" = None
    reset_cache: "Callable[[Target], bool] | None" = None
    adapt: "Callable[[HttpRequest, Target, Refusal], Adaptation | None] | None" = None
    loaded_context: "Callable[[Target], int | None] | None" = None
    key_variable: str = "OPENAI_API_KEY"
    provider: str | None = None
    default_url: str | None = None
    bills_errors: bool = True
