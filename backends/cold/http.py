"""HTTP for the cold path, before and after the load, with the standard library's client.

Like the wire it uses no proxy and follows no redirect. Each request has a deadline, each answer a maximum size, and
secrets are removed from an answer before anything reads it. Every failure is a UserError of one line.
"""

import http.client
import json
import re
import socket
import ssl
import zlib
from typing import Any
from urllib.parse import urlsplit

from backends.dialect.errors import body_message, one_line
from backends.dialect.outgoing import bearer, with_own, with_query
from backends.dialect.outside import lenient
from bench.process.certificates import tls_context
from bench.process.exchange import HttpAnswer, exchange_within
from bench.process.secrets import blank, secret_pattern
from bench.types import Headers, NotReady, ServerFault, Target, UserError

MAX_BYTES = 8 * 2**20
LOADING = frozenset({502, 503, 504})
"""What a server, or a proxy in front of it, answers while the model loads."""


def _who(answer: HttpAnswer) -> str:
    """The headers that identify the server, or what is in front of it."""
    kind = answer.headers.get("content-type", "no content type")
    return one_line(", ".join(filter(None, (answer.headers.get("server", "").strip(), kind))))


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
    """The answer, errors included; UserError if there is none.

    `headers` contain the key if the dialect has its own way; by default it is a bearer token.
    """
    body = None if payload is None else json.dumps(payload).encode()
    ours = (("Content-Type", "application/json"), *(bearer(target) if headers is None else headers))
    if payload is not None:
        timeout_s = max(timeout_s, target.patience_s)  # the first request may have to load the model
    return exchange(target, "GET" if body is None else "POST", path, ours, body, timeout_s)


def exchange(
    target: Target, method: str, path: str, headers: Headers, body: bytes | None, timeout_s: float
) -> HttpAnswer:
    """One request and its answer, which must be complete within `timeout_s`. Raises UserError, such as NotReady."""
    base = target.url.rstrip("/")
    url = urlsplit(base)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise UserError(f"{base!r} is not a URL; expected http://HOST:PORT or https://HOST")
    context = tls_context(target.ca_file, target.client_cert, target.client_key) if url.scheme == "https" else None
    asked = with_query(url.path.rstrip("/") + path, target)
    try:
        answer = exchange_within(timeout_s, base, context, method, asked, body, with_own(headers, target), MAX_BYTES)
    except (OSError, http.client.HTTPException, ValueError, zlib.error) as error:
        raise _unreachable(target, path, error, timeout_s) from None
    return _without_secrets(target, answer)


def _without_secrets(target: Target, answer: HttpAnswer) -> HttpAnswer:
    pattern = secret_pattern(target.all_secrets)
    if pattern is None:
        return answer
    headers = {name: blank(value, target.all_secrets) for name, value in answer.headers.items()}
    data = re.sub(pattern, "(key)", answer.data.decode("latin-1")).encode("latin-1")
    return HttpAnswer(answer.status, headers, data)


def parse(target: Target, path: str, answer: HttpAnswer) -> Any:
    """The JSON in an answer; UserError that says what is wrong if it is not a 200 with JSON."""
    value = lenient(answer.data)
    if answer.status == 200 and not isinstance(value, bytes):
        return value
    raise refusal(target, path, answer)


def refusal(target: Target, path: str, answer: HttpAnswer) -> UserError:
    """What a failed answer says, in one line with a remedy."""
    base, said, value = target.url.rstrip("/"), body_message(answer.data), lenient(answer.data)
    if answer.status in (401, 403):
        fault = "the API key it was given" if target.api_key else "requests without an API key"
        hint = "set OPENAI_API_KEY (with --backend claude, ANTHROPIC_API_KEY), or give --header"
        return UserError(f"{base} refuses {fault} (HTTP {answer.status}: {said}); {hint}")
    if 300 <= answer.status < 400:
        return UserError(redirects(f"{base}{path}", answer.status, answer.headers.get("location")))
    if answer.status in LOADING:
        return NotReady(
            f"{base}{path} answered HTTP {answer.status}: {said}; use --ready-timeout 5m to wait while it loads"
        )
    if isinstance(value, bytes) or answer.status == 404:
        return ServerFault(
            f"no LLM server at {base}: {path} returned HTTP {answer.status} from {_who(answer)}: {said!r}; check --url"
        )
    return ServerFault(f"{base}{path} answered HTTP {answer.status}: {said}")


def redirects(what: str, status: int, location: str | None) -> str:
    """Where an answer redirects to; redirects are never followed, because the key would go along."""
    place = f"to {one_line(location)}" if location else "without saying where to"
    return f"{what} redirects with HTTP {status} {place}; give its target as --url"


def _unreachable(target: Target, path: str, error: Exception, timeout_s: float) -> UserError:
    base = target.url.rstrip("/")
    match error:
        case ConnectionRefusedError():
            return NotReady(f"connection refused at {base}; start the server, or check --url")
        case TimeoutError():
            return NotReady(
                f"{base} did not answer {path} within {timeout_s:g} s; is it still loading, or is --url wrong?"
            )
        case socket.gaierror():
            return UserError(f"the host of {base} does not resolve; check --url")
        case ssl.SSLCertVerificationError():
            return UserError(
                f"the certificate of {base} is not trusted ({error.verify_message}); give its CA with --ca-file"
            )
        case ssl.SSLError() if "CERTIFICATE" in (error.reason or ""):
            return UserError(
                f"{base} requires a client certificate ({error.reason}); give --client-cert and --client-key"
            )
        case http.client.RemoteDisconnected() | ConnectionResetError() | BrokenPipeError():
            return ServerFault(f"{base} dropped the connection at {path}; see the server's log")
        case http.client.HTTPException() | ssl.SSLError():
            kind = type(error).__name__
            return ServerFault(
                f"the server at {base} does not speak this protocol ({kind} at {path}); check http or https in --url"
            )
    return ServerFault(f"request to {base}{path} failed: {error}")
