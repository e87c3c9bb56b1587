"""The load's first request, sent once before the load: a server that refuses it would refuse all of them.

It is sent as the wire will send it, over the same kind of connection, with a prompt of another salt, so that it leaves
nothing of the load's in the server's cache. If the server refuses a field and the backend knows an alternative, the
request is adapted; otherwise the server's own error is reported. It costs as much as any request, and is charged.
"""

import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import accumulate

from bench.errors import REFUSALS, RefusalKind, RefusalName
from bench.load.backoff import retry_after_s
from bench.load.spend import Admission, SpendLimiter
from bench.preflight import nagle
from bench.preflight.refusal import kind
from bench.process.secrets import blank
from bench.runs.manifest import FirstRequest
from bench.types import (
    Backend,
    Body,
    Call,
    Decode,
    HttpRequest,
    NotReady,
    Refusal,
    Reply,
    ServerFault,
    Target,
    Usage,
    UserError,
)
from bench.wire import http1
from bench.wire.clock import now_ns
from bench.wire.endpoint import Endpoint, endpoint
from bench.wire.redact import blanker

MAX_TRIES = 16
MAX_BYTES = 64 * 2**20
# A temporary fault gets this many attempts, at growing intervals.
PAUSES_S = (0.5, 2.0)
POLL_S = 1.0
LONGEST_WAIT_S = 10.0
LONGEST_PLACE = 300
_QUICK_ENOUGH_MS = 1000.0
_FEW_TOKENS = 8
_READ_BYTES = 65536
# Kinds of refusal that the list of models, asked before, explains better.
_OF_THE_WRONG_PLACE: frozenset[RefusalName] = frozenset({"model", "route", "dialect", "key", "server"})
# Attempts are numbered from here down; no planned call has these numbers, so a server's log tells them apart.
LAST_SEQ = 999_999_999_999


@dataclass(frozen=True, slots=True)
class RehearsalAnswer:
    """The result of one request; `error` is (code, message) if it failed, without secrets."""

    sent: bool
    status: int | None
    headers: Mapping[str, str]
    body: Body
    reply: Reply | None
    error: tuple[str, str] | None
    first_token_ms: float | None


@dataclass(frozen=True, slots=True)
class RehearsalResult:
    """The request that the server accepts: its target, what was adapted, and how it answered."""

    target: Target
    call: Call
    adapted: tuple[str, ...]
    heard: RehearsalAnswer
    tries: int


@dataclass(slots=True)
class Rehearsal:
    """How to ask; with a `limiter` every attempt is charged to the run's account.

    `ready_timeout_s` is how long to wait for a server that is still loading, `unlisted` the problem with its list of
    models, if any.
    """

    backend: Backend
    timeout_s: float
    limiter: SpendLimiter | None
    say: Callable[[str], None]
    ready_timeout_s: float = 0.0
    unlisted: str | None = None
    tries: int = field(default=0, init=False)

    def of(self, call: Call, target: Target) -> RehearsalResult:
        """Ask until the request is accepted. Raises UserError if it is not."""
        adapted = list[str]()
        tried = {_key(target)}
        pauses = iter(PAUSES_S)
        begin = time.monotonic()
        for self.tries in range(1, 10**6):
            call = call._replace(seq=LAST_SEQ - self.tries)
            request = self.backend.request(call, target)
            heard = self._ask(request, call, target)
            if _is_answer(heard):
                return RehearsalResult(target, call, tuple(adapted), heard, self.tries)
            if len(tried) <= MAX_TRIES and (other := self._other(request, target, heard, call)) is not None:
                changed, note = other
                if _key(changed) not in tried:
                    target = changed
                    tried.add(_key(target))
                    adapted.append(note)
                    continue
            assert heard.error is not None
            what = REFUSALS[_kind_of(heard)]
            left_s = begin + self.ready_timeout_s - time.monotonic()
            if what.name == "loading" and left_s > 0:
                self.say(f"waiting for {target.url}: {heard.error[1]}")
                time.sleep(min(POLL_S, left_s))
            elif (what.passing or heard.error[0] == "cut_stream") and (pause_s := next(pauses, None)) is not None:
                asked_s = retry_after_s(heard.headers, datetime.now(UTC)) or 0.0
                time.sleep(min(LONGEST_WAIT_S, max(pause_s, asked_s)))
            else:
                raise self._failed(heard, what, request, target)
        raise AssertionError("unreachable")

    def _other(
        self, request: HttpRequest, target: Target, heard: RehearsalAnswer, call: Call
    ) -> tuple[Target, str] | None:
        """Another wording of the request, and a note about it."""
        assert heard.error is not None
        if self.backend.adapt is None or heard.status is None:
            return None
        refusal = Refusal(heard.status, heard.error[1], heard.body.data)
        adaptation = self.backend.adapt(request, target, refusal)
        if adaptation is None:
            return None
        changed = replace(target, options=adaptation.options)
        return None if self.backend.request(call, changed) == request else (changed, adaptation.said)

    def _ask(self, request: HttpRequest, call: Call, target: Target) -> RehearsalAnswer:
        place = _endpoint(target)
        if self.limiter is not None:
            self.limiter.plan(call)
            if self.limiter.reserve(call.seq) is not Admission.NOW:
                raise UserError("--max-usd: too low for even the first request at its worst; raise it")
        patience_s = max(self.timeout_s, self.ready_timeout_s)
        heard = exchange(
            place, http1.encode_request(request, place.host_header), self.backend.decode, target, patience_s
        )
        if self.limiter is not None:
            reply = heard.reply and heard.reply._replace(error=heard.error)
            self.limiter.settle(call.seq, sent=heard.sent, status=heard.status, reply=reply)
        return heard

    def _failed(self, heard: RehearsalAnswer, what: RefusalKind, request: HttpRequest, target: Target) -> UserError:
        assert heard.error is not None
        code, message = heard.error
        path = request.path.partition("?")[0]
        if heard.status is not None and 300 <= heard.status < 400:
            place = blank(heard.headers.get("location", ""), target.all_secrets)
            leads = f"to {place[:LONGEST_PLACE]}" if place else "and says not where to"
            redirects = f"{target.url}: {path} redirects with HTTP {heard.status} {leads}"
            return UserError(f"{redirects}; give the URL it leads to as --url")
        answer = {200: "an unusable answer", None: "no answer"}.get(heard.status, f"HTTP {heard.status}")
        hint = what.remedy.format(key_variable=self.backend.key_variable)
        if self.backend.name == "exec":
            return UserError(f"--command: its first answer is unusable ({code}: {message}); try it by hand")
        if self.unlisted and what.name in _OF_THE_WRONG_PLACE:
            return ServerFault(f"{self.unlisted}; the load's request at {path} got {answer} ({message})")
        fault = NotReady if what.name == "loading" else ServerFault
        if heard.status in (200, None):
            return fault(f"{target.url} gives {answer} to the load's request at {path} ({code}: {message}); {hint}")
        return fault(f"{target.url} refuses the load's request at {path} ({answer}: {message}); {hint}")


def _is_answer(heard: RehearsalAnswer) -> bool:
    """Whether the server accepted the request and its answer was read to the end, even if it is unusable."""
    return heard.error is None or (
        heard.error[0] in ("empty", "ended_early") and heard.reply is not None and heard.reply.finish is not None
    )


def _key(target: Target) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(target.options.items()))


def _kind_of(heard: RehearsalAnswer) -> RefusalName:
    assert heard.error is not None
    code, message = heard.error
    if code in ("connect_refused", "connect_timeout", "timeout"):
        return "loading"
    if code in ("reset", "connect_failed") or (code == "cut_stream" and heard.status is None):
        return "certificate" if "certificate" in message.lower() or message.startswith("TLS") else "server"
    return kind(heard.status, code, message)


# --- one exchange over a blocking socket ------------------------------------------------------------------------


def exchange(
    place: Endpoint,
    request: bytes,
    decode: Decode,
    target: Target,
    timeout_s: float,
) -> RehearsalAnswer:
    """Send a request and read the whole answer, within `timeout_s`."""
    parts, t_ns = list[bytes](), list[int]()
    sent_ns: int | None = None
    failed: tuple[str, str] | None = None
    deadline = time.monotonic() + timeout_s
    try:
        with connected(place, timeout_s) as sock:
            sock.sendall(request)
            sent_ns = now_ns()
            _read(sock, parts, t_ns, deadline)
    except http1.MalformedResponse as problem:
        failed = "malformed", str(problem)
    except OSError as problem:
        failed = _code(problem, timeout_s, sent_ns)
    hide, data = blanker(target.all_secrets), b"".join(parts)
    response = http1.parse(data if hide is None else hide(data), list(accumulate(map(len, parts))), t_ns)
    reply, first_ms = None, None
    if response.status is not None:
        with suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
            reply = decode(response.status, response.headers, response.body)
    failed = failed or response.error or (reply.error if reply else ("malformed", "it cannot be read at all"))
    if reply is not None and reply.streamed and reply.deltas and sent_ns is not None:
        first_ms = (reply.deltas[0][0] - sent_ns) / 1e6
    error = failed and (failed[0], blank(failed[1], target.all_secrets))
    return RehearsalAnswer(
        sent_ns is not None, response.status, response.headers, response.body, reply, error, first_ms
    )


def _endpoint(target: Target) -> Endpoint:
    return endpoint(target.url, target.ca_file, target.client_cert, target.client_key)


def connected(place: Endpoint, timeout_s: float) -> socket.socket:
    """A connection like the wire's, but blocking: each wait on it takes at most `timeout_s`."""
    sock = socket.create_connection((place.host, place.port), timeout_s)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock if place.tls is None else place.tls.wrap_socket(sock, server_hostname=place.host)
    except BaseException:
        sock.close()
        raise


def _read(sock: socket.socket, parts: list[bytes], t_ns: list[int], deadline: float) -> None:
    """Read to the end of the answer, or of the connection."""
    framing, size = http1.Framing(), 0
    while True:
        sock.settimeout(max(0.001, deadline - time.monotonic()))
        data = sock.recv(_READ_BYTES)
        if not data:
            return
        parts.append(data)
        t_ns.append(now_ns())
        size += len(data)
        if framing.feed(data) or size > MAX_BYTES:
            return


def _code(problem: OSError, timeout_s: float, sent_ns: int | None) -> tuple[str, str]:
    """An error below HTTP, by the codes of the wire."""
    message = problem.strerror or str(problem)
    if isinstance(problem, ConnectionRefusedError):
        return "connect_refused", message
    if isinstance(problem, TimeoutError):
        return ("connect_timeout" if sent_ns is None else "timeout"), f"not complete after {timeout_s:g} s"
    if isinstance(problem, ssl.SSLCertVerificationError):
        return "connect_failed", f"its certificate is not trusted: {problem.verify_message} (--ca-file)"
    if isinstance(problem, ssl.SSLError):
        return "connect_failed", f"TLS: {problem.reason or problem}"
    return ("connect_failed" if sent_ns is None else "reset"), message


def acknowledged_late(done: RehearsalResult, backend: Backend, timeout_s: float) -> nagle.AckEffect | None:
    """Whether the server holds back its first token until this client has acknowledged; None if that is unclear.

    It takes a few more short requests, and a first token that is not itself slower than the delay looked for.
    """
    first_ms = done.heard.first_token_ms
    if first_ms is None or first_ms > _QUICK_ENOUGH_MS:
        return None
    short = done.call._replace(max_tokens=min(done.call.max_tokens, _FEW_TOKENS))
    place = _endpoint(done.target)
    with suppress(OSError, UserError):
        request = http1.encode_request(backend.request(short, done.target), place.host_header)
        with connected(place, timeout_s) as sock:
            return nagle.probe(sock, request, backend.decode)
    return None


def kept(done: RehearsalResult) -> FirstRequest:
    """What run.json holds of it."""
    usage = (done.heard.reply.usage if done.heard.reply else None) or Usage()
    return FirstRequest(
        done.tries, done.heard.first_token_ms, done.call.prompt_tokens, usage.prompt_tokens, usage.output_tokens
    )
