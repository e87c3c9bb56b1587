"""The ground-truth server from Python: compile it, run it, read its log, and hold a client's stamps against it.

The server itself is truth.c. It and its clients must share a machine: every instant is CLOCK_MONOTONIC.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from bench.process import places
from bench.types import UserError

Int64s = NDArray[np.int64]

_SOURCE = Path(__file__).with_name("truth.c")
_RECORD = np.dtype([("due_ns", "<i8"), ("sent_ns", "<i8"), ("stream", "<u4"), ("token", "<i4")])
_REQUEST = -1
_TOKENS_MAX = 1 << 20  # more than the server sends in one stream
_MS = 1e6


@dataclass(frozen=True, slots=True)
class TruthOptions:
    """How the server behaves; its command line is these names and values, explained on top of truth.c."""

    port: int = 0
    ttft_ms: float = 200.0
    gap_ms: float = 20.0
    tokens: int = 64
    framing: Literal["chunked", "close", "length"] = "chunked"
    eol: Literal["lf", "crlf"] = "lf"
    role_chunk: bool = True
    tokens_per_event: int = 1
    split: int = 1
    usage: bool = True
    jitter_pct: float = 0.0
    nodelay: bool = True
    faults: str = ""


@dataclass(frozen=True, slots=True)
class TruthServer:
    """A running server; leaving it as a context, or its parent's death, ends it. `url` is the base without `/v1`."""

    url: str
    process: subprocess.Popen[str]

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """End the server and wait until its log is written; RuntimeError when it had failed."""
        self.process.terminate()
        _, complaint = self.process.communicate()
        if self.process.returncode:
            raise RuntimeError(f"the ground-truth server failed ({self.process.returncode}): {complaint.strip()}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@dataclass(frozen=True, slots=True)
class TruthLog:
    """What the server did, one element per request and per event, in the order it happened.

    A request is named by the decimal that ends its `x-request-id`, else by its order of arrival; an event by its
    first token.
    """

    request: Int64s
    request_read_ns: Int64s
    event_request: Int64s
    event_token: Int64s
    event_due_ns: Int64s
    event_sent_ns: Int64s


@dataclass(frozen=True, slots=True)
class StampErrors:
    """How large a set of errors is, without sign; None where there are none to speak of."""

    count: int
    p50_ms: float | None
    p99_ms: float | None
    max_ms: float | None


@dataclass(frozen=True, slots=True)
class TruthComparison:
    """A client's stamps against the server's: `lost` events have no stamp, `unknown` stamps have no event."""

    first_token: StampErrors
    gap: StampErrors
    lost: int
    unknown: int


def compile_server() -> Path:
    """The server's executable, compiled when its source is new to this user's cache; UserError when it cannot be."""
    if sys.platform != "linux":
        raise UserError(f"the ground-truth server needs Linux (epoll), this is {sys.platform}: run it on Linux")
    source = _SOURCE.read_bytes()
    cache = places.cache()
    binary = cache / f"truth-{hashlib.sha256(source).hexdigest()[:16]}"
    if binary.exists():
        return binary
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise UserError("the ground-truth server needs a C compiler and found no cc, gcc or clang: install gcc")
    cache.mkdir(parents=True, exist_ok=True)
    draft = binary.with_suffix(f".{os.getpid()}")
    argv = [compiler, "-std=c11", "-O2", "-Wall", "-Wextra", "-o", str(draft), str(_SOURCE)]
    result = subprocess.run(argv, capture_output=True, text=True, check=False)
    if result.returncode:
        complaint = (result.stderr.strip() or "no message").splitlines()[-1]
        raise UserError(
            f"{compiler} could not compile {_SOURCE.name}: {complaint}; install gcc and the C library's headers"
        )
    draft.replace(binary)
    return binary


def launch(options: TruthOptions, *, cpu: int | None = None, log: Path | None = None) -> TruthServer:
    """Start a server on a loopback port, kept on one core and logging to a file if asked; UserError if it refuses."""
    argv = [str(compile_server()), "--lifeline", "yes", *_arguments(options)]
    if log is not None:
        argv += ["--log", str(log)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    greeting = process.stdout.readline().split()
    if len(greeting) != 2:
        _, complaint = process.communicate()
        raise UserError(f"the ground-truth server did not start: {complaint.strip()}")
    server = TruthServer(f"http://127.0.0.1:{greeting[1]}", process)
    if cpu is not None:
        try:
            os.sched_setaffinity(server.pid, {cpu})
        except OSError as error:
            server.stop()
            raise UserError(f"the ground-truth server cannot run on core {cpu}: {error.strerror}") from error
    return server


def read_log(path: Path) -> TruthLog:
    """A stopped server's log."""
    records = np.fromfile(path, dtype=_RECORD)
    requests = records[records["token"] == _REQUEST]
    events = records[records["token"] != _REQUEST]
    names = requests["due_ns"]  # the n-th request record belongs to stream n
    return TruthLog(
        request=names,
        request_read_ns=requests["sent_ns"],
        event_request=names[events["stream"]],
        event_token=events["token"].astype(np.int64),
        event_due_ns=events["due_ns"],
        event_sent_ns=events["sent_ns"],
    )


def lateness(log: TruthLog) -> StampErrors:
    """How late the server itself was: each event's sending against its schedule."""
    return _errors(log.event_sent_ns - log.event_due_ns)


def compare(log: TruthLog, request: Int64s, token: Int64s, t_ns: Int64s) -> TruthComparison:
    """A client's arrival stamps against the server's log.

    One element per event the client saw: its request's id, the index of its first token, its arrival (monotonic).
    The first token's error is arrival - sending; a gap's is the client's gap - the server's, between events that
    follow each other in a request. ValueError when ids are not unique.
    """
    if len(np.unique(log.request)) < len(log.request):
        raise ValueError("request ids must be unique within a log")
    truth_key = log.event_request * _TOKENS_MAX + log.event_token
    order = np.argsort(truth_key)
    truth_key, sent_ns = truth_key[order], log.event_sent_ns[order]
    key = request * _TOKENS_MAX + token
    known = np.isin(key, truth_key)

    seen = np.zeros(len(truth_key), dtype=bool)
    arrived_ns = np.zeros(len(truth_key), dtype=np.int64)
    place = np.searchsorted(truth_key, key[known])
    seen[place] = True
    arrived_ns[place] = t_ns[known]

    delay_ns = arrived_ns - sent_ns
    first = seen & (truth_key % _TOKENS_MAX == 0)
    same_request = np.diff(truth_key // _TOKENS_MAX) == 0
    gap = same_request & seen[1:] & seen[:-1]
    return TruthComparison(
        first_token=_errors(delay_ns[first]),
        gap=_errors(np.diff(delay_ns)[gap]),
        lost=int(np.count_nonzero(~seen)),
        unknown=int(np.count_nonzero(~known)),
    )


def _arguments(options: TruthOptions) -> list[str]:
    arguments = []
    for name, value in asdict(options).items():
        text = {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)
        arguments += [f"--{name.replace('_', '-')}", text]
    return arguments


def _errors(errors_ns: Int64s) -> StampErrors:
    if not len(errors_ns):
        return StampErrors(0, None, None, None)
    p50, p99, top = np.percentile(np.abs(errors_ns) / _MS, (50, 99, 100))
    return StampErrors(len(errors_ns), float(p50), float(p99), float(top))
