"""Where connections go, and what they are secured with; for the timed path and for the rehearsal before it."""

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.types import UserError


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where connections go; `host_header` is what the server is called in requests."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    host_header: str


def endpoint(
    url: str, ca_file: str | None = None, client_cert: str | None = None, client_key: str | None = None
) -> Endpoint:
    """Take a base URL apart; certificates are verified against `ca_file` or the system's store.

    `client_cert` and `client_key`, PEM files, are shown to a server that asks who we are.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or parts.scheme not in ("http", "https"):
        raise UserError(f"--url {url!r}: expected http://HOST[:PORT] or https://HOST[:PORT]")
    try:
        tls = ssl.create_default_context(cafile=ca_file) if parts.scheme == "https" else None
    except OSError as problem:
        raise UserError(f"--ca-file {ca_file}: {problem.strerror or problem}; expected a PEM file") from None
    if tls is not None and client_cert is not None:
        try:
            tls.load_cert_chain(client_cert, client_key, password="")
        except (OSError, ValueError) as problem:
            reason = getattr(problem, "strerror", None) or problem
            raise UserError(
                f"--client-cert {client_cert}: {reason}; expected PEM files, the key not encrypted"
            ) from None
    return Endpoint(host, port or (443 if tls else 80), tls, parts.netloc.rpartition("@")[2])
