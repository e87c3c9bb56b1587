"""One run, from settings to a folder with captures: launch or attach, preflight, plan, offer, observe.

Nothing is decoded here. What a run cannot be believed or repeated without goes to run.json before the load starts.
"""

import subprocess
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.app.prepare import WARM_SALT, Found, log_kept, prepare
from bench.load.controller import (
    SERVER_GONE,
    LoadFailed,
    LoadProcesses,
    LoadSpec,
    NeverBegun,
    Progress,
    load_processes,
    offer,
)
from bench.load.spend import Budget, Ledger, Prices
from bench.plan.calls import Plan, make_plan, plan_hash
from bench.plan.prompts import Count, Vocabulary, calibrate
from bench.preflight import rehearsal
from bench.process.cores import available_cores
from bench.process.limits import check_open_files
from bench.runs import folder as files
from bench.runs.folder import write_json
from bench.server.launch import HOST, Server, free_port, launch
from bench.types import (
    Backend,
    Headers,
    Lengths,
    Load,
    Scenario,
    ServeOptions,
    ServerInfo,
    Target,
    UserError,
)

if TYPE_CHECKING:
    from bench.telemetry.sampler import Sampler

_CONTEXT_MARGIN_TOKENS = 64
_CONTEXT_STEP_TOKENS = 256
# llama.cpp keeps state for every slot: an open loop's limit on requests in flight is no wish for as many slots.
_OPEN_LOOP_SLOTS = 16


@dataclass(frozen=True, slots=True)
class Settings:
    """A run as the user asked for it; `model` is what a launched server loads, `model_name` how the run is called.

    `tokenizer` is the name of a local one and how it counts; None leaves the counting to the server. `window` is what
    results are made of: all that was measured, or only from where the initial transient ends.
    """

    backend: Backend
    model: str
    model_name: str
    scenario: Scenario
    load: Load
    out: Path
    seed: int
    workers: int
    timeout_s: float
    stall_timeout_s: float
    ready_timeout_s: float | None
    slo: tuple[str, ...]
    url: str | None
    api_key: str | None
    ca_file: str | None
    tokenizer: tuple[str, Count] | None
    server: str | None
    server_args: tuple[str, ...]
    port: int | None
    web_port: int | None
    argv: tuple[str, ...]
    quantization: str | None = None
    aliases: tuple[str, ...] = ()
    options: Mapping[str, str] = field(default_factory=dict)
    cache: Literal["cold", "warm"] = "cold"
    server_python: str | None = None
    server_cmd: tuple[str, ...] = ()
    pricing: Mapping[str, Any] | None = None
    budget: Budget | None = None
    estimate: Callable[[Plan], str] | None = None
    window: Literal["planned", "steady"] = "planned"
    backoff: bool = True
    quick_ack: bool = False
    body_bytes_max: int = 64 << 20
    query: str = ""
    headers: Headers = ()
    client_cert: str | None = None
    client_key: str | None = None
    secrets: tuple[str, ...] = ()
    prices: Prices | None = None

    @property
    def all_secrets(self) -> tuple[str, ...]:
        """The key, and what else is shown nowhere."""
        return self.secrets if self.api_key is None else (self.api_key, *self.secrets)


OnProgress = Callable[[Progress], None]


def run(
    settings: Settings,
    say: Callable[[str], None],
    watch: Callable[[], AbstractContextManager[OnProgress]],
    server: Server | None = None,
    stop: Callable[[Progress], str | None] = lambda _: None,
) -> str | None:
    """Make the run's folder, offer the load, leave what was observed in it; returns why it stopped early, if it did.

    `say` takes lines for the user; `watch` gives a context, entered when the load begins, that takes every Progress.
    `server` is one that was launched for several runs; without it, and without a URL, one is launched for this run.
    `stop` ends the load early by giving a reason.
    Raises UserError, and KeyboardInterrupt, before the load begins, and then leaves no folder behind; from then on
    faults and Ctrl-C end the load, and what was captured stays.
    """
    check_open_files(settings.load, settings.workers)
    with ExitStack() as stack:
        with files.new(settings.out):
            processes = stack.enter_context(load_processes(settings.workers, settings.out, settings.all_secrets))
            if server is None and settings.url is None:
                server = stack.enter_context(launched(settings, say, settings.out / files.SERVER_LOG))
            with log_kept(server):
                found = prepare(settings, server, say)
            plan, target = found.plan, found.target
            manifest = _manifest(settings, found, launched=server is not None)
            write_json(settings.out / files.RUN, manifest, settings.all_secrets)
            sampler = stack.enter_context(_sampler(settings, server, target, found.info))
            for note in sampler.notes:
                say(note)
            on_progress = stack.enter_context(watch())
            if settings.web_port is not None:
                say(f"Locust's page: http://{HOST}:{settings.web_port}")
        stopped = _offer(settings, processes, plan, target, on_progress, server, stop)
    if found.account is not None:
        statement = Ledger.statement(found.account)
        manifest["spending"] = {f"{name}_usd": f"{usd:f}" for name, usd in statement._asdict().items()}
        say(str(statement))
    manifest["interrupted"] = stopped is not None
    manifest["stopped"] = stopped
    manifest["notes"] += sampler.notes
    if stopped is not None:
        manifest["notes"].append(f"stopped early: {stopped}")
    try:
        write_json(settings.out / files.RUN, manifest, settings.all_secrets)
    except UserError as problem:
        # What was measured is there, and the folder says of itself that its run did not come to its end.
        return stopped or str(problem)
    return stopped


def dry_plan(settings: Settings) -> Plan:
    """Make the plan of a run without asking any server."""
    source, count = settings.tokenizer or ("nobody", lambda _: None)
    vocabulary = calibrate(count, source, shared_prefix=settings.scenario.shared_prefix_tokens > 0)
    return make_plan(settings.scenario, settings.load, settings.seed, WARM_SALT, vocabulary)


def restore_plan(manifest: Mapping[str, Any]) -> Plan:
    """Make a run's plan again from its run.json."""
    scenario, tokenizer = manifest["scenario"], manifest["tokenizer"]
    lengths = {name: Lengths(**scenario[name]) for name in ("prompt_tokens", "output_tokens")}
    vocabulary = Vocabulary(**{**tokenizer, "words": tuple(tokenizer["words"].split())})
    return make_plan(
        Scenario(**{**scenario, **lengths}), Load(**manifest["load"]), manifest["seed"], manifest["salt"], vocabulary
    )


def launched(settings: Settings, say: Callable[[str], None], log_path: Path) -> Server:
    """Launch the server that the settings ask for; the context ends it."""
    serve, load = settings.backend.serve, settings.load
    assert serve is not None, "settings without --url need a backend that launches"
    options = ServeOptions(
        server=settings.server,
        slots=load.concurrency or min(load.max_in_flight, _OPEN_LOOP_SLOTS),
        context_tokens=_needed_context_tokens(settings.scenario),
        # One core is left to the client, which must not wait for the server it observes.
        threads=max(1, available_cores() - 1),
        extra_args=settings.server_args,
        python=settings.server_python,
        command=settings.server_cmd,
        alias=None if settings.model == settings.model_name else settings.model_name,
        quantization=settings.quantization,
    )
    how = serve(settings.model, options)
    say(f"starting {how.name} with {settings.model_name}")
    return launch(
        how,
        log_path,
        ready_timeout_s=settings.ready_timeout_s or how.ready_timeout_s,
        on_progress=say,
        port=settings.port,
        hidden=settings.all_secrets,
    )


def _needed_context_tokens(scenario: Scenario) -> int:
    longest = scenario.prompt_tokens.high + scenario.output_tokens.high + _CONTEXT_MARGIN_TOKENS
    return -(-longest // _CONTEXT_STEP_TOKENS) * _CONTEXT_STEP_TOKENS


def _sampler(settings: Settings, server: Server | None, target: Target, info: ServerInfo) -> "Sampler":
    from bench.telemetry.sampler import start

    return start(
        settings.out / files.TELEMETRY_RAW,
        url=target.url,
        server_pid=server.pid if server else None,
        metrics_url=_metrics_url(target, info.metrics_path),
        gauges=settings.backend.gauges,
        secrets=settings.all_secrets,
    )


def _metrics_url(target: Target, path: str | None) -> str | None:
    if path is None:
        return None
    return target.url + path + (f"?{target.query}" if target.query else "")


def _offer(
    settings: Settings,
    processes: LoadProcesses,
    plan: Plan,
    target: Target,
    on_progress: OnProgress,
    server: Server | None,
    stop: Callable[[Progress], str | None],
) -> str | None:
    load, enough = settings.load, _Once(stop)
    spec = LoadSpec(
        role="local",
        worker=0,
        workers=settings.workers,
        backend=settings.backend.name,
        target=target,
        plan=plan,
        budget=settings.budget,
        slots=load.concurrency or load.max_in_flight,
        timeout_s=settings.timeout_s,
        stall_timeout_s=settings.stall_timeout_s,
        folder=settings.out,
        master_port=free_port(),
        web_port=settings.web_port,
        backoff=settings.backoff,
        quick_ack=settings.quick_ack,
        body_bytes_max=settings.body_bytes_max,
    )

    def follow(progress: Progress) -> None:
        on_progress(progress)
        enough.ask(progress)

    def should_stop() -> str | None:
        if server is None or (code := server.exit_code()) is None:
            return enough.reason
        return f"{SERVER_GONE}: it ended (exit code {code}); {server.log_path} may say why"

    try:
        return offer(processes, spec, follow, should_stop)
    except LoadFailed as problem:
        return str(problem)
    except NeverBegun:
        files.discard(settings.out)
        raise KeyboardInterrupt from None


class _Once:
    """Asks whether to stop until there is a reason, and keeps that."""

    def __init__(self, stop: Callable[[Progress], str | None]) -> None:
        self._stop = stop
        self.reason: str | None = None

    def ask(self, progress: Progress) -> None:
        """Ask, where there is no reason yet."""
        self.reason = self.reason or self._stop(progress)


def _manifest(settings: Settings, found: Found, *, launched: bool) -> dict[str, Any]:
    from bench.runs import selftests
    from bench.telemetry.machine import hardware, versions

    plan, target, info = found.plan, found.target, found.info
    vocabulary, machine = plan.vocabulary, hardware()
    return {
        "schema": 1,
        "run_id": settings.out.name,
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "argv": list(settings.argv),
        "backend": settings.backend.name,
        "model": settings.model_name,
        "url": target.url,
        "launched": launched,
        "server": asdict(info),
        "options": dict(target.options),
        "adapted": list(found.rehearsed.adapted),
        "rehearsal": rehearsal.facts(found.rehearsed),
        "cache": settings.cache,
        "window": settings.window,
        "pricing": settings.pricing,
        "spending": None,
        "scenario": asdict(settings.scenario),
        "load": asdict(settings.load),
        "seed": plan.seed,
        "salt": plan.salt,
        "plan_hash": plan_hash(plan),
        "tokenizer": {**asdict(vocabulary), "words": " ".join(vocabulary.words)},
        "slo": list(settings.slo),
        "timeout_s": settings.timeout_s,
        "stall_timeout_s": settings.stall_timeout_s,
        "body_bytes_max": settings.body_bytes_max,
        "workers": settings.workers,
        "backoff": settings.backoff,
        "quick_ack": settings.quick_ack,
        "nagle": found.held.facts(quick_ack=settings.quick_ack) if found.held else None,
        "hardware": machine,
        "selftest": selftests.for_run(machine, settings.workers),
        "packages": versions(),
        "git_commit": git_commit(),
        # True until the run has come to its end: a run that was killed says so by itself.
        "interrupted": True,
        "stopped": None,
        "notes": list(info.notes),
        "clients": [],
    }


def git_commit() -> str | None:
    """The commit of a checkout; installed, the code may lie in somebody else's."""
    root = Path(__file__).parents[2]
    command = ["git", "rev-parse", "--show-toplevel", "HEAD"]
    try:
        found = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    top, commit = found.stdout.splitlines()
    return commit if Path(top) == root.resolve() else None
