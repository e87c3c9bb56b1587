"""HTTP for the cold path: what is asked of a server before and after the load, over the standard library's client.

Like the wire it uses no proxy and follows no redirect. A request has a deadline over all of it, an answer a size that
it may not pass, and no answer is looked at before the secrets are out of it. Every failure is a UserError of one line.
"""

import http.client
import json
import re
import socket
import ssl
import threading
import zlib
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from backends.dialect.errors import body_message, one_line
from backends.dialect.lenient_json import lenient
from backends.dialect.outgoing import bearer, with_own, with_query
from bench.process.certificates import tls_context
from bench.process.secrets import blank, secret_pattern
from bench.types import Headers, NotReady, ServerFault, Target, UserError

MAX_BYTES = 8 * 2**20
LOADING = frozenset({502, 503, 504})
"""What a server, or a proxy before it, answers while the model loads."""


class HttpAnswer(NamedTuple):
    """An answer without secrets; names of headers in lower case."""

    status: int
    headers: Mapping[str, str]
    data: bytes

    @property
    def who(self) -> str:
        """What the headers say of who answers, and by what."""
        kind = self.headers.get("content-type", "no content type")
        return one_line(", ".join(filter(None, (self.headers.get("server", "").strip(), kind))))


def get_json(target: Target, path: str, *, headers: Headers | None = None, timeout_s: float = 10) -> Any:
    """The JSON at `path` under the target's base URL."""
    return parse(target, path, fetch(target, path, headers=headers, timeout_s=timeout_s))


def post_json(
    target: Target, path: str, payload: object, *, headers: Headers | None = None, timeout_s: float = 60
) -> Any:
    """The JSON answer to `payload`."""
    return parse(target, path, fetch(target, path, payload, headers=headers, timeout_s=timeout_s))


def fetch(
    target: Target, path: str, payload: object = None, *, headers: Headers | None = None, timeout_s: float = 10
) -> HttpAnswer:
    """Whatever answers, errors included; a UserError when nothing does.

    `headers` carry the key where the dialect has its own way; by default it goes as a bearer token.
    """
    body = None if payload is None else json.dumps(payload).encode()
    ours = (("Content-Type", "application/json"), *(bearer(target) if headers is None else headers))
    if payload is not None:
        timeout_s = max(timeout_s, target.patience_s)  # the first request of all may have to load the model
    return exchange(target, "GET" if body is None else "POST", path, ours, body, timeout_s)


def exchange(
    target: Target, method: str, path: str, headers: Headers, body: bytes | None, timeout_s: float
) -> HttpAnswer:
    """One request and its answer, which must be whole within `timeout_s`. Raises UserError, NotReady among them."""
    base = target.url.rstrip("/")
    url = urlsplit(base)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise UserError(f"{base!r} is no URL: expected http://HOST:PORT or https://HOST")
    if url.scheme == "https":
        context = tls_context(target.ca_file, target.client_cert, target.client_key)
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            url.hostname, url.port, timeout=timeout_s, context=context
        )
    else:
        connection = http.client.HTTPConnection(url.hostname, url.port, timeout=timeout_s)
    asked = with_query(url.path.rstrip("/") + path, target)
    try:
        answer = _within(timeout_s, connection, method, asked, body, with_own(headers, target))
    except (OSError, http.client.HTTPException, ValueError, zlib.error) as error:
        raise _unreachable(target, path, error, timeout_s) from None
    return _without_secrets(target, answer)


def _within(
    timeout_s: float,
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes | None,
    headers: Headers,
) -> HttpAnswer:
    """The exchange in a thread of its own: name look-up, handshake and every single byte count towards its time."""
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
            data = response.read(MAX_BYTES + 1)
            outcome.append(HttpAnswer(response.status, said, _decoded(data, said.get("content-encoding", ""))))
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


def _decoded(data: bytes, coding: str) -> bytes:
    """The bytes as they were before a proxy packed them unasked, and never more of them than an answer may have."""
    if coding in ("gzip", "x-gzip", "deflate"):
        data = zlib.decompressobj(wbits=47).decompress(data, MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise ValueError(f"its answer is longer than {MAX_BYTES // 2**20} MiB")
    return data


def _without_secrets(target: Target, answer: HttpAnswer) -> HttpAnswer:
    pattern = secret_pattern(target.all_secrets)
    if pattern is None:
        return answer
    headers = {name: blank(value, target.all_secrets) for name, value in answer.headers.items()}
    data = re.sub(pattern, "(key)", answer.data.decode("latin-1")).encode("latin-1")
    return HttpAnswer(answer.status, headers, data)


def parse(target: Target, path: str, answer: HttpAnswer) -> Any:
    """The JSON in an answer; a UserError that says what is wrong when it is not a 200 with JSON."""
    value = lenient(answer.data)
    if answer.status == 200 and not isinstance(value, bytes):
        return value
    raise refusal(target, path, answer)


def refusal(target: Target, path: str, answer: HttpAnswer) -> UserError:
    """What an answer that is of no use says, in one line with what to do."""
    base, said, value = target.url.rstrip("/"), body_message(answer.data), lenient(answer.data)
    if answer.status in (401, 403):
        fault = "the API key it was given" if target.api_key else "a request without an API key"
        hint = "set the backend's key variable (OPENAI_API_KEY, ANTHROPIC_API_KEY, …) or give --header"
        return UserError(f"{base} refuses {fault} (HTTP {answer.status}: {said}); {hint}")
    if 300 <= answer.status < 400:
        return UserError(redirects(f"{base}{path}", answer.status, answer.headers.get("location")))
    if answer.status in LOADING:
        return NotReady(f"{base}{path} answered HTTP {answer.status}: {said}; --ready-timeout 5m waits while it loads")
    if isinstance(value, bytes) or answer.status == 404:
        return ServerFault(
            f"no LLM server at {base}: asked for {path}, got HTTP {answer.status} from {answer.who}: {said!r}; "
            "check --url"
        )
    return ServerFault(f"{base}{path} answered HTTP {answer.status}: {said}")


def redirects(what: str, status: int, location: str | None) -> str:
    """Where an answer sends those who ask; it is never followed, since the key would go along."""
    place = f"to {one_line(location)}" if location else "and says not where to"
    return f"{what} redirects with HTTP {status} {place}; give the URL it leads to as --url"


def _unreachable(target: Target, path: str, error: Exception, timeout_s: float) -> UserError:
    base = target.url.rstrip("/")
    match error:
        case ConnectionRefusedError():
            return NotReady(f"nothing listens at {base} (connection refused); start the server or check --url")
        case TimeoutError():
            return NotReady(
                f"{base} did not answer {path} within {timeout_s:g} s; is it still loading, or is --url wrong?"
            )
        case socket.gaierror():
            return UserError(f"the host of {base} is unknown; check --url")
        case ssl.SSLCertVerificationError():
            return UserError(
                f"the certificate of {base} is not trusted ({error.verify_message}); name its authority's by --ca-file"
            )
        case ssl.SSLError() if "CERTIFICATE" in (error.reason or ""):
            return UserError(
                f"{base} wants a client's certificate ({error.reason}); give --client-cert and --client-key"
            )
        case http.client.RemoteDisconnected() | ConnectionResetError() | BrokenPipeError():
            return ServerFault(f"{base} dropped the connection when asked for {path}; its own log may say why")
        case http.client.HTTPException() | ssl.SSLError():
            kind = type(error).__name__
            return ServerFault(
                f"what answers at {base} does not speak this protocol ({kind} at {path}); http or https?"
            )
    return ServerFault(f"cannot ask {base} for {path}: {error}")
