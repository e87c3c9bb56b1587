"""The types every part speaks: frozen, standard library only, the unit in every name; None is unknown, never 0.

Instants named `*_ns` are integer nanoseconds on the monotonic clock. In a `Record` they count from the run's start;
in an `Exchange`, straight off the wire, they are the clock's own values.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from bench.deltas import Delta as Delta
from bench.deltas import DeltaKind as DeltaKind
from bench.serving import Adaptation as Adaptation
from bench.serving import Launch as Launch
from bench.serving import Refusal as Refusal
from bench.serving import ServeOptions as ServeOptions
from bench.serving import ServerInfo as ServerInfo
from bench.workload import AT_ONCE as AT_ONCE
from bench.workload import OF_A_CLASS as OF_A_CLASS
from bench.workload import RECORDED as RECORDED
from bench.workload import Arrivals as Arrivals
from bench.workload import Course as Course
from bench.workload import Documents as Documents
from bench.workload import Lengths as Lengths
from bench.workload import Load as Load
from bench.workload import Pause as Pause
from bench.workload import Prefixes as Prefixes
from bench.workload import RateSegment as RateSegment
from bench.workload import Scenario as Scenario
from bench.workload import TrafficClass as TrafficClass
from bench.workload import Turns as Turns

Phase = Literal["warmup", "measured"]
TakenStamps = Literal["packets", "kernel", "user"]
"""Who noted when the bytes of an answer arrived: the packet ring, the kernel for each read, or this client."""
Headers = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """The value of an option that was taken from a variable or a file, and from which."""

    option: str
    value: str
    source: str


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


class LengthFacts(NamedTuple):
    """How long recorded prompts, or answers, were in tokens, over the rows that tell."""

    mean: float
    low: int
    p50: float
    p90: float
    p99: float
    high: int


class Message(NamedTuple):
    role: Literal["system", "user", "assistant"]
    text: str


class Image(NamedTuple):
    """An image that goes with a prompt, in base64 as every dialect sends it; `bytes` are those of its file."""

    media_type: str
    base64: str
    bytes: int


class Call(NamedTuple):
    """One planned request, a pure function of (scenario, seed): the same for every backend and number of workers.

    `due_ns` counts from the start of the load; None in a closed loop, where a call is due when a slot is free. A turn
    after the first follows the call `seq - 1`: it is due `pause_ns` after the end of that, and its messages are what it
    adds; the prompt is made by `bench.plan.source.Conversation`, of the turns from `since` on. `last` says that none
    follows. Of the prompt's first tokens a prefix cache without bounds has seen `cacheable_tokens` in earlier calls.
    An `image` comes after the text, whose tokens alone are the `prompt_tokens`.
    The passages of its prompt took `retrieval_ns` to find, before the load.
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
    image: Image | None = None
    retrieval_ns: int | None = None


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


class WirePlace(NamedTuple):
    """Where an exchange lies in its connection, for who has seen the connection's packets.

    `server` is its address in 16 bytes (IPv4 as ::ffff:a.b.c.d), `port` ours. The request ended with byte `request_end`
    of what we sent, the answer began behind byte `answer_start` of what came, TLS included. With TLS `records` has for
    each record how many bytes of the answer it brought, and at which byte of the connection it ended.
    """

    server: bytes
    port: int
    request_end: int
    answer_start: int
    records: "array[int] | None"


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
    place: WirePlace | None = None


class Body(NamedTuple):
    """A response body freed of its transfer coding; bytes up to `ends[i]` had arrived at `t_ns[i]` (both ascending)."""

    data: bytes
    ends: Sequence[int]
    t_ns: Sequence[int]


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
    `counted_by` is who made the usage, where the server gave none.
    """

    text: str
    deltas: Sequence[Delta]
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
    counted_by: Literal["server", "tokenizer"] = "server"


class Record(NamedTuple):
    """One planned call and what became of it; failures and calls never sent are records too.

    `*_ns` count from the run's start. `arrivals_ns[i]` is when `arrival_tokens[i]` tokens arrived, from the first token
    on; `early_tokens` of the output were made before it: hidden reasoning, and the white space that arrived at
    `first_blank_ns`. How the server's counts were read, and what in them cannot be, are codes of `bench.runs.counts`;
    `lags_ns` is the client's lag of every read (our stamp - the kernel's), empty where nobody else stamped. `stamps`
    is who noted the arrivals; with packets `repeated_segments` were sent again, or overtaken.
    `error` is a code of the taxonomy in docs/metrics.md, None for success; `rate_limits` a JSON object; `unread`,
    `unread_example` and `encoding` are those of `Reply`; `pause_ns`, `cacheable_tokens`, `klass`, `adapter` and
    `retrieval_ns` are the plan's (`Call`), `image_bytes` its image's; `image_tokens` are what the server counts
    beside the planned prompt.
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
    stamps: TakenStamps | None = None
    repeated_segments: int | None = None
    image_bytes: int | None = None
    image_tokens: int | None = None
    retrieval_ns: int | None = None


# --- servers ----------------------------------------------------------------------------------------------------

Decode = Callable[[int, Mapping[str, str], Body], Reply]
"""From status, headers and body to what the answer says."""


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
    found at `default_url`; there it `bills_errors` of its own unless its makers say that it does not. Where it
    `counts_by_asking` a prompt that was counted may be in the server's cache.
    """

    name: str
    description: str
    request: Callable[[Call, Target], HttpRequest]
    decode: Decode
    preflight: Callable[[Target], ServerInfo]
    count_tokens: Callable[[Target, tuple[Message, ...]], int | None]
    serve: Callable[[str, ServeOptions], Launch] | None = None
    gauges: Mapping[str, str] = field(default_factory=dict)
    weights: Literal["gguf", "hf"] | None = None
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    frame: Callable[[Render], str | None] | None = None
    reset_cache: Callable[[Target], bool] | None = None
    adapt: Callable[[HttpRequest, Target, Refusal], Adaptation | None] | None = None
    loaded_context: Callable[[Target], int | None] | None = None
    key_variable: str = "OPENAI_API_KEY"
    provider: str | None = None
    default_url: str | None = None
    bills_errors: bool = True
    counts_by_asking: bool = False
