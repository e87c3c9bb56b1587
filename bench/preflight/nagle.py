"""Does the server hold back its first token until this client has acknowledged what came before?

A server that does not set TCP_NODELAY leaves Nagle's algorithm on: what is small waits while something before it is not
acknowledged, and on a kept connection a client acknowledges late, after 40 ms on Linux. The first token is late by
that, and the answer comes in one piece. Users' clients see it too. Asked twice on one connection, once acknowledging
at once, such a server gives itself away. Blocking, and cold: for before the load.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from bench.runs.manifest import ArrivedAnswer, NagleProbe
from bench.types import Decode
from bench.wire.clock import now_ns
from bench.wire.http1 import Framing, MalformedResponse, parse

# Half of Linux's shortest delayed acknowledgement.
LEAST_DIFFERENCE_MS = 20.0
# By then what came first has been acknowledged, and a token that comes later did not wait for that.
LONGEST_WAIT_MS = 250.0
ROUNDS = 5
_READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class AckEffect:
    """The same request on one kept connection, asked so many times: acknowledged as clients do, and at once."""

    delayed: ArrivedAnswer
    quick: ArrivedAnswer
    requests: int

    @property
    def waits(self) -> bool:
        """Whether the first token, held back behind the first byte, came sooner once that was acknowledged at once."""
        held_ms = self.delayed.first_token_ms - self.delayed.first_byte_ms
        sooner_ms = self.delayed.first_token_ms - self.quick.first_token_ms
        return sooner_ms >= LEAST_DIFFERENCE_MS and LEAST_DIFFERENCE_MS <= held_ms <= LONGEST_WAIT_MS

    def message(self, *, quick_ack: bool) -> str:
        """The difference with both figures, its cause and its cure; `quick_ack` says how the load is sent."""
        as_sent = "the load is sent with --quick-ack on and measures the server itself"
        return (
            f"on a kept connection the first token comes after {self.delayed.first_token_ms:.3g} ms in "
            f"{_pieces(self.delayed)}, and after {self.quick.first_token_ms:.3g} ms in {_pieces(self.quick)} when this "
            "client acknowledges at once: the server does not set TCP_NODELAY and waits for the client's delayed "
            "acknowledgement, as it does with its users; set TCP_NODELAY at the server or at a proxy before it"
            + (f"; {as_sent}" if quick_ack else ", or measure the server itself with --quick-ack on")
        )

    def kept(self, *, quick_ack: bool) -> NagleProbe:
        """What run.json holds of it; its `message` is None where there is nothing to say."""
        message = self.message(quick_ack=quick_ack) if self.waits else None
        return NagleProbe(self.delayed, self.quick, message, self.requests)


def probe(sock: socket.socket, request: bytes, decode: Decode) -> AckEffect | None:
    """Ask three times, or eleven where there is a difference, on a connection that was just opened.

    `sock` blocks, with the time-out that each read may take, and is the caller's to close. None where nothing can be
    known: an answer failed or has no model output, the server closes its connections, or this is not Linux.
    """
    if not hasattr(socket, "TCP_QUICKACK"):
        return None
    delayed, quick = list[ArrivedAnswer](), list[ArrivedAnswer]()
    try:
        # The first request on a connection is acknowledged at once by the kernel itself, and warms the server's cache.
        _ask(sock, request, decode, None)
        for _ in range(ROUNDS):
            # Said, not left to the kernel, which begins to delay only once requests and answers take turns.
            delayed.append(_ask(sock, request, decode, False))
            quick.append(_ask(sock, request, decode, True))
            if not _effect(delayed, min(quick, key=_first_token)).waits:
                break
    except (OSError, MalformedResponse, _NothingSaidError):
        return None
    # A server is late by chance as well: every delayed answer has to be, and most of the others not.
    return _effect(delayed, sorted(quick, key=_first_token)[(len(quick) - 1) // 2])


def _effect(delayed: Sequence[ArrivedAnswer], quick: ArrivedAnswer) -> AckEffect:
    return AckEffect(min(delayed, key=_first_token), quick, 1 + 2 * len(delayed))


class _NothingSaidError(Exception):
    """An answer from which nothing can be known."""


def _first_token(seen: ArrivedAnswer) -> float:
    return seen.first_token_ms


def _pieces(seen: ArrivedAnswer) -> str:
    return f"{seen.pieces} piece{'' if seen.pieces == 1 else 's'}"


def _ask(sock: socket.socket, request: bytes, decode: Decode, quick: bool | None) -> ArrivedAnswer:
    """One exchange; `quick` None leaves acknowledging to the kernel. Raises _NothingSaidError."""
    if quick is False:
        _acknowledge(sock, at_once=False)
    framing, parts, t_ns = Framing(), [], []
    sent_ns = now_ns()
    sock.sendall(request)
    complete = False
    while not complete:
        if quick:
            _acknowledge(sock, at_once=True)  # the kernel forgets it after a while
        data = sock.recv(_READ_BYTES)
        if not data:
            raise _NothingSaidError
        t_ns.append(now_ns())
        parts.append(data)
        complete = framing.feed(data)
    response = parse(b"".join(parts), list(accumulate(map(len, parts))), t_ns)
    if not framing.keep_alive or response.status != 200 or response.error is not None:
        raise _NothingSaidError
    reply = decode(response.status, response.headers, response.body)
    if reply.error is not None or not reply.streamed or not reply.deltas:
        raise _NothingSaidError
    arrivals = [delta[0] for delta in reply.deltas]
    return ArrivedAnswer((t_ns[0] - sent_ns) / 1e6, (arrivals[0] - sent_ns) / 1e6, len(set(arrivals)))


def _acknowledge(sock: socket.socket, *, at_once: bool) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, int(at_once))
