"""Shared builders: a synthetic run, as the files of a run folder would hold it, with every timing known in advance."""

import copy
import gc
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import asdict
from functools import wraps
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any, ParamSpec

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import settings

from bench.process import module
from bench.runs.table import SCHEMA
from bench.types import Arrivals, Lengths, Load, Scenario, ServerInfo
from tests import warm

ROOT = Path(__file__).parents[1]
FIXTURES = Path(__file__).parent / "fixtures"
WebServer = Callable[[type[BaseHTTPRequestHandler]], str]
SyntheticData = tuple[dict[str, Any], pa.Table, pa.Table]
SyntheticRun = Callable[..., SyntheticData]

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

MS = 1_000_000
SECOND = 1_000_000_000

LISTS = {field.name for field in SCHEMA if pa.types.is_list(field.type)}


FEWEST_EXAMPLES = 10
# Marks of tests that measure with the real clock: other load on the machine can fail them.
MEASURING = frozenset({"clock", "alone", "engine"})
RERUNS_OF_MEASURING = 4
RERUN_AFTER_S = 2  # other load comes in bursts
RUNS_KEPT = 100


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--deep", action="store_true", help="try properties on all their examples, not on a quarter")
    parser.addoption("--explore", action="store_true", help="try other examples of properties each time")
    parser.addoption("--second-try", action="store_true", help="try once more what failed, as on a shared machine")


def pytest_configure(config: pytest.Config) -> None:
    """Judge no example by its time, and let what is started hear what a shell's background job or nohup ignores."""
    settings.register_profile("ours", deadline=None, derandomize=not config.getoption("explore"))
    settings.load_profile("ours")
    # A try that failed is shown with why, whatever became of the next.
    config.option.rerun_show_tracebacks = True
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.hookimpl(tryfirst=True)
def pytest_collection(session: pytest.Session) -> None:
    """Let each of several workers import first what the others import later: compiling takes most of the collecting.

    In step with each other each of them would compile everything of a clean checkout; so it finds most of it compiled.
    """
    worker = getattr(session.config, "workerinput", None)
    asked = [Path(arg.partition("::")[0]).resolve() for arg in session.config.args]
    files = sorted({file for path in asked for file in (path.rglob("test_*.py") if path.is_dir() else ())})
    if worker is None or not files:
        return
    begin = int(worker["workerid"].removeprefix("gw")) * len(files) // worker["workercount"]
    for file in files[begin:]:
        with suppress(Exception, pytest.skip.Exception):  # which the collecting will meet, and show
            import_module(".".join(file.relative_to(ROOT).with_suffix("").parts))


@pytest.hookimpl(trylast=True)  # hypothesis marks its tests in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Say how often each test is tried; try a property on a quarter of its examples where nobody asked for all."""
    for item in items:
        reruns = RERUNS_OF_MEASURING if not MEASURING.isdisjoint(item.keywords) else config.getoption("second_try")
        if reruns:
            item.add_marker(pytest.mark.flaky(reruns=int(reruns), reruns_delay=RERUN_AFTER_S))
    if config.getoption("deep"):
        return
    for test in {item.obj for item in items if isinstance(item, pytest.Function) if "hypothesis" in item.keywords}:
        # Hypothesis has profiles for what a test leaves open; what it sets itself is only to be had here.
        own: settings = test._hypothesis_internal_use_settings
        fewest = FEWEST_EXAMPLES if own.max_examples >= 2 * FEWEST_EXAMPLES else 1  # few are asked of what takes long
        examples = min(own.max_examples, max(fewest, own.max_examples // 4))
        test._hypothesis_internal_use_settings = settings(own, max_examples=examples)


def pytest_collection_finish() -> None:
    """Spare every later collection of garbage what is there to stay: the modules and some thousand tests."""
    gc.freeze()


@pytest.fixture(autouse=True)
def signals_as_they_were() -> Iterator[None]:
    """A command that ran in this process may have left Ctrl-C ignored, which every process started later inherits."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    yield
    for number, handler in before.items():
        if signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def records_table(rows: list[dict[str, Any]]) -> pa.Table:
    """requests.parquet from hand-written rows; a column left out is unknown (empty, for a list)."""
    filled = [{name: [] if name in LISTS else None for name in SCHEMA.names} | row for row in rows]
    return pa.Table.from_pylist(filled, schema=SCHEMA)


P = ParamSpec("P")


def built_once(build: Callable[P, SyntheticData]) -> Callable[P, SyntheticData]:
    """Keep the last runs that were built: nobody can change their tables, and of run.json each gets a copy."""
    built: dict[str, SyntheticData] = {}

    @wraps(build)
    def again(*given: P.args, **options: P.kwargs) -> SyntheticData:
        asked = repr((given, sorted(options.items())))
        if asked not in built:
            built[asked] = build(*given, **options)
            while len(built) > RUNS_KEPT:
                del built[next(iter(built))]
        run, requests, telemetry = built[asked]
        return copy.deepcopy(run), requests, telemetry

    return again


@built_once
def build_run(
    requests: int = 200,
    tokens: int = 32,
    *,
    warmup: int = 0,
    rate_per_s: float | None = None,
    arrivals: Arrivals = "poisson",
    concurrency: int = 8,
    duration_s: float | None = None,
    prompt_tokens: int = 100,
    ttft_ms: float = 80.0,
    itl_ms: float = 10.0,
    jitter: float = 0.1,
    tokens_per_arrival: int = 1,
    failed: Collection[int] = (),
    dropped: Collection[int] = (),
    unfinished: Collection[int] = (),
    stamps: str = "kernel",
    lag_ms: float = 0.2,
    gpus: int = 1,
    interrupted: bool = False,
    slo: Collection[str] = (),
    seed: int = 1,
    backend: str = "llamacpp",
    model: str = "tiny",
) -> SyntheticData:
    """(run.json, requests, telemetry) of a run whose latencies are drawn around the values given.

    Open loop with `rate_per_s`, else closed. `warmup` calls come first; `failed`, `dropped` and `unfinished` are
    sequence numbers. `jitter` is the relative spread of the first token and the gaps: 0 gives exact timings.
    """
    rng = np.random.default_rng(seed)
    n = warmup + requests
    arrivals_per_call = -(-tokens // tokens_per_arrival)

    gaps_ns = itl_ms * MS * tokens_per_arrival * _spread(rng, jitter, (n, arrivals_per_call))
    gaps_ns[:, 0] = ttft_ms * MS * _spread(rng, jitter, (n,))
    since_sent_ns = np.cumsum(gaps_ns, axis=1).astype(np.int64)
    service_ns = since_sent_ns[:, -1] + MS // 10

    due_ns = _due_ns(rng, n, rate_per_s, arrivals, concurrency, service_ns)
    sent_ns = due_ns + MS // 20
    arrivals_ns = sent_ns[:, None] + since_sent_ns
    arrival_tokens = np.full((n, arrivals_per_call), tokens_per_arrival, np.int32)
    arrival_tokens[:, -1] = tokens - tokens_per_arrival * (arrivals_per_call - 1)
    lags_ns = (lag_ms * MS * rng.exponential(0.5, (n, arrivals_per_call))).astype(np.int64)

    error = np.full(n, "", object)
    for code, seqs in {"http_500": failed, "dropped": dropped, "unfinished": unfinished}.items():
        error[list(seqs)] = code
    ok, sent = error == "", error != "dropped"
    everywhere = np.ones(n, np.bool_)

    def ints(values: Any, where: Any = everywhere) -> pa.Array:
        return pa.array(np.broadcast_to(values, n), pa.int64(), mask=~where)

    def strings(values: Any, where: Any) -> pa.Array:
        return pa.array(np.broadcast_to(np.array(values, object), n), pa.string(), mask=~where)

    def lists(values: Any, where: Any) -> pa.Array:
        offsets = np.concatenate([[0], np.cumsum(where * arrivals_per_call)]).astype(np.int32)
        flat = values if where.all() else values[where]
        return pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat.reshape(-1)))

    columns = {
        "seq": ints(np.arange(n)),
        "worker": ints(0),
        "session": ints(np.arange(n)),
        "turn": ints(0),
        "phase": pa.array(["warmup"] * warmup + ["measured"] * requests, pa.string()),
        "due_ns": ints(due_ns),
        "sent_ns": ints(sent_ns, sent),
        "headers_ns": ints(arrivals_ns[:, 0] - 1000, ok),
        "first_byte_ns": ints(arrivals_ns[:, 0] - 1000, ok),
        "first_token_ns": ints(arrivals_ns[:, 0], ok),
        "first_text_ns": ints(arrivals_ns[:, 0], ok),
        "last_token_ns": ints(arrivals_ns[:, -1], ok),
        "end_ns": ints(sent_ns + service_ns, sent & (error != "unfinished")),
        "status": ints(np.where(ok, 200, 500), ok | (error == "http_500")),
        "finish": strings("length", ok),
        "error": strings(error, ~ok),
        "error_message": strings("synthetic", ~ok),
        "prompt_tokens_wanted": ints(prompt_tokens),
        "max_tokens": ints(tokens),
        "prompt_tokens": ints(prompt_tokens, ok),
        "cached_tokens": ints(0, ok),
        "output_tokens": ints(tokens, ok),
        "token_source": strings("server usage", ok),
        "arrivals_ns": lists(arrivals_ns, ok),
        "arrival_tokens": lists(arrival_tokens, ok),
        "bytes_received": ints(np.where(ok, 200 * arrivals_per_call, 0)),
        "reads": ints(np.where(ok, arrivals_per_call, 0)),
        "coalesced_reads": ints(0),
        "lags_ns": lists(lags_ns, ok & (stamps == "kernel")),
        "text_sha": strings([f"{seq:016x}" for seq in range(n)], ok),
    }
    table = pa.table([columns.get(field.name, pa.nulls(n, field.type)) for field in SCHEMA], schema=SCHEMA)
    wall_s = float((sent_ns + service_ns)[sent].max(initial=0)) / SECOND
    scenario = Scenario("chat", "synthetic", _fixed(prompt_tokens), _fixed(tokens), 0, concurrency, requests, warmup)
    load = Load(
        concurrency=None if rate_per_s else concurrency,
        rate_per_s=rate_per_s,
        arrivals=arrivals,
        requests=None if duration_s else requests,
        duration_s=duration_s,
        warmup_requests=warmup,
        warmup_s=None,
        max_in_flight=4096,
        overload="wait",
    )
    run = _manifest(backend, model, scenario, load, gpus) | {
        "seed": seed,
        "slo": list(slo),
        "interrupted": interrupted,
        "clients": [{"worker": 0, "cpu_s": 0.1 * wall_s, "wall_s": wall_s, "stamps": stamps}],
    }
    return run, table, _telemetry(wall_s, gpus, table)


def _manifest(backend: str, model: str, scenario: Scenario, load: Load, gpus: int) -> dict[str, Any]:
    return {
        "schema": 1,
        "run_id": f"{backend}-{model}-synthetic",
        "created_at": "2026-01-01T00:00:00Z",
        "argv": ["bench", "run"],
        "backend": backend,
        "model": model,
        "url": "http://127.0.0.1:8080",
        "launched": True,
        "scenario": asdict(scenario),
        "load": asdict(load),
        "plan_hash": "0" * 64,
        "tokenizer": {"source": "server", "exact": True},
        "timeout_s": 120.0,
        "stall_timeout_s": 30.0,
        "workers": 1,
        "server": asdict(ServerInfo(backend, "1.0", model, 4096, "/metrics", {})),
        "hardware": {
            "cpu": "synthetic",
            "cores": 8,
            "memory_bytes": 2**34,
            "os": "Linux",
            "gpus": [{"name": "Synthetic GPU", "driver": "1", "memory_bytes": 80 * 2**30}] * gpus,
        },
        "packages": {},
        "git_commit": None,
        "notes": [],
    }


def _fixed(tokens: int) -> Lengths:
    return Lengths("fixed", tokens, tokens)


def _spread(rng: np.random.Generator, jitter: float, shape: tuple[int, ...]) -> np.ndarray:
    """Factors of mean 1 and relative standard deviation `jitter`."""
    return rng.gamma(jitter**-2, jitter**2, shape) if jitter else np.ones(shape)


def _due_ns(
    rng: np.random.Generator,
    n: int,
    rate_per_s: float | None,
    arrivals: str,
    concurrency: int,
    service_ns: np.ndarray,
) -> np.ndarray:
    if rate_per_s:
        waits = np.ones(n) if arrivals == "constant" else rng.exponential(1.0, n)
        return (np.cumsum(waits) / rate_per_s * SECOND).astype(np.int64)
    due_ns = np.arange(n) % concurrency * (MS // 10)
    for slot in range(min(concurrency, n)):
        own = service_ns[slot::concurrency] + MS // 10
        due_ns[slot::concurrency] += np.cumsum(own) - own
    return due_ns


def _telemetry(wall_s: float, gpus: int, table: pa.Table) -> pa.Table:
    t_ns = np.arange(0, int(wall_s) + 2, dtype=np.int64) * SECOND
    arrivals_ns = table["arrivals_ns"].combine_chunks().flatten().to_numpy()
    order = np.argsort(arrivals_ns)
    tokens = np.concatenate([[0], np.cumsum(table["arrival_tokens"].combine_chunks().flatten().to_numpy()[order])])
    ended = table.filter(pc.is_valid(table["end_ns"]))
    begun_by, ended_by = (np.searchsorted(np.sort(ended[at].to_numpy()), t_ns) for at in ("sent_ns", "end_ns"))
    series: dict[tuple[str, str], Any] = {
        ("engine", "generation_tokens_total"): tokens[np.searchsorted(arrivals_ns[order], t_ns)],
        ("engine", "running"): begun_by - ended_by,
        ("engine", "queue"): np.zeros(len(t_ns)),
        ("host", "busy_cores"): np.full(len(t_ns), 20.0),
    }
    for gpu in range(gpus):
        series |= {
            (f"gpu{gpu}", "util_pct"): np.full(len(t_ns), 90.0),
            (f"gpu{gpu}", "memory_used_bytes"): np.full(len(t_ns), 8.0 * 2**30),
            (f"gpu{gpu}", "power_w"): np.full(len(t_ns), 300.0),
            (f"gpu{gpu}", "energy_j"): 1000.0 + 300.0 * np.arange(len(t_ns)),
        }
    rows = [(t_ns, source, name, values.astype(np.float64)) for (source, name), values in series.items()]
    return pa.table(
        {
            "t_ns": np.concatenate([row[0] for row in rows]),
            "source": [row[1] for row in rows for _ in t_ns],
            "name": [row[2] for row in rows for _ in t_ns],
            "value": np.concatenate([row[3] for row in rows]),
        }
    )


@pytest.fixture(scope="session", autouse=True)
def _no_kept_selftest(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No run of a test, nor of a program that it starts, finds what a developer's selftest has kept."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="session", autouse=True)
def _warm_processes() -> Iterator[None]:
    """What this process starts of ours has imported already; what a command in a process of its own starts has not."""
    with pytest.MonkeyPatch.context() as patch:
        if sys.platform == "linux":
            patch.setattr(module, "subprocess", warm)
        yield
    warm.end()


@pytest.fixture
def synthetic_run() -> SyntheticRun:
    """`synthetic_run(requests=200, tokens=32, …) -> (run, requests, telemetry)`; see `build_run` for what it takes."""
    return build_run


@pytest.fixture
def requests_table() -> Callable[[list[dict[str, Any]]], pa.Table]:
    """`requests_table(rows) -> pa.Table` for golden cases: each row names only the columns that matter."""
    return records_table


@pytest.fixture
def web_server() -> Iterator[WebServer]:
    """`web_server(handler) -> url` of an HTTP server that runs as long as the test."""
    servers = []

    def start(handler: type[BaseHTTPRequestHandler]) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def fake_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`fake_driver(library, fixture, *defines)` makes processes started from here load that one for the driver's."""
    if sys.platform != "linux" or not shutil.which("cc"):
        pytest.skip("a fake driver library needs Linux and a C compiler")

    def build(library: str, fixture: str, *defines: str) -> None:
        flags = [f"-D{define}" for define in defines]
        subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / library, FIXTURES / fixture, *flags], check=True)
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))

    return build


@pytest.fixture
def fake_nvml(fake_driver: Callable[..., None]) -> Callable[..., None]:
    """`fake_nvml(*defines)` makes processes started from here sample the two GPUs of fake_nvml.c."""
    return lambda *defines: fake_driver("libnvidia-ml.so.1", "fake_nvml.c", *defines)
