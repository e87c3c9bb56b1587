"""The timed path: bytes are stamped by the kernel and by us, and kept; nothing is interpreted while load runs.

Strategy: the kernel holds the stopwatch. SO_TIMESTAMPNS makes it note when each segment arrived, and recvmsg hands
that note over with the bytes, so a client that is late to look still knows when there was something to see. Our own
stamp is taken beside it: the difference is the client's lag, for every read, for free. One event-loop watcher per
connection does one non-blocking read and one append; the greenlet that waits for the answer is switched to once, at
its end. TLS is read the same way, as ciphertext, and decrypted through memory, so the stamp survives.
"""

import _socket
import errno
import ssl
from array import array
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NamedTuple

import gevent
from gevent import monkey
from gevent import socket as cooperative
from gevent.hub import get_hub

from bench.types import WirePlace
from bench.wire.capture import Received
from bench.wire.clock import KERNEL_STAMPS, now_ns
from bench.wire.dial import READ_BYTES, Tls, acknowledging, dial, peer_of
from bench.wire.endpoint import Endpoint as Endpoint
from bench.wire.endpoint import endpoint as endpoint
from bench.wire.http1 import CR, HEAD_BYTES_MAX, Framing, MalformedResponse, TooLarge
from bench.wire.looks import ImmediateReader, TickReader

# All connections read into one buffer and keep a copy of what came. A buffer for each read, cut to size, would leave
# the heap in pieces that no later buffer fits, and memory would grow with the length of the run.
_BUFFER = memoryview(bytearray(READ_BYTES))
_BUFFERS = [_BUFFER]
# Python's socket module does not name it: 35 in Linux's asm-generic/socket.h, for the struct timespec of 64-bit
# systems. The kernel's option and message type share that number; the message is a header and the timespec.
_SO_TIMESTAMPNS = 35
_TIMESPEC_BYTES = 16
_ANCILLARY_BYTES = _socket.CMSG_SPACE(_TIMESPEC_BYTES)
_NO_STAMP = bytes(_TIMESPEC_BYTES)
_SWEEP_S = 0.1
# gevent's own asks its loop, and lets others run meanwhile: that would be in front of each request.
_poll = monkey.get_original("select", "poll")
_READABLE = 1
_MIB = 1 << 20
BODY_BYTES_MAX = 64 * _MIB
CLOSED_BY_SERVER = frozenset({"reset", "cut_stream"})
# What a read counts for besides its bytes, for as much and half as much again is kept of each: an answer of single
# bytes would take a hundred times its length.
_READ_COSTS_BYTES = 64
# What this machine lacks when a connection cannot be opened says nothing of the server.
_OUR_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})


class WireError(Exception):
    """A request failed below HTTP: `code` is one of the taxonomy in docs/metrics.md, `ours` a limit of this machine."""

    def __init__(self, code: str, message: str, *, ours: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.ours = ours


class RequestOutcome(NamedTuple):
    """What became of one request: stamps of our clock, what came, and (code, message) if it failed.

    `sent_ns` and `place` are None when it never had a connection, `status` when no whole head came.
    """

    sent_ns: int | None
    end_ns: int
    received: Received
    status: int | None
    error: tuple[str, str] | None
    place: WirePlace | None = None


# What a NamedTuple is made by is a Python function that its type calls: to fill the tuple takes a third of that.
_outcome: Callable[[tuple[object, ...]], RequestOutcome] = partial(tuple.__new__, RequestOutcome)
_wire_place: Callable[[tuple[object, ...]], WirePlace] = partial(tuple.__new__, WirePlace)


class Wire:
    """Every connection of this process, and the timer that ends requests which take too long.

    With `quick_ack` what comes is acknowledged at once, which sets a server free that waits for it (Nagle's algorithm).
    `looks` say when connections are read; without them each is as soon as something is there.
    """

    def __init__(
        self,
        target: Endpoint,
        timeout_s: float,
        stall_timeout_s: float,
        *,
        quick_ack: bool = False,
        kernel_stamps: bool = True,
        body_bytes_max: int = BODY_BYTES_MAX,
        looks: TickReader | None = None,
    ) -> None:
        self.target = target
        self.body_bytes_max = body_bytes_max
        self.quick_ack = quick_ack
        self.kernel_stamps = kernel_stamps and KERNEL_STAMPS
        self.timeout_s = timeout_s
        self.stall_timeout_s = stall_timeout_s
        self.active: set[Connection] = set()
        self.looks = looks or ImmediateReader()
        # The kernel stamps as long as some socket wants it, and begins some milliseconds after the first has asked.
        self._stamping = _socket.socket()
        self.want_stamps(self._stamping)
        self._timer = get_hub().loop.timer(_SWEEP_S, _SWEEP_S)
        self._timer.start(self._end_overdue)

    def connect(self) -> "Connection":
        """Open a connection, TLS handshake included. Raises WireError."""
        target = self.target
        try:
            with gevent.Timeout(self.timeout_s, TimeoutError("no connection in time")):
                sock, tls = dial(target)
        except ConnectionRefusedError as problem:
            raise WireError("connect_refused", f"{target.host_header}: {problem.strerror}") from None
        except TimeoutError as problem:
            raise WireError("connect_timeout", f"{target.host_header}: {problem}") from None
        except ssl.SSLCertVerificationError as problem:
            what = f"its certificate is not trusted: {problem.verify_message} (--ca-file)"
            raise WireError("connect_failed", f"{target.host_header}: {what}") from None
        except OSError as problem:
            ours = problem.errno in _OUR_LIMITS
            raise WireError("connect_failed", f"{target.host_header}: {problem}", ours=ours) from None
        # From here on a plain socket, which says at once when nothing is there: gevent's would wait for it in the hub.
        return Connection(self, _socket.socket(fileno=sock.detach()), tls)

    def want_stamps(self, sock: _socket.socket) -> None:
        """Have the kernel note when what is read from a socket has arrived."""
        if self.kernel_stamps:
            sock.setsockopt(_socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)

    def end_all(self, code: str, message: str) -> None:
        """End every request in flight as failed, keeping what it has received."""
        for connection in tuple(self.active):
            connection.fail(code, message)

    def close(self) -> None:
        """Stop the timer."""
        self._timer.stop()
        self._timer.close()
        self._stamping.close()
        self.looks.close()

    # One look at all of them ten times a second: a timer for each request would be armed and disarmed in the timed
    # path, to notice what is measured in seconds by less than a tenth of one earlier.
    def _end_overdue(self) -> None:
        now = now_ns()
        oldest_start = now - int(self.timeout_s * 1e9)
        oldest_byte = now - int(self.stall_timeout_s * 1e9)
        for connection in tuple(self.active):
            if connection.sent_ns <= oldest_start:
                connection.fail("timeout", f"not complete after {self.timeout_s:g} s (--timeout)")
            elif connection.last_ns <= oldest_byte:
                connection.fail("stall", f"no byte for {self.stall_timeout_s:g} s (--stall-timeout)")


class Connection:
    """One connection, carrying one request at a time; `usable` until it is closed by either side."""

    __slots__ = (
        "_error",
        "_finished",
        "_framing",
        "_glance",
        "_got",
        "_greenlet",
        "_loop",
        "_parked",
        "_peer",
        "_received",
        "_recvmsg_into",
        "_room",
        "_sending",
        "_sent",
        "_sock",
        "_tls",
        "_wire",
        "sent_ns",
        "usable",
    )

    def __init__(self, wire: Wire, sock: _socket.socket, tls: Tls | None) -> None:
        self._wire = wire
        self._sock = sock
        self._tls = tls
        self._recvmsg_into = acknowledging(sock) if wire.quick_ack else sock.recvmsg_into
        self._peer = peer_of(sock)
        # How many bytes the connection has carried either way, as the network saw them.
        self._sent, self._got = (0, 0) if tls is None else (tls.sent, tls.got)
        self._framing = Framing()
        self._received = Received()
        self._room = 0
        self._error: tuple[str, str] | None = None
        self._parked = False
        self._sending = False
        self._finished = True
        self.sent_ns = 0
        self.usable = True
        sock.setblocking(False)
        self._glance = _poll()
        self._glance.register(sock.fileno(), _READABLE)
        wire.want_stamps(sock)
        self._loop = get_hub().loop
        wire.looks.add(sock.fileno(), self._on_readable)

    @property
    def last_ns(self) -> int:
        """When the last byte came, or when the request was sent."""
        return self._received.user_ns[-1] if self._received.user_ns else self.sent_ns

    def exchange(self, request: bytes) -> RequestOutcome:
        """Send a request and wait for the whole response or a failure; other greenlets run meanwhile."""
        self._framing = Framing()
        self._received = received = Received()
        self._room = self._wire.body_bytes_max + HEAD_BYTES_MAX
        self._error = None
        self._finished = False
        self._greenlet = gevent.getcurrent()
        answer_start = self._got
        self._wire.active.add(self)
        # Before the write, TLS included: what our own side takes makes a latency longer, never shorter.
        self.sent_ns = sent_ns = now_ns()
        problem = self._send(request)
        # A server may answer before it has read the whole request: then there is nothing left to wait for.
        if not self._finished:
            self._parked = True
            # Nothing but this greenlet waits for the answer, so that no event has to be made, linked and cleared.
            get_hub().switch()
            self._parked = False
        if problem is not None:
            self.close()
            if self._error:
                self._error = ("reset", f"while sending: {problem.strerror or problem}")
        # The end is when the last bytes came, not when this greenlet had its turn again.
        end_ns = now_ns() if self._error or not received.user_ns else received.user_ns[-1]
        self._wire.looks.answered(end_ns - sent_ns)
        place = self._peer and _wire_place((*self._peer, self._sent, answer_start, received.records))
        return _outcome((sent_ns, end_ns, received, self._framing.status, self._error, place))

    def is_open(self) -> bool:
        """Whether the server has kept the connection; some announce keep-alive and close all the same."""
        # A read that finds nothing costs several times as much, before every request.
        if self.usable and self._glance.poll(0):
            self._on_readable()
        return self.usable

    def fail(self, code: str, message: str) -> None:
        """End the request in flight as failed and the connection with it."""
        if not self._finished:
            self._error = (code, message)
            self._finish()
        self.close()

    def close(self) -> None:
        """Close the connection; harmless when it is closed."""
        if self.usable:
            self.usable = False
            self._wire.looks.remove(self._sock.fileno())
            # `_send` may be waiting on the descriptor, whose number another connection could get; it closes it itself.
            if not self._sending:
                self._sock.close()

    def _finish(self) -> None:
        self._finished = True
        self._wire.active.discard(self)
        # Not switched to here: the other connections that are readable now are read first.
        if self._parked:
            self._loop.run_callback(self._greenlet.switch)

    def _send(self, request: bytes) -> OSError | None:
        if self._tls is not None:
            self._tls.plain.write(request)
            request = self._tls.ciphertext_out.read()
        self._sent += len(request)
        rest: bytes | memoryview = request
        failed = None
        self._sending = True
        try:
            while rest and not self._finished:
                try:
                    taken = self._sock.send(rest)
                    rest = memoryview(rest)[taken:] if taken < len(rest) else b""
                except BlockingIOError:
                    # In short waits: a request may be ended, or answered early, meanwhile.
                    with suppress(TimeoutError):
                        cooperative.wait_write(self._sock.fileno(), timeout=_SWEEP_S)
        except OSError as problem:
            # The server is gone, but may have said why: that can still be read.
            failed = problem
        self._sending = False
        if rest and self._finished:
            self.close()
        if not self.usable:
            self._sock.close()
        return failed

    def _on_readable(self) -> bool:
        # One read, not until there is no more: what is left calls back, behind the other connections that are readable.
        try:
            count, ancillary, _, _ = self._recvmsg_into(_BUFFERS, _ANCILLARY_BYTES)
        except BlockingIOError:
            return False
        except OSError as problem:
            self.fail("reset", problem.strerror or errno.errorcode.get(problem.errno or 0, "connection lost"))
            return False
        # Our stamp follows the system call at once: whatever comes before it would count as the server's time.
        t_ns = now_ns()
        self._got += count
        data = _BUFFER[:count].tobytes()
        # Part of a TLS record is not text yet: what it holds has arrived with the read that completes the record.
        if self._tls is not None and data and not (data := self._decrypt(data)):
            return count == READ_BYTES
        if self._finished:
            # Idle: the server closed, or said something nobody asked for.
            self.close()
        elif not data:
            self._on_end()
        else:
            received = self._received
            received.user_ns.append(t_ns)
            # Of several segments in one read the kernel hands over the stamp of the last (tcp_recvmsg): that of the
            # newest byte. An older one looks later than it was, never earlier. A read without a stamp has zeros.
            received.kernel += ancillary[0][2] if ancillary else _NO_STAMP
            received.parts.append(data)
            # What is kept costs memory by its bytes and by its reads: a byte a read is bounded too.
            self._room = room = self._room - count - _READ_COSTS_BYTES
            waiting = self._framing.waiting
            if waiting is not None and len(data) > 3 and data[-4] != CR and room >= 0:
                waiting.append(data)
            else:
                self._look_for_end(data)
        return count == READ_BYTES

    def _look_for_end(self, data: bytes) -> None:
        framing = self._framing
        try:
            complete = framing.feed(data)
        except TooLarge as problem:
            self.fail("too_large", str(problem))
        except MalformedResponse as problem:
            self.fail("malformed", str(problem))
        else:
            if complete:
                self._finish()
                if not framing.keep_alive:
                    self.close()
            elif self._room < 0:
                self.fail("too_large", f"more than {self._wire.body_bytes_max / _MIB:g} MiB came (--max-body)")

    def _on_end(self) -> None:
        if self._framing.ends_with_connection:
            self._finish()
            self.close()
        else:
            what = "in mid-response" if self._received.parts else "without a response"
            self.fail("cut_stream", f"the server closed the connection {what}")

    def _decrypt(self, data: bytes) -> bytes:
        tls = self._tls
        assert tls is not None
        tls.ciphertext_in.write(data)
        records = self._received.records = self._received.records or array("q")
        plain = []
        try:
            # Each read brings what one record holds, and leaves the records behind it where they are.
            while piece := tls.plain.read(READ_BYTES):
                plain.append(piece)
                records.extend((len(piece), self._got - tls.ciphertext_in.pending))
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as problem:
            self.fail("reset", f"TLS: {problem.reason or problem}")
        return b"".join(plain)
