"""One HTTP request and its answer over the standard library, with a deadline over all of it and a bound on its size.

Like the wire it uses no proxy and follows no redirect.
"""

import http.client
import socket
import ssl
import threading
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import urlsplit


class HttpAnswer(NamedTuple):
    """An answer as it came, its content coding undone; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    data: bytes


def exchange_within(
    timeout_s: float,
    base: str,
    context: ssl.SSLContext | None,
    method: str,
    path: str,
    body: bytes | None,
    headers: Sequence[tuple[str, str]],
    most_bytes: int,
) -> HttpAnswer:
    """Ask the host of `base` in a thread of its own: look-up, handshake and every single byte count towards the time.

    `context` is for https. Raises OSError, HTTPException, ValueError and zlib.error, TimeoutError among them.
    """
    connection = _connection(base, context, timeout_s)
    outcome: list[HttpAnswer | Exception] = []
    opened: list[socket.socket] = []  # of its own accord the client forgets it when the server says it will close

    given_up = threading.Event()

    def ask() -> None:
        response = None
        try:
            connection.connect()
            opened.append(connection.sock)
            if given_up.is_set():
                return
            connection.request(method, path, body, dict(headers))
            response = connection.getresponse()
            said = {name.lower(): value for name, value in response.getheaders()}
            data = response.read(most_bytes + 1)
            outcome.append(
                HttpAnswer(response.status, said, _decoded(data, said.get("content-encoding", ""), most_bytes))
            )
        except Exception as error:  # whatever it is, it is the caller's to name
            outcome.append(error)
        finally:
            if response is not None:
                response.close()
            connection.close()

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    result: HttpAnswer | Exception = TimeoutError()
    try:
        thread.join(timeout_s)
        if outcome:
            result = outcome[0]
    finally:
        given_up.set()
        if opened and not outcome:
            with suppress(OSError):
                # Which ends the thread, and that closes the connection. What the thread makes of it counts no more.
                opened[0].shutdown(socket.SHUT_RDWR)
    if isinstance(result, Exception):
        raise result
    return result


def _connection(base: str, context: ssl.SSLContext | None, timeout_s: float) -> http.client.HTTPConnection:
    url = urlsplit(base)
    host = url.hostname or ""
    if context is None:
        return http.client.HTTPConnection(host, url.port, timeout=timeout_s)
    return http.client.HTTPSConnection(host, url.port, timeout=timeout_s, context=context)


def _decoded(data: bytes, coding: str, most_bytes: int) -> bytes:
    """The bytes as they were before a proxy packed them unasked, and never more of them than an answer may have."""
    if coding in ("gzip", "x-gzip", "deflate"):
        data = zlib.decompressobj(wbits=47).decompress(data, most_bytes + 1)
    if len(data) > most_bytes:
        raise ValueError(f"its answer is longer than {most_bytes // 2**20} MiB")
    return data
