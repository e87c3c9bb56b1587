"""HTTP for the cold path: what is asked of a server before and after the load, over the standard library's client.

Like the wire it uses no proxy and follows no redirect. Every failure is a UserError of one line; none shows a key.
"""

import http.client
import json
import socket
import ssl
import urllib.error
import urllib.request
from typing import Any, NamedTuple

from backends._errors import body_message
from backends._json import lenient
from bench.types import Headers, Target, UserError


class Answer(NamedTuple):
    status: int
    server: str
    content_type: str
    data: bytes


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


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
) -> Answer:
    """Whatever answers, errors included; a UserError when nothing does.

    `headers` carry the key where the dialect has its own way; by default it goes as a bearer token.
    """
    if headers is None:
        headers = (("Authorization", f"Bearer {target.api_key}"),) if target.api_key else ()
    body = None if payload is None else json.dumps(payload).encode()
    base = target.url.rstrip("/")
    if not base.startswith(("http://", "https://")):
        raise UserError(f"{base!r} is no URL: expected http://HOST:PORT or https://HOST")
    request = urllib.request.Request(base + path, body, {"Content-Type": "application/json", **dict(headers)})
    tls = urllib.request.HTTPSHandler(context=tls_context(target.ca_file))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect(), tls)
    try:
        try:
            response = opener.open(request, timeout=timeout_s)
        except urllib.error.HTTPError as error:
            response = error
        with response:
            kind = response.headers.get("Content-Type", "no content type")
            return Answer(response.status, response.headers.get("Server", "").strip(), kind, response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise UserError(_unreachable(base, error, timeout_s)) from None


def parse(target: Target, path: str, answer: Answer) -> Any:
    """The JSON in an answer; a UserError that says what is wrong when it is not a 200 with JSON."""
    base = target.url.rstrip("/")
    value = lenient(answer.data)
    if answer.status == 200 and not isinstance(value, bytes):
        return value
    said = body_message(answer.data.replace(target.api_key.encode(), b"(key)") if target.api_key else answer.data)
    if answer.status in (401, 403):
        fault = "the API key it was given" if target.api_key else "a request without an API key"
        hint = "set the backend's key variable (OPENAI_API_KEY, ANTHROPIC_API_KEY, …)"
        raise UserError(f"{base} refuses {fault} (HTTP {answer.status}: {said}); {hint}")
    if 300 <= answer.status < 400:
        raise UserError(f"{base}{path} redirects (HTTP {answer.status}); give the URL it leads to as --url")
    if isinstance(value, bytes) or answer.status == 404:
        who = ", ".join(filter(None, (answer.server, answer.content_type)))
        raise UserError(
            f"no LLM server at {base}: asked for {path}, got HTTP {answer.status} from {who}: {said!r}; check --url"
        )
    raise UserError(f"{base}{path} answered HTTP {answer.status}: {said}")


def tls_context(ca_file: str | None) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise UserError(
            f"--ca-file {ca_file!r} cannot be used: {error.strerror or error}; expected a PEM file"
        ) from None


def _unreachable(base: str, error: Exception, timeout_s: float) -> str:
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    match reason:
        case ConnectionRefusedError():
            return f"nothing listens at {base} (connection refused); start the server or check --url"
        case TimeoutError():
            return f"{base} did not answer within {timeout_s:g} s; is it still loading, or is --url wrong?"
        case socket.gaierror():
            return f"the host of {base} is unknown; check --url"
        case ssl.SSLCertVerificationError():
            return (
                f"the certificate of {base} is not trusted ({reason.verify_message}); name its authority's by --ca-file"
            )
        case http.client.HTTPException() | ssl.SSLError() | ConnectionResetError():
            return f"what answers at {base} does not speak this protocol ({type(reason).__name__}); http or https?"
    return f"cannot ask {base}: {reason}"
