"""The wire without Locust: gevent's own sockets, nothing patched; scripted servers run in the same loop."""

import fcntl
import gc
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import gevent
import numpy as np
import pytest
from gevent import ssl as cooperative_ssl
from gevent.event import Event
from gevent.queue import Queue
from gevent.server import StreamServer

from backends.dialect.sse import every_event
from bench.truth.server import TruthOptions, launch
from bench.types import HttpRequest, UserError
from bench.wire import connection as wires
from bench.wire.clock import now_ns, sample
from bench.wire.connection import CLOSED_BY_SERVER, Connection, RequestOutcome, Wire, WireError, endpoint
from bench.wire.http1 import encode_request, parse

pytestmark = pytest.mark.usefixtures("kernel_stamps")

MS = 1_000_000
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LAST = b"0\r\n\r\n"
EVENT = b"9\r\ndata: x\n\n\r\n"
WHOLE = HEAD + EVENT + LAST
WHOLE_IN_8 = [HEAD, *[EVENT] * 6, LAST]
SIOCOUTQNSD = 0x894B  # Linux: what was written and not sent yet
ASK = encode_request(HttpRequest("POST", "/", (), b"{}"), "test")

Script = Callable[[Any], None]


@pytest.fixture(autouse=True)
def _no_test_hangs() -> Iterator[None]:
    with gevent.Timeout(120):
        yield


@contextmanager
def serving(script: Script, **options: Any) -> Iterator[str]:
    """A server that does with every connection what `script` says, and closes it; gives its URL."""

    def serve(sock: Any, _: Any) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        script(sock)

    server = StreamServer(("127.0.0.1", 0), serve, **options)
    server.start()
    try:
        yield f"{'https' if options else 'http'}://127.0.0.1:{server.server_port}"
    finally:
        server.stop()


@contextmanager
def wire(url: str, timeout_s: float = 60, stall_timeout_s: float = 60, ca_file: Path | None = None) -> Iterator[Wire]:
    one = Wire(endpoint(url, None if ca_file is None else str(ca_file)), timeout_s, stall_timeout_s)
    try:
        yield one
        assert not one.active
    finally:
        one.close()


@contextmanager
def connected(to: Wire) -> Iterator[Connection]:
    connection = to.connect()
    try:
        yield connection
    finally:
        connection.close()


def received(by: Wire) -> list[bytes]:
    """What has come of each answer that is under way."""
    return [b"".join(connection._received.parts) for connection in by.active]


def ask_once(to: Wire, request: bytes = ASK) -> RequestOutcome:
    """One exchange on a connection of its own."""
    with connected(to) as connection:
        return connection.exchange(request)


def ask_scripted(script: Script, request: bytes = ASK, stall_timeout_s: float = 60) -> RequestOutcome:
    with serving(script) as url, wire(url, stall_timeout_s=stall_timeout_s) as one:
        return ask_once(one, request)


def take(sock: Any) -> bytes:
    """One request, head and body; b"" when the client has left."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = sock.recv(65536)
        if not piece:
            return b""
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += sock.recv(65536)
    return body


def answering(*parts: bytes, pause_s: float = 0.0) -> Script:
    """Answers every request of a connection with these parts."""

    def script(sock: Any) -> None:
        while take(sock):
            for part in parts:
                sock.sendall(part)
                gevent.sleep(pause_s)

    return script


def until(condition: Callable[[], bool]) -> None:
    """Let others run until it holds; what never does hangs, which ends the test."""
    while not condition():
        gevent.sleep(0.001)


def reset(sock: Any) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def kernel_ns(outcome: RequestOutcome) -> list[int]:
    """The kernel's stamps on the monotonic clock."""
    pairs = np.frombuffer(outcome.received.kernel, np.int64)
    return list((pairs[::2] * 1_000_000_000 + pairs[1::2] - sample().offset_ns).tolist())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- stamps -------------------------------------------------------------------------------------------------------


def truth_request(seq: int, tokens: int) -> bytes:
    body = b'{"messages": [], "stream": true, "max_tokens": %d}' % tokens
    return encode_request(HttpRequest("POST", "/v1/chat/completions", (("X-Request-Id", str(seq)),), body), "truth")


TOKENS = [b"data: t%d\n\n" % number for number in range(20)]
FRAMED = {
    "chunked": [HEAD, *(b"%x\r\n%b\r\n" % (len(token), token) for token in TOKENS), LAST],
    "close": [b"HTTP/1.1 200 OK\r\n\r\n", *TOKENS],
    "length": [b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(b"".join(TOKENS)), *TOKENS],
}
LATE_NS = 5 * MS
# By which the wall clock, and with it the kernel's stamps, may drift from the monotonic one in a test.
DRIFT_NS = MS


class Step(NamedTuple):
    """One part of an answer: sent after `sent_ns`, unread at the client's socket at `there_ns`."""

    sent_ns: int
    there_ns: int


def asked_in_step(
    parts: Sequence[bytes], serve: Callable[[Script], Any] = serving, ca_file: Path | None = None
) -> tuple[RequestOutcome, list[Step]]:
    """An answer of which each part is sent once the one before is seen to have been read, LATE_NS after it came."""
    steps = list[Step]()

    def script(sock: Any) -> None:
        take(sock)
        [client] = one.active
        for count, part in enumerate(parts, 1):
            sent_ns = now_ns()
            sock.sendall(part)
            client._glance.poll(10_000)  # the client shares this loop, which stands still meanwhile
            steps.append(Step(sent_ns, now_ns()))
            time.sleep(LATE_NS / 1e9)
            while b"".join(client._received.parts) != b"".join(parts[:count]):
                gevent.sleep(0.001)

    with serve(script) as url, wire(url, ca_file=ca_file) as one:
        return ask_once(one), steps


def stamps_within(steps: Sequence[Step], outcome: RequestOutcome) -> list[int]:
    """The kernel's stamps, of when each part came, which ours follow once the client has looked."""
    stamps = kernel_ns(outcome)
    for step, kernels, ours in zip(steps, stamps, outcome.received.user_ns, strict=True):
        assert step.sent_ns - DRIFT_NS <= kernels <= step.there_ns + DRIFT_NS
        assert step.there_ns + LATE_NS <= ours
    return stamps


@pytest.mark.parametrize("framing", FRAMED)
def test_tokens_are_stamped_when_they_arrive_however_few_their_bytes_and_however_late_we_look(framing: str) -> None:
    """A client that waits for a kilobyte before it looks gets no second part here."""
    parts = FRAMED[framing]
    outcome, steps = asked_in_step(parts)
    assert (outcome.error, outcome.received.parts) == (None, parts)
    stamps = stamps_within(steps, outcome)
    body = parse(b"".join(parts), list(accumulate(map(len, parts))), stamps).body
    assert [event.t_ns for event in every_event(body)] == stamps[1:21]


def test_without_the_kernels_stamps_ours_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wires, "KERNEL_STAMPS", False)
    before_ns = now_ns()
    outcome = ask_scripted(answering(HEAD, EVENT, LAST, pause_s=0.002))
    assert set(outcome.received.kernel) == {0}
    assert len(outcome.received.kernel) == 16 * len(outcome.received.parts)
    assert before_ns < outcome.received.user_ns[0] < outcome.received.user_ns[-1] < now_ns()


def test_a_response_ends_with_its_last_byte_not_with_our_noticing() -> None:
    def script(sock: Any) -> None:
        take(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\ndata: x\n\n")
        gevent.sleep(0.2)

    outcome = ask_scripted(script)
    assert outcome.error is None
    assert outcome.end_ns == outcome.received.user_ns[-1]


# --- connections --------------------------------------------------------------------------------------------------


def test_a_connection_carries_one_request_after_another_and_each_in_flight_has_its_own() -> None:
    accepted: list[Any] = []

    def script(sock: Any) -> None:
        accepted.append(sock)
        answering(HEAD, EVENT, LAST, pause_s=0.005)(sock)

    def user(one: Wire) -> list[RequestOutcome]:
        with connected(one) as connection:
            outcomes = []
            for _ in range(4):
                assert connection.is_open()
                outcomes.append(connection.exchange(ASK))
            return outcomes

    with serving(script) as url, wire(url) as one:
        users = [gevent.spawn(user, one) for _ in range(3)]
        outcomes = [outcome for each in users for outcome in each.get()]
    assert [(outcome.status, outcome.error) for outcome in outcomes] == [(200, None)] * 12
    assert {b"".join(outcome.received.parts) for outcome in outcomes} == {WHOLE}
    assert len(accepted) == 3


def test_a_server_that_announces_keep_alive_and_closes_loses_nothing() -> None:
    """As llama.cpp does: the connection's end comes with the last chunk."""

    def script(sock: Any) -> None:
        take(sock)
        sock.sendall(HEAD + EVENT)
        sock.sendall(LAST)

    with serving(script) as url, wire(url) as one:
        for _ in range(30):
            with connected(one) as connection:
                assert connection.exchange(ASK).error is None
                while connection.is_open():
                    gevent.sleep(0.001)


def test_a_connection_closed_just_as_we_send_is_told_from_one_closed_in_mid_response() -> None:
    def script(sock: Any) -> None:
        take(sock)
        sock.sendall(WHOLE)
        sock.recv(1)

    with serving(script) as url, wire(url) as one, connected(one) as connection:
        assert connection.exchange(ASK).error is None
        assert connection.is_open()
        outcome = connection.exchange(ASK)
    assert outcome.error is not None
    assert outcome.error[0] in CLOSED_BY_SERVER
    assert outcome.received.parts == []


def test_what_nobody_asked_for_spoils_an_idle_connection() -> None:
    def script(sock: Any) -> None:
        take(sock)
        sock.sendall(WHOLE)
        gevent.sleep(0.005)
        sock.sendall(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        sock.recv(1)

    with serving(script) as url, wire(url) as one, connected(one) as connection:
        assert connection.exchange(ASK).error is None
        until(lambda: not connection.is_open())


def test_connection_close_is_obeyed() -> None:
    with serving(answering(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")) as url:  # noqa: SIM117
        with wire(url) as one, connected(one) as connection:
            assert connection.exchange(ASK).error is None
            assert not connection.usable


def test_nobody_there_is_connect_refused() -> None:
    with wire(f"http://127.0.0.1:{free_port()}") as one, pytest.raises(WireError, match=r"127\.0\.0\.1") as refused:
        one.connect()
    assert refused.value.code == "connect_refused"


def test_a_name_that_does_not_resolve_is_connect_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(address: tuple[str, int]) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr("gevent.socket.create_connection", unknown)
    with wire("http://no-such-host") as one, pytest.raises(WireError, match=r"no-such-host: .*not known") as failed:
        one.connect()
    assert failed.value.code == "connect_failed"


def test_a_server_that_does_not_accept_is_connect_timeout() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(address)
        with wire(f"http://127.0.0.1:{address[1]}", timeout_s=0.2) as one, pytest.raises(WireError) as late:
            one.connect()
        for each in waiting:
            each.close()
    assert late.value.code == "connect_timeout"


@pytest.mark.parametrize(
    "url", ["localhost:8000", "ftp://host", "http://", "http://host:many", "http://host:99999", "http://[::1"]
)
def test_an_address_that_is_none_is_the_users_error(url: str) -> None:
    with pytest.raises(UserError, match="--url"):
        endpoint(url)


def test_addresses_are_taken_apart() -> None:
    plain, other = endpoint("http://host/base"), endpoint("http://user@host:81")
    assert (plain.host, plain.port, plain.tls, plain.host_header) == ("host", 80, None, "host")
    assert (other.host, other.port, other.host_header) == ("host", 81, "host:81")
    secure = endpoint("https://[::1]")
    assert (secure.host, secure.port, secure.host_header) == ("::1", 443, "[::1]")
    assert secure.tls is not None


# --- failures -----------------------------------------------------------------------------------------------------


def test_a_reset_in_mid_response_is_a_reset_and_keeps_what_came() -> None:
    def script(sock: Any) -> None:
        take(sock)
        sock.sendall(HEAD + EVENT)
        until(lambda: received(one) == [HEAD + EVENT])
        reset(sock)

    with serving(script) as url, wire(url) as one:
        outcome = ask_once(one)
    assert outcome.error is not None
    assert outcome.error[0] == "reset"
    assert b"".join(outcome.received.parts) == HEAD + EVENT


@pytest.mark.parametrize(
    ("said", "message"),
    [(b"", "without a response"), (HEAD + EVENT, "in mid-response"), (b"HTTP/1.1 200", "in mid-response")],
)
def test_a_connection_closed_before_the_end_is_a_cut_stream(said: bytes, message: str) -> None:
    def script(sock: Any) -> None:
        take(sock)
        sock.sendall(said)

    outcome = ask_scripted(script)
    assert outcome.error == ("cut_stream", f"the server closed the connection {message}")
    assert b"".join(outcome.received.parts) == said


def test_what_is_no_response_is_malformed_and_ends_the_connection() -> None:
    with serving(answering(b"SSH-2.0-OpenSSH_9.6\r\n")) as url, wire(url) as one, connected(one) as connection:
        outcome = connection.exchange(ASK)
        assert not connection.usable
    assert outcome.error is not None
    assert outcome.error[0] == "malformed"
    assert outcome.status is None


def test_an_http_error_is_no_failure_of_the_wire() -> None:
    with serving(answering(b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")) as url, wire(url) as one:
        outcome = ask_once(one)
    assert (outcome.status, outcome.error) == (503, None)


def test_timeouts_end_their_own_request_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    at_s = 0.0
    monkeypatch.setattr(wires, "now_ns", lambda: int(at_s * 1e9))
    told: dict[bytes, Any] = {wish: Queue() for wish in (b"stalled", b"endless", b"long")}
    asked: dict[bytes, gevent.Greenlet[..., RequestOutcome]] = {}

    def script(sock: Any) -> None:
        for part in told[take(sock)]:
            sock.sendall(part)

    def send(part: bytes, *wishes: bytes) -> None:
        """To these, when it is `at_s`, which lasts until all have it."""
        before = sum(map(len, received(one)))
        for wish in wishes:
            if wish not in asked:
                request = encode_request(HttpRequest("POST", "/", (), wish), "test")
                asked[wish] = gevent.spawn(ask_once, one, request)
            told[wish].put(part)
        until(lambda: sum(map(len, received(one))) == before + len(part) * len(wishes))

    with serving(script) as url, wire(url, timeout_s=300, stall_timeout_s=100) as one:
        send(HEAD, b"stalled", b"endless")
        at_s = 50
        send(HEAD, b"long")
        at_s = 99
        send(EVENT, b"endless", b"long")
        at_s = 100
        stalled = asked[b"stalled"].get()
        for at_s in (198, 297):  # noqa: B007
            send(EVENT, b"endless", b"long")
        at_s = 300
        endless = asked[b"endless"].get()
        at_s = 349
        told[b"long"].put(LAST)
        long = asked[b"long"].get()
    assert (stalled.error, stalled.end_ns) == (("stall", "no byte for 100 s (--stall-timeout)"), 100_000 * MS)
    assert (endless.error, endless.end_ns) == (("timeout", "not complete after 300 s (--timeout)"), 300_000 * MS)
    assert long.error is None
    parts = [b"".join(outcome.received.parts) for outcome in (stalled, endless, long)]
    assert parts == [HEAD, HEAD + EVENT * 3, HEAD + EVENT * 3 + LAST]


def test_a_server_that_never_answers_is_a_stall() -> None:
    outcome = ask_scripted(lambda sock: gevent.sleep(20), stall_timeout_s=0.2)
    assert outcome.error is not None
    assert outcome.error[0] == "stall"


def test_ending_everything_keeps_what_was_received() -> None:
    def script(sock: Any) -> None:
        take(sock)
        sock.sendall(HEAD + EVENT)
        gevent.sleep(20)

    with serving(script) as url, wire(url) as one:
        asked = [gevent.spawn(ask_once, one) for _ in range(3)]
        until(lambda: received(one) == [HEAD + EVENT] * 3)
        one.end_all("unfinished", "the user said so")
        outcomes = [greenlet.get() for greenlet in asked]
    for outcome in outcomes:
        assert outcome.error == ("unfinished", "the user said so")
        assert b"".join(outcome.received.parts) == HEAD + EVENT


# --- large requests -----------------------------------------------------------------------------------------------

LARGE = encode_request(HttpRequest("POST", "/", (), b"x" * 8_000_000), "test")


def test_a_large_request_to_a_slow_reader_arrives_whole_and_holds_nobody_up() -> None:
    taken: list[int] = []
    is_small_over = Event()

    def script(sock: Any) -> None:
        if sock.recv(5, socket.MSG_PEEK) and b"8000000" not in sock.recv(200, socket.MSG_PEEK):
            answering(HEAD, *[EVENT] * 50, LAST)(sock)
            return
        is_small_over.wait()
        got = 0
        while got < len(LARGE):
            got += len(sock.recv(1 << 20))
            gevent.sleep(0.005)
        taken.append(got)
        sock.sendall(WHOLE)

    with serving(script) as url, wire(url) as one:
        large = gevent.spawn(ask_once, one, LARGE)
        small = ask_once(one)
        is_small_over.set()
        assert small.error is None
        assert large.get().error is None
    assert taken == [len(LARGE)]
    assert b"".join(small.received.parts).count(EVENT) == 50, "read while the other was being sent"


def test_a_large_request_that_is_not_read_can_stall() -> None:
    def script(sock: Any) -> None:
        gevent.sleep(20)

    outcome = ask_scripted(script, LARGE, stall_timeout_s=0.3)
    assert outcome.error is not None
    assert outcome.error[0] == "stall"


REFUSAL = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"


@pytest.mark.parametrize("ending", ["stays", "closes", "resets"])
def test_an_answer_before_the_request_was_sent_whole_counts(ending: str) -> None:
    def script(sock: Any) -> None:
        sock.recv(1000)
        sock.sendall(REFUSAL)
        if ending == "stays":
            gevent.sleep(20)
        elif ending == "resets":
            # Closing with bytes unread resets, right behind the answer.
            sock.close()

    with serving(script) as url, wire(url) as one:
        for _ in range(5):
            with connected(one) as connection:
                outcome = connection.exchange(LARGE)
                assert (outcome.status, outcome.error) == (413, None)
                assert b"".join(outcome.received.parts) == REFUSAL
                assert not connection.usable, "the rest of the request was not sent"


def test_a_refusal_without_a_look_at_the_request_counts() -> None:
    """What we send resets the connection, and the answer lies there already: sending fails before it is read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            sock, _ = listener.accept()
            with sock:
                sock.sendall(REFUSAL)

        refusing = threading.Thread(target=refuse)
        refusing.start()
        with wire(f"http://127.0.0.1:{listener.getsockname()[1]}") as one, connected(one) as connection:
            refusing.join()
            outcome = connection.exchange(LARGE)
            assert (outcome.status, outcome.error) == (413, None)
            assert not connection.usable


def test_a_reset_while_sending_says_so() -> None:
    def script(sock: Any) -> None:
        sock.recv(1000)
        gevent.sleep(0.05)
        reset(sock)

    outcome = ask_scripted(script, LARGE)
    assert outcome.error is not None
    assert outcome.error[0] == "reset"
    assert outcome.received.parts == []


# --- TLS ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(certificate, key) of a self-signed 127.0.0.1."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    argv += ["-subj", "/CN=bench test", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*argv, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@contextmanager
def serving_tls(script: Script, certificate: tuple[Path, Path]) -> Iterator[str]:
    context = cooperative_ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    with serving(script, ssl_context=context) as url:
        yield url


def test_stamps_survive_tls(certificate: tuple[Path, Path]) -> None:
    parts = FRAMED["chunked"]
    outcome, steps = asked_in_step(parts, lambda script: serving_tls(script, certificate), certificate[0])
    assert (outcome.error, outcome.received.parts) == (None, parts)
    stamps_within(steps, outcome)


def test_a_tls_connection_is_kept_and_its_end_is_noticed(certificate: tuple[Path, Path]) -> None:
    def script(sock: Any) -> None:
        for _ in range(3):
            take(sock)
            sock.sendall(WHOLE)

    with (
        serving_tls(script, certificate) as url,
        wire(url, ca_file=certificate[0]) as one,
        connected(one) as connection,
    ):
        for _ in range(3):
            assert connection.is_open()
            assert connection.exchange(ASK).error is None
        until(lambda: not connection.is_open())


def test_a_close_delimited_body_over_tls_is_whole(certificate: tuple[Path, Path]) -> None:
    def script(sock: Any) -> None:
        take(sock)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + b"data: x\n\n" * 20_000)

    with serving_tls(script, certificate) as url, wire(url, ca_file=certificate[0]) as one:
        outcome = ask_once(one)
    assert outcome.error is None
    assert b"".join(outcome.received.parts).count(b"data: x") == 20_000


def test_a_large_request_over_tls_arrives_whole(certificate: tuple[Path, Path]) -> None:
    taken: list[int] = []

    def script(sock: Any) -> None:
        taken.append(len(take(sock)))
        sock.sendall(WHOLE)

    with serving_tls(script, certificate) as url, wire(url, ca_file=certificate[0]) as one:
        assert ask_once(one, LARGE).error is None
    assert taken == [8_000_000]


def test_a_certificate_nobody_vouches_for_is_refused_with_the_reason(certificate: tuple[Path, Path]) -> None:
    with serving_tls(answering(WHOLE), certificate) as url, wire(url) as one, pytest.raises(WireError) as refused:
        one.connect()
    assert refused.value.code == "connect_failed"
    assert "certificate is not trusted: self-signed certificate (--ca-file)" in str(refused.value)


def test_a_certificate_for_another_name_is_refused(certificate: tuple[Path, Path]) -> None:
    with serving_tls(answering(WHOLE), certificate) as url:
        other = url.replace("127.0.0.1", "localhost")
        with wire(other, ca_file=certificate[0]) as one, pytest.raises(WireError, match="localhost") as refused:
            one.connect()
    assert refused.value.code == "connect_failed"


def test_a_server_without_tls_is_connect_failed_and_one_that_says_nothing_times_out() -> None:
    def plain(sock: Any) -> None:
        sock.recv(1)
        sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    silent = (lambda sock: gevent.sleep(20), 0.3, "connect_timeout")
    for script, timeout_s, code in ((plain, 60.0, "connect_failed"), silent):
        with serving(script) as url, wire(url.replace("http:", "https:"), timeout_s=timeout_s) as one:
            with pytest.raises(WireError) as failed:
                one.connect()
            assert failed.value.code == code


def test_a_ca_file_that_is_none_is_the_users_error(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--ca-file"):
        endpoint("https://host", str(tmp_path / "missing.pem"))
    (tmp_path / "broken.pem").write_text("nothing of the sort")
    with pytest.raises(UserError, match="--ca-file"):
        endpoint("https://host", str(tmp_path / "broken.pem"))


# --- memory -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("framing", ["chunked", "close"])
def test_requests_leave_nothing_for_the_garbage_collector(framing: Any) -> None:
    """It is off while load runs: a cycle for each request would be memory lost for each request."""
    options = TruthOptions(ttft_ms=0, gap_ms=0, tokens=3, framing=framing)

    def run_requests(one: Wire, count: int) -> None:
        connection = one.connect()
        for seq in range(count):
            if not connection.is_open():
                connection = one.connect()
            assert connection.exchange(truth_request(seq, 3)).error is None
        connection.close()

    with launch(options) as server, wire(server.url) as one:
        run_requests(one, 5)
        gc.collect()
        gc.disable()
        try:
            run_requests(one, 60)
            assert gc.collect() < 20
        finally:
            gc.enable()


def held_back(quick_ack: bool) -> int:
    """How many parts wait for an acknowledgement of what the client was seen to have read, of 8."""
    held = 0

    def script(sock: Any) -> None:
        nonlocal held
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 0)
        take(sock)
        [client] = one.active
        for count in range(1, 9):
            # As on a connection that is no longer new; after a late acknowledgement the kernel gives a few at once.
            client._sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
            sock.sendall(WHOLE_IN_8[count - 1])
            held += struct.unpack("i", fcntl.ioctl(sock.fileno(), SIOCOUTQNSD, bytes(4)))[0] > 0
            while b"".join(client._received.parts) != b"".join(WHOLE_IN_8[:count]):
                gevent.sleep(0)

    with serving(script) as url:
        one = Wire(endpoint(url), 60, 60, quick_ack=quick_ack)
        assert ask_once(one).error is None
        one.close()
    return held


def test_with_quick_ack_a_server_that_waits_for_it_sends_token_by_token() -> None:
    """Others on this core for 40 ms, an acknowledgement's delay, just between a look and the next part hide one.

    On a busy machine they may hide all of one answer, but not of every one.
    """
    assert any(2 * held_back(quick_ack=True) < held_back(quick_ack=False) for _ in range(20))


@pytest.mark.parametrize(
    ("parts", "kept"),
    [
        ([HEAD, *[b"4\r\nabcd\r\n"] * 40_000], 200_000),
        ([HEAD, b"ffffff\r\n", *[b": comment\n\n" * 500] * 100], 100_000),
        ([b"HTTP/1.1 200 OK\r\n\r\n", *[b"x" * 5000] * 100], 100_000),
        ([b"HTTP/1.1 200 OK\r\n", *[b"X-A: b\r\n" * 100] * 200], 64_000),
    ],
)
def test_an_answer_that_never_ends_fails_alone_and_keeps_what_had_come(parts: list[bytes], kept: int) -> None:
    def endless(sock: Any) -> None:
        take(sock)
        for part in parts:
            sock.sendall(part)
        sock.sendall(LAST)
        take(sock)

    with serving(endless) as url:
        one = Wire(endpoint(url), 10, 10, body_bytes_max=200_000)
        outcome = ask_once(one)
        one.close()
    assert outcome.error is not None
    assert outcome.error[0] == "too_large"
    received = outcome.received.parts
    assert min(kept, 60_000) - 64 * len(received) <= sum(map(len, received)) <= 270_000 + 65_536
