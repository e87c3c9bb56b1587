"""Where connections go, and what they are secured with; for the timed path and for the rehearsal before it."""

import ssl
from dataclasses import dataclass
from urllib.parse import urlsplit

from bench.process.certificates import tls_context
from bench.types import UserError

# In front of an IPv4 address where there is room for one of IPv6 (RFC 4291, 2.5.5.2).
MAPPED_IPV4 = bytes(10) + b"\xff\xff"


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
    tls = tls_context(ca_file, client_cert, client_key) if parts.scheme == "https" else None
    return Endpoint(host, port or (443 if tls else 80), tls, parts.netloc.rpartition("@")[2])
