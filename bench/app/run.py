"""One run, from request to a folder with captures: launch or attach, preflight, plan, offer, observe.

Nothing is decoded here. Whatever is needed to judge or repeat the run goes into run.json before the load starts.
"""

import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from bench.app.dry import load_line
from bench.app.exporters import SamplingSetup, look, with_accounts
from bench.app.machine import hardware, versions
from bench.app.prepare import Prepared, log_kept, prepare
from bench.app.request import RunRequest, ServerToLaunch
from bench.app.results import captured_is_kept
from bench.app.stamps import note as stamp_note
from bench.app.stamps import stamp_source
from bench.app.view import SILENT, LiveFigures, OnProgress, RunView
from bench.errors import SERVER_GONE
from bench.load.controller import LoadFailed, LoadProcesses, LoadSpec, NeverBegun, Progress, load_processes, offer
from bench.load.spend import Ledger, in_words
from bench.plan.calls import Plan, total
from bench.plan.images import Images
from bench.plan.recorded import Recorded, keep
from bench.plan.synthetic import longest_tokens
from bench.plan.written import plan_hash, write_plan
from bench.preflight import rehearsal
from bench.process.cores import available_cores
from bench.process.limits import check_open_files
from bench.runs import folder as files
from bench.runs import manifest, selftests
from bench.runs.manifest import ChosenStamps, RunManifest, SentImages, Tokenizer
from bench.server.launch import HOST, Server, free_port, launch
from bench.telemetry import sampler
from bench.telemetry.sampler import Sampler
from bench.telemetry.scraping import Engine
from bench.types import Launch, Load, Scenario, ServeOptions, ServerInfo, Target, UserError

Stop = Callable[[Progress], str | None]

_CONTEXT_MARGIN_TOKENS = 64
_CONTEXT_STEP_TOKENS = 256
# llama.cpp keeps state per slot, so an open loop's limit on requests in flight does not set the number of slots.
_OPEN_LOOP_SLOTS = 16


def never(_: Progress) -> None:
    """Let a load run to its end."""


def observe(
    request: RunRequest, view: RunView = SILENT, server: Server | None = None, stop: Stop = never
) -> str | None:
    """Make the run's folder, offer the load, and leave the observations in it; returns why it stopped early, if it did.

    `server` was launched for several runs; without it, and without a URL, one is launched for this run. `stop` ends the
    load early by returning a reason. Raises UserError and KeyboardInterrupt before the load begins, and then removes
    the folder; after that, faults and Ctrl-C end the load, and the captures stay.
    """
    stopped = _observe(request, view, server, stop)
    if stopped is not None:
        view.say(f"stopped early: {stopped}")
    return stopped


def _observe(request: RunRequest, view: RunView, server: Server | None, stop: Stop) -> str | None:
    say = view.say
    secrets = request.access.secrets
    check_open_files(request.workload.load, request.client.workers)
    with ExitStack() as stack:
        # Until the load begins any failure removes the folder, after that none does.
        with files.new(request.out):
            # Ended after the load processes, so that it sees their last packets.
            source = stack.enter_context(stamp_source(request.client.stamps, request.out, secrets))
            processes = stack.enter_context(load_processes(request.client.workers, request.out, secrets))
            if server is None and request.url is None:
                server = stack.enter_context(launched(request, say, request.out / files.SERVER_LOG))
            with log_kept(server):
                found = prepare(request, server, say)
            plan, target = found.plan, found.target
            stamps = source.begin(request.out, target.url, late_reads=request.client.late_reads)
            watching = look(request.watched, target.url, target.ca_file, launched=server is not None)
            run = _manifest(request, found, stamps, watching, launched=server is not None)
            manifest.write(request.out, run, secrets)
            if isinstance(plan.source, Recorded):
                keep(plan.source, request.out / files.RECORDED)
                if (count := total(plan)) is not None:  # while its texts are available for hashing
                    write_plan(plan, request.out / files.PLAN, range(count))
            sampling = stack.enter_context(_sampler(request, server, target, found.info, watching))
            for note in (*watching.notes, *sampling.notes, *filter(None, [stamp_note(stamps)])):
                say(note)
            say(load_line(request))
            stack.enter_context(captured_is_kept(request.out))
            figures = LiveFigures(request.out, request.backend.decode)
            on_progress = stack.enter_context(view.load(request, total(plan), figures))
            if request.client.web_port is not None:
                say(f"Locust's page: http://{HOST}:{request.client.web_port}")
        stopped = _offer(request, processes, plan, target, stamps, on_progress, server, stop)
    if found.account is not None:
        run = replace(run, spending=(spending := Ledger.spending(found.account)))
        say(in_words(spending))
    early = () if stopped is None else (f"stopped early: {stopped}",)
    notes = (*run.notes, *watching.notes, *sampling.notes, *early)
    observed = with_accounts(watching.observed, sampling.accounts)
    run = replace(run, interrupted=stopped is not None, stopped=stopped, notes=notes, telemetry=observed)
    try:
        manifest.write(request.out, run, secrets)
    except UserError as problem:
        # What was measured is kept, and run.json still says that the run did not come to its end.
        return stopped or str(problem)
    return stopped


def launched(request: RunRequest, say: Callable[[str], None], log_path: Path) -> Server:
    """Launch the server that a request asks for; leaving the context stops it."""
    how = how_to_launch(request)
    say(f"starting {how.name} with {request.model}")
    return launch(
        how,
        log_path,
        ready_timeout_s=request.client.ready_timeout_s or how.ready_timeout_s,
        on_progress=say,
        port=request.server.port if isinstance(request.server, ServerToLaunch) else None,
        hidden=request.access.secrets,
    )


def how_to_launch(request: RunRequest) -> Launch:
    """The command that starts the server that a request asks for. Raises UserError if it cannot be started here."""
    asked, serve = request.server, request.backend.serve
    assert isinstance(asked, ServerToLaunch) and serve is not None, "the request names a running server"
    options = ServeOptions(
        server=asked.kind,
        slots=slots_of(request.workload.load),
        context_tokens=_needed_context_tokens(request.workload.scenario),
        # One core is left to the client, which must not compete with the server it observes.
        threads=max(1, available_cores() - 1),
        extra_args=asked.arguments,
        python=asked.python,
        command=asked.command,
        alias=None if asked.model == request.model else request.model,
        quantization=asked.quantization,
    )
    return serve(asked.model, options)


def slots_of(load: Load) -> int:
    """The number of concurrent requests that a server is launched for."""
    return load.concurrency or min(load.max_in_flight, _OPEN_LOOP_SLOTS)


def _needed_context_tokens(scenario: Scenario) -> int:
    longest = longest_tokens(scenario) + _CONTEXT_MARGIN_TOKENS
    return -(-longest // _CONTEXT_STEP_TOKENS) * _CONTEXT_STEP_TOKENS


def _sampler(
    request: RunRequest, server: Server | None, target: Target, info: ServerInfo, watching: SamplingSetup
) -> Sampler:
    """Start the sampler on the exporters, and on the server's own metrics unless an engine's were named."""
    return sampler.start(
        request.out / files.TELEMETRY_RAW,
        url=target.url,
        server_pid=server.pid if server else None,
        engines=watching.engines or _own_metrics(request, target, info.metrics_path),
        exporters=watching.exporters,
        ca_file=target.ca_file,
        secrets=request.access.secrets,
    )


def _own_metrics(request: RunRequest, target: Target, path: str | None) -> tuple[Engine, ...]:
    if path is None or not request.backend.gauges:
        return ()
    return (Engine(target.url + path + (f"?{target.query}" if target.query else ""), request.backend.gauges),)


def _offer(
    request: RunRequest,
    processes: LoadProcesses,
    plan: Plan,
    target: Target,
    stamps: ChosenStamps,
    on_progress: OnProgress,
    server: Server | None,
    stop: Stop,
) -> str | None:
    client, reasons = request.client, list[str]()
    spec = LoadSpec(
        role="local",
        worker=0,
        workers=client.workers,
        backend=request.backend.name,
        target=target,
        plan=plan,
        budget=request.costs.budget,
        timeout_s=client.timeout_s,
        stall_timeout_s=client.stall_timeout_s,
        folder=request.out,
        master_port=free_port(),
        web_port=client.web_port,
        backoff=client.backoff,
        quick_ack=client.quick_ack,
        stamps=stamps.taken,
        late_reads=stamps.late_reads,
        body_bytes_max=client.body_bytes_max,
        key_variable=request.backend.key_variable,
        by_class=request.by_class,
    )

    def follow(progress: Progress) -> None:
        on_progress(progress)
        if not reasons and (why := stop(progress)) is not None:
            reasons.append(why)

    def should_stop() -> str | None:
        if server is None or (code := server.exit_code()) is None:
            return reasons[0] if reasons else None
        return f"{SERVER_GONE}: it ended (exit code {code}); {server.log_path} may say why"

    try:
        return offer(processes, spec, follow, should_stop)
    except LoadFailed as problem:
        return str(problem)
    except NeverBegun:
        files.discard(request.out)
        raise KeyboardInterrupt from None


def _manifest(
    request: RunRequest, found: Prepared, stamps: ChosenStamps, watching: SamplingSetup, *, launched: bool
) -> RunManifest:
    plan, target, info = found.plan, found.target, found.info
    vocabulary, machine, client = plan.vocabulary, hardware(), request.client
    return RunManifest(
        run_id=request.out.name,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        argv=request.argv,
        settings=request.settings,
        backend=request.backend.name,
        model=request.model,
        url=target.url,
        launched=launched,
        server=info,
        options=target.options,
        adapted=tuple(found.rehearsed.adapted),
        rehearsal=rehearsal.kept(found.rehearsed),
        cache=request.workload.cache,
        window=request.window,
        pricing=request.costs.pricing,
        scenario=request.workload.scenario,
        recorded=found.recorded,
        images=_sent(plan.images),
        load=plan.load,
        seed=plan.seed,
        salt=plan.salt,
        plan_hash=plan_hash(plan),
        tokenizer=Tokenizer(**{**asdict(vocabulary), "words": " ".join(vocabulary.words)}),
        slo=request.slo,
        inconclusive=request.inconclusive,
        timeout_s=client.timeout_s,
        stall_timeout_s=client.stall_timeout_s,
        body_bytes_max=client.body_bytes_max,
        workers=client.workers,
        backoff=client.backoff,
        quick_ack=client.quick_ack,
        stamps=stamps,
        nagle=found.nagle,
        hardware=machine,
        selftest=selftests.for_run(machine, client.workers, stamps.taken),
        telemetry=watching.observed,
        grid_gco2e_per_kwh=request.watched.gco2e_per_kwh,
        packages=versions(),
        git_commit=git_commit(),
        # True until the run has come to its end, so that run.json of a killed run says so.
        interrupted=True,
        notes=tuple(info.notes),
        clients=(),
    )


def _sent(images: Images | None) -> SentImages | None:
    if images is None:
        return None
    return SentImages(images.folder, images.sha256, tuple(image.bytes for image in images.images))


def git_commit() -> str | None:
    """The commit of a checkout; an installed copy may lie in some other project's repository."""
    root = Path(__file__).parents[2]
    command = ["git", "rev-parse", "--show-toplevel", "HEAD"]
    try:
        found = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    top, commit = found.stdout.splitlines()
    return commit if Path(top) == root.resolve() else None
