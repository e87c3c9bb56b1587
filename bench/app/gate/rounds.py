"""The rounds of the gate: each engine and our client in turn, with the reference work before and after each."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

import psutil
import pyarrow.compute as pc

from analysis.compare.gate import Round, engine_figures
from analysis.run.summary import RunSummary
from bench.app.campaign import Campaign, Outcome, put_aside
from bench.app.gate.reference import ROOT, Reference, between, reference
from bench.app.gate.token_cost import token_cost
from bench.app.options import RunOptions
from bench.app.request import RunRequest, run_request
from bench.app.results import code_of_stop, summarise
from bench.app.run import launched, observe
from bench.app.selftest.measure import SelftestLoad, choose_cores, measure
from bench.runs import manifest
from bench.runs.table import read_requests
from bench.server.launch import Server
from bench.truth import server as truth

CLIENT: Final = "client"

# Everything is fixed, so that plans and counts are equal on every machine.
ALL: Final = RunOptions(scenario="smoke", model="tiny", concurrency=2, seed=0)
ENGINES: Final[Mapping[str, Mapping[str, Any]]] = {
    "llamacpp": {"requests": 600, "warmup": "8", "server_arg": ("--threads", "1")},
    "vllm": {
        "requests": 80,
        "warmup": "4",
        "server_arg": ("--dtype=float32", "--enforce-eager", "--distributed-executor-backend=uni"),
    },
}
PARTS: Final = (*ENGINES, CLIENT)
# The others get a new process each round, so that the spread includes differences between starts; vLLM starts too
# slowly for that. By default vLLM's processes wait for each other in busy loops, whose CPU time would drown the rest.
STARTED_ONCE: Final[Mapping[str, Mapping[str, str]]] = {
    "vllm": {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "OMP_NUM_THREADS": "1"},
}
# Answers arrive at once and keep the client busy: waking an idle client costs CPU time that depends on the machine.
BUSY = ("gate-requests", 16, 6000, 2, 0.0, 0.0)
# A load that the client of any machine should see exactly: 100 streams of 100 tokens/s.
MODERATE = ("gate-streams", 100, 200, 50, 10.0, 10.0)
MOST_OTHER_FRACTION: Final = 0.1


class RoundEnded(Exception):
    """A run of a round did not finish, so that nothing can be compared."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.problem)
        self.outcome = outcome


class RoundsObserved(NamedTuple):
    """What the rounds found for each part, and which server and version each engine was."""

    rounds: dict[str, list[Round]]
    servers: dict[str, str]


def is_installed(part: str) -> bool:
    """Whether a part can be measured here: vLLM must be on the PATH, or installed by `make engines`."""
    return part != "vllm" or shutil.which("vllm") is not None or (ROOT / ".engines/vllm/ready").exists()


@contextmanager
def ready(parts: Sequence[str], folder: Path) -> Iterator[Callable[[int, Sequence[str]], RoundsObserved]]:
    """Start the long-running servers; yields what measures a round of some parts, and stops the servers at the end."""
    if CLIENT in parts:
        truth.compile_server()
    with ExitStack() as stack:
        servers = {}
        for part in set(STARTED_ONCE) & set(parts):
            with _environment(STARTED_ONCE[part]):
                server = launched(_request(part, folder), _silent, folder / f"{part}.log")
            servers[part] = stack.enter_context(server)
        yield lambda number, wanted: _round(number, wanted, servers, folder)


def _round(number: int, parts: Sequence[str], servers: Mapping[str, Server], folder: Path) -> RoundsObserved:
    """Every part once; the order alternates between this one and its reverse."""
    found = RoundsObserved({}, {})
    before = reference()
    for part in parts if number % 2 else reversed(parts):
        if part == CLIENT:
            finish = _client()
        else:
            finish, found.servers[part] = _engine(part, folder / f"{part}-{number}", servers.get(part))
        after = reference()
        found.rounds[part] = [finish(between(before, after))]
        before = after
    return found


# --- engines -------------------------------------------------------------------------------------------------------


def _request(part: str, out: Path) -> RunRequest:
    return run_request(replace(ALL, backend=part, out=out, **ENGINES[part]))


def _engine(part: str, out: Path, server: Server | None) -> tuple[Callable[[Reference], Round], str]:
    """A run on the engine; returns what makes a round of it, once the reference is known, and the server's name."""
    put_aside(Campaign(out.parent), out.name)  # left by an earlier gate, whose rounds are not of this session
    request = _request(part, out)
    with ExitStack() as stack:
        if server is None:
            server = stack.enter_context(launched(request, _silent, out.with_suffix(".log")))
        before_s = _cpu_s(server.pid)
        stopped = observe(request, server=server)
        server_cpu_s = _cpu_s(server.pid) - before_s
    if stopped is not None:
        raise RoundEnded(Outcome(out.name, code_of_stop(stopped), f"stopped early: {stopped}"))
    summary = summarise(out, with_report=False)
    counts = _counts(part, out, summary)
    about = manifest.read(out).server

    def finish(work: Reference) -> Round:
        return Round(counts, engine_figures(summary, server_cpu_s, counts["output_tokens"], work.pass_cpu_s))

    return finish, f"{about.name} {about.version or '(unknown version)'}"


def _counts(part: str, out: Path, summary: RunSummary) -> dict[str, Any]:
    calls = read_requests(out).filter(pc.field("phase") == "measured")
    counts = {
        "plan_hash": summary.plan_hash,
        "failures": summary.requests.planned - summary.requests.succeeded,
        "prompt_tokens": pc.sum(calls["prompt_tokens"]).as_py() or 0,
        "output_tokens": pc.sum(calls["output_tokens"]).as_py() or 0,
    }
    if part == "vllm":  # when the engine is behind, an event carries several tokens
        return counts
    return {**counts, "token_events": pc.sum(pc.list_value_length(calls["arrivals_ns"])).as_py() or 0}


def _cpu_s(pid: int) -> float:
    """CPU time of a server and all its children; 0 when it is gone."""
    used_s = 0.0
    try:
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            times = process.cpu_times()
            used_s += times.user + times.system
    except psutil.NoSuchProcess:
        return used_s
    return used_s


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables for what is started meanwhile."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _silent(_: str) -> None:
    """Ignore a line: a gate's user does not need those of so many runs."""


# --- our own client ------------------------------------------------------------------------------------------------


def _client() -> Callable[[Reference], Round]:
    """The client under two loads of the ground-truth server, and its code alone."""
    cores, ours = choose_cores(1), token_cost()
    busy, moderate = measure(SelftestLoad(*BUSY), cores), measure(SelftestLoad(*MODERATE), cores)
    exact = {
        "failures": busy.lost + moderate.lost,
        "token_events": busy.events + moderate.events + ours.tokens,
        "reads": ours.reads,
    }
    undisturbed = moderate.other_fraction < MOST_OTHER_FRACTION

    def finish(work: Reference) -> Round:
        return Round(
            exact,
            {
                "request_cpu": busy.cpu_s / busy.case.requests / work.read_cpu_s,
                "read_cpu": ours.read_ratio,
                "decode_cpu": ours.decode_ratio,
                "first_token_error_ms": moderate.first_token.p99_ms if undisturbed else None,
                "gap_error_ms": moderate.gap.p99_ms if undisturbed else None,
            },
        )

    return finish
