"""Does the server hold back its first token until this client has acknowledged earlier data?

A server that does not set TCP_NODELAY leaves Nagle's algorithm on: a small packet waits until earlier data is
acknowledged, and on a kept-alive connection a client delays acknowledgements, by 40 ms on Linux. The first token is
late by that time, and the answer arrives in one piece; users' clients see the same. The same request, sent with delayed
and with immediate acknowledgements, reveals such a server. Blocking, for use before the load.
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
# By then earlier data has been acknowledged, so a later token did not wait for that.
LONGEST_WAIT_MS = 250.0
ROUNDS = 5
_READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class AckEffect:
    """The same request, repeated on one kept-alive connection: acknowledged as clients do, and at once."""

    delayed: ArrivedAnswer
    quick: ArrivedAnswer
    requests: int

    @property
    def waits(self) -> bool:
        """Whether the first token, held back behind the first byte, came sooner when that was acknowledged at once."""
        held_ms = self.delayed.first_token_ms - self.delayed.first_byte_ms
        sooner_ms = self.delayed.first_token_ms - self.quick.first_token_ms
        return sooner_ms >= LEAST_DIFFERENCE_MS and LEAST_DIFFERENCE_MS <= held_ms <= LONGEST_WAIT_MS

    def message(self, *, quick_ack: bool) -> str:
        """The difference with both figures, its cause and its remedy; `quick_ack` says how the load is sent."""
        as_sent = "the load is sent with --quick-ack on and measures the server itself"
        return (
            f"on a kept connection the first token comes after {self.delayed.first_token_ms:.3g} ms in "
            f"{_pieces(self.delayed)}, and after {self.quick.first_token_ms:.3g} ms in {_pieces(self.quick)} when "
            "this client acknowledges at once: the server does not set TCP_NODELAY and waits for delayed "
            "acknowledgements, also those of its users; set TCP_NODELAY on the server, or on a proxy in front of it"
            + (f"; {as_sent}" if quick_ack else ", or measure the server itself with --quick-ack on")
        )

    def kept(self, *, quick_ack: bool) -> NagleProbe:
        """What run.json holds of it; its `message` is None if there is no problem."""
        message = self.message(quick_ack=quick_ack) if self.waits else None
        return NagleProbe(self.delayed, self.quick, message, self.requests)


def probe(sock: socket.socket, request: bytes, decode: Decode) -> AckEffect | None:
    """Ask three times, or eleven if there is a difference, on a newly opened connection.

    `sock` is blocking, with a time-out for each read, and is the caller's to close. None if nothing can be concluded:
    an answer failed or has no model output, the server closes its connections, or this is not Linux.
    """
    if not hasattr(socket, "TCP_QUICKACK"):
        return None
    delayed, quick = list[ArrivedAnswer](), list[ArrivedAnswer]()
    try:
        # The first request on a connection is acknowledged at once by the kernel itself, and warms the server's cache.
        _ask(sock, request, decode, None)
        for _ in range(ROUNDS):
            # Set explicitly: the kernel itself delays only once requests and answers alternate.
            delayed.append(_ask(sock, request, decode, False))
            quick.append(_ask(sock, request, decode, True))
            if not _effect(delayed, min(quick, key=_first_token)).waits:
                break
    except (OSError, MalformedResponse, _NothingSaidError):
        return None
    # Servers are late by chance as well: all delayed answers must be late, and most of the others not.
    return _effect(delayed, sorted(quick, key=_first_token)[(len(quick) - 1) // 2])


def _effect(delayed: Sequence[ArrivedAnswer], quick: ArrivedAnswer) -> AckEffect:
    return AckEffect(min(delayed, key=_first_token), quick, 1 + 2 * len(delayed))


class _NothingSaidError(Exception):
    """An answer from which nothing can be concluded."""


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
            _acknowledge(sock, at_once=True)  # the kernel resets the option after a while
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
