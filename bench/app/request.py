"""What a run will do: made from the user's options; mistakes are reported before anything starts."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from analysis.run import slo
from analysis.run.metrics import OF_TOKENS
from backends import BACKENDS
from bench.app import address, discover, familiar, rates, wording
from bench.app.exporters import WatchedServer, watched
from bench.app.options import (
    MAX_WORKERS,
    LoadOptions,
    RunOptions,
    ServerOptions,
    Stamps,
    Window,
    given_of,
    names,
    words_of,
)
from bench.app.pricing import RunCosts, costs_of
from bench.app.recordings import Recording
from bench.app.traffic import as_recorded, recording_of, trace_load
from bench.durations import parse_duration
from bench.plan import tokenizer as tokenizers
from bench.plan.images import Images
from bench.plan.images import read as read_images
from bench.plan.prompts import Count
from bench.plan.resolve import parse_size, resolve_load, within
from bench.process.secrets import blank, without_userinfo
from bench.runs import folder as files
from bench.server import tinymodel
from bench.server.launch import free_port
from bench.server.names import aliases_of, resolve
from bench.suggest import did_you_mean
from bench.types import Backend, Headers, Load, Scenario, Setting, Target, UserError
from scenarios import load_scenario, with_lengths
from scenarios.sessions import with_turns

MAX_TIMEOUT_S = 24 * 3600
BODY_BYTES = (1 << 10, 4 << 30)
"""The least and the most that `max_tokens` of an answer may be."""


@dataclass(frozen=True, slots=True)
class Workload:
    """What is asked and how much of it; equal seeds give equal plans.

    `tokenizer` is the name of a local one and how it counts; None leaves counting to the server. A `recording` replaces
    the scenario's prompts; one of the `images` goes with each request.
    """

    scenario: Scenario
    load: Load
    seed: int = 0
    cache: Literal["cold", "warm"] = "cold"
    tokenizer: tuple[str, Count] | None = None
    recording: Recording | None = None
    images: Images | None = None


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that is already running; `aliases` are names by which it may know the model."""

    url: str
    query: str = ""
    aliases: tuple[str, ...] = ()
    ca_file: str | None = None
    client_cert: str | None = None
    client_key: str | None = None

    def target(self, model: str, access: "Access", options: Mapping[str, str], patience_s: float = 0.0) -> Target:
        """What a backend needs to ask it for a model."""
        return Target(
            self.url, model, access.api_key, self.ca_file, self.aliases, options, self.query, access.headers,
            self.client_cert, self.client_key, access.hidden, patience_s,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class ServerToLaunch:
    """A server that a run starts and stops: `model` is what it loads; None leaves a choice to the backend."""

    model: str
    quantization: str | None = None
    kind: str | None = None
    python: str | None = None
    command: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    port: int | None = None


@dataclass(frozen=True, slots=True)
class Access:
    """What goes with every request besides its body: the key, headers; `hidden` is what else must not be shown."""

    api_key: str | None = None
    headers: Headers = ()
    hidden: tuple[str, ...] = ()

    @property
    def secrets(self) -> tuple[str, ...]:
        """The key, and everything else that must not be shown."""
        return self.hidden if self.api_key is None else (self.api_key, *self.hidden)


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """How the client sends requests, and when it gives up on one; see docs/running.md."""

    workers: int = 1
    timeout_s: float = 120.0
    stall_timeout_s: float = 30.0
    ready_timeout_s: float | None = None
    body_bytes_max: int = 64 << 20
    backoff: bool = True
    quick_ack: bool = False
    stamps: Stamps = "auto"
    late_reads: bool = True
    web_port: int | None = None


@dataclass(frozen=True, slots=True)
class RunRequest:
    """One run: who is asked (`backend`, `server`), what (`workload`, `wording`), and what is made of it.

    `model` is what the run calls the model, `watched` where the server's metrics are. `window` is what results cover:
    everything measured, or only what follows the initial transient. `argv` is the command line for the record, if any,
    `settings` what came from elsewhere.
    """

    backend: Backend
    model: str
    server: RunningServer | ServerToLaunch
    workload: Workload
    out: Path
    access: Access
    client: ClientSettings
    costs: RunCosts
    wording: Mapping[str, str] = field(default_factory=dict)
    by_class: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    slo: tuple[str, ...] = ()
    inconclusive: Literal["pass", "fail"] | None = None
    window: Window = "planned"
    watched: WatchedServer = field(default_factory=WatchedServer)
    notes: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()
    settings: tuple[Setting, ...] = ()

    @property
    def url(self) -> str | None:
        """The URL of a running server; None for one to launch."""
        return self.server.url if isinstance(self.server, RunningServer) else None

    def shown(self, text: str) -> str:
        """A text as a screen or a file may show it, without secrets."""
        return blank(text, self.access.secrets)

    def one_of(self, folder: Path, name: str, load: Load | None = None, seed: int | None = None) -> "RunRequest":
        """One of the runs in a folder, which share one spending account; load and seed may differ.

        An account that the request already has is kept: it spans several folders.
        """
        workload = replace(
            self.workload,
            load=self.workload.load if load is None else load,
            seed=self.workload.seed if seed is None else seed,
        )
        budget = self.costs.budget
        if budget is not None and budget.account is None:
            budget = replace(budget, account=folder / files.LEDGER)
        return replace(self, out=folder / name, workload=workload, costs=replace(self.costs, budget=budget))


def run_request(options: RunOptions, argv: Sequence[str] = ()) -> RunRequest:
    """Make the request of a run; `argv` is the command line it came from.

    Raises UserError, in one line without secrets, for everything that can be found wrong before anything starts.
    """
    named = None if options.backend is None else backend_named(options.backend)
    given_url = options.url or (address.default_url(named) if named else None)
    supposed = named or BACKENDS[discover.DEFAULT_BACKEND]
    api_key = address.api_key(supposed.key_variable)
    typed = address.secrets_typed(given_url, (*options.server_arg, options.command or ""))
    # Secrets become known step by step; an error at any step hides those known by then.
    secrets = Access(api_key, (), typed)
    try:
        _, hidden_urls = watched(options)
        headers, hidden = address.headers(options.header)
        secrets = Access(api_key, headers, (*typed, *hidden, *hidden_urls))
        chosen = discover.ChosenServer(supposed, options.model or discover.DEFAULT_MODEL)
        own_fields, hidden_fields = wording.own_fields(chosen.backend, options)
        secrets = replace(secrets, hidden=(*secrets.hidden, *hidden_fields))
        workload = None
        if given_url and (named is None or options.model is None):
            # First whatever is wrong regardless of the server, before asking it. The workload is read once for both.
            workload = _request(replace(options, max_usd="none"), chosen, secrets, given_url, own_fields).workload
            chosen = discover.choose(named, options.model, _to_ask(options, chosen.backend, given_url, secrets))
            own_fields, _ = wording.own_fields(chosen.backend, options)
        return _request(options, chosen, secrets, given_url, own_fields, argv, workload)
    except UserError as problem:
        problem.args = (blank(str(problem), secrets.secrets), *problem.args[1:])
        raise


def _to_ask(options: ServerOptions, backend: Backend, url: str, access: Access) -> Target:
    """The target at a URL, to be asked what it is."""
    place = address.address(url, backend)
    assert place is not None
    api_path = {} if place.api_path is None else {"api_path": place.api_path}
    return _running(options, place).target("", access, api_path)


def _running(options: ServerOptions, place: address.Address, aliases: tuple[str, ...] = ()) -> RunningServer:
    return RunningServer(place.url, place.query, aliases, options.ca_file, options.client_cert, options.client_key)


def _request(
    options: RunOptions,
    chosen: discover.ChosenServer,
    access: Access,
    given_url: str | None,
    own_fields: Mapping[str, str],
    argv: Sequence[str] = (),
    workload: Workload | None = None,
) -> RunRequest:
    backend, model = chosen.backend, chosen.model
    wording.check_images(backend, options)
    workload = workload or _workload(options)
    objectives = (*options.slo, *(familiar.goodput(options.goodput) if options.goodput is not None else ()))
    for objective in (*objectives, *(text for each in workload.scenario.classes for text in each.slo)):
        if slo.parse(objective).metric in OF_TOKENS and options.no_stream:
            raise UserError(f"--slo {objective!r}: cannot be measured with --no-stream; leave out one of the two")
    client = _client(options, workload.load)
    if options.window == "steady" and not (workload.load.is_stationary and workload.scenario.turns is None):
        raise UserError("--window steady: this load changes by design and has no steady part; leave it out")
    place = address.address(given_url, backend)
    url = place.url if place else None
    _check_server_options(backend, options, url)
    address.certificates(options, url)
    named = any(address.NAMES_A_SECRET.search(name) for name, _ in access.headers)
    has_key = access.api_key is not None or named
    costs = costs_of(replace(options, model=model), backend, url, workload.scenario, has_key=has_key)
    server = _server(options, backend, model, place)
    out = options.out or Path("results") / files.new_run_id(backend.name, model, workload.scenario.name)
    return RunRequest(
        backend=backend,
        model=model,
        server=server,
        workload=workload,
        out=out.absolute(),
        access=access,
        client=client,
        costs=costs,
        by_class=wording.of_classes(backend, workload.scenario, options),
        wording={
            **wording.choices(backend, workload.scenario, options),
            **wording.structure(backend, options),
            **own_fields,
            **wording.frame(backend, options.tokenizer),
            **wording.tokenizer_of(backend, options.tokenizer),
            **({"api_path": place.api_path} if place and place.api_path is not None else {}),
        },
        slo=objectives,
        inconclusive=options.inconclusive,
        window=options.window,
        notes=chosen.notes,
        watched=watched(options)[0],
        argv=tuple(without_userinfo(blank(word, access.secrets)) for word in argv),
    )


def backend_named(name: str) -> Backend:
    """Look up a backend. Raises UserError with the nearest name."""
    if name not in BACKENDS:
        raise UserError(f"--backend {name!r}: expected one of {', '.join(BACKENDS)}{did_you_mean(name, BACKENDS)}")
    return BACKENDS[name]


def load_of(options: LoadOptions, scenario: Scenario) -> Load:
    """The load that is asked for, with the scenario's as default. Raises UserError."""
    asked = {name: getattr(options, name) for name in names(LoadOptions)}
    return resolve_load(scenario, **{**asked, **rates.of(options.rate, options.arrivals)})


def _workload(options: RunOptions) -> Workload:
    scenario = with_lengths(load_scenario(options.scenario), options.prompt_tokens, options.output_tokens)
    seed = within("--seed", options.seed, 0, 2**63 - 1)
    recording = recording_of(options, scenario)
    if recording is not None:
        if scenario.classes:
            raise UserError(
                f"--{recording.kind}: scenario {scenario.name!r} has classes with their own prompts; leave it out"
            )
        scenario = as_recorded(scenario, recording)
    scenario = with_turns(scenario, options.turns, options.think_time, options.history)
    is_trace = recording is not None and recording.kind == "trace"
    load = trace_load(options, recording) if recording is not None and is_trace else load_of(options, scenario)
    images = None if options.images is None else read_images(options.images)
    if images is not None and scenario.turns is not None:
        raise UserError("--images: works only for single requests, and these are sessions; leave it out")
    path = options.tokenizer
    tokenizer = None if path is None else (f"tokenizer {path.name}", tokenizers.counter(path))
    return Workload(scenario, load, seed, options.cache, tokenizer, recording, images)


def _client(options: RunOptions, load: Load) -> ClientSettings:
    workers = within("--workers", options.workers, 1, MAX_WORKERS)
    if workers > load.max_in_flight:
        raise UserError(
            f"--workers: {workers} processes cannot share {load.max_in_flight} requests in flight; "
            f"give --workers {load.max_in_flight} or fewer"
        )
    ready_timeout = options.ready_timeout
    return ClientSettings(
        workers=workers,
        timeout_s=_timeout("--timeout", options.timeout),
        stall_timeout_s=_timeout("--stall-timeout", options.stall_timeout),
        ready_timeout_s=_timeout("--ready-timeout", ready_timeout) if ready_timeout else None,
        body_bytes_max=parse_size(options.max_body, "--max-body", BODY_BYTES),
        backoff=options.backoff == "on",
        quick_ack=_quick_ack(options.quick_ack),
        stamps=options.stamps,
        late_reads=options.late_reads == "on",
        web_port=_port("--locust-web", options.locust_web),
    )


def _quick_ack(choice: str) -> bool:
    """Whether to acknowledge at once; UserError if the system offers no choice."""
    if choice == "on" and not hasattr(socket, "TCP_QUICKACK"):
        raise UserError("--quick-ack on: only Linux supports it; leave it out")
    return choice == "on"


def _check_server_options(backend: Backend, options: ServerOptions, url: str | None) -> None:
    """Refuse options of a server to launch together with those of a running one."""
    if (options.command is not None) != (backend.name == "exec"):
        if options.command is not None:
            raise UserError("--command: needs --backend exec, whose program it is; give that, or leave it out")
        raise UserError(
            "--backend exec: runs a program; give its --command, such as './run -n {output_tokens} {prompt}'"
        )
    if url is None:
        if backend.serve is None:
            raise UserError(f"--backend {backend.name} cannot launch a server; give the --url of one that is running")
        return
    if given := given_of(options, "server", "server_python", "server_cmd", "server_arg", "port", "command"):
        raise UserError(f"{given[0]} applies to a server that this command launches; leave it out, or leave out --url")


def _server(
    options: ServerOptions, backend: Backend, model: str, place: address.Address | None
) -> RunningServer | ServerToLaunch:
    if place is not None:
        return _running(options, place, aliases_of(model))
    command = words_of("--server-cmd", options.server_cmd)
    loaded, quantization = model, None
    if options.command is not None:
        command = words_of("--command", options.command)
        if not command:
            raise UserError("--command: expected a program and its arguments, such as './run model.bin -i {prompt}'")
    if options.command is None or "{model}" in options.command:
        loaded, quantization = _model_to_serve(backend, model)
    return ServerToLaunch(
        model=loaded,
        quantization=quantization,
        kind=options.server,
        python=options.server_python,
        command=command,
        arguments=options.server_arg,
        port=_port("--port", options.port),
    )


def _model_to_serve(backend: Backend, model: str) -> tuple[str, str | None]:
    """What a launched server loads for a name of `models`, and its quantization."""
    weights = backend.weights or "gguf"
    if model in tinymodel.SIZES:
        return str(tinymodel.model_path(model, weights)), "fp32"
    resolved = resolve(model, weights)
    return (resolved.reference, resolved.quantization) if resolved else (model, None)


def _port(flag: str, port: int | None) -> int | None:
    if port is None:
        return None
    try:
        return free_port(within(flag, port, 1, 65535))
    except UserError as problem:
        raise problem if flag in str(problem) else UserError(f"{flag}: {problem}") from None


def _timeout(flag: str, text: str) -> float:
    return within(flag, parse_duration(text, flag), 0.2, MAX_TIMEOUT_S, " s")
