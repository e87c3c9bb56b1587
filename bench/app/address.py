"""Where requests go and what goes with them: URL, headers, certificates; and which of it is secret.

Secret is whatever comes from the environment (a key, a $VARIABLE in a header) or looks like a secret where typed.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import SplitResult, unquote, unquote_plus, urlsplit

from bench.app.options import ServerOptions, flag_of
from bench.process.secrets import LEAST_SECRET_LENGTH
from bench.types import Backend, Headers, UserError

# In place of /v1, vendors have /v4, /v1beta/openai, /api/v3, /v1/projects/P/…/openapi, /openai/deployments/NAME
OWN_ROOT = re.compile(r"(?:^|/)v\d+(?:(?:alpha|beta|preview)\d*)?(?:/|$)|/deployments/[^/]+$", re.IGNORECASE)
ROUTE = re.compile(r"/(?:chat/completions|completions|messages|responses|models|generate(?:_stream)?|api/chat)$")
NAMES_A_SECRET = re.compile(r"key|token|secret|passw|auth|cookie|credential|signature|^sig$|^code$", re.IGNORECASE)
LOOKS_LIKE_A_KEY = re.compile(
    r"(?:sk|pk|hf|gsk|xai|nvapi|key)[-_][\w-]{8,}"
    r"|(?=\w*\d)(?=\w*[A-Za-z])\w{20,}"
    r"|[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
    re.ASCII,
)
PREFIXED_KEY = re.compile(r"\b(?:sk|hf|gsk|xai|nvapi)[-_][\w-]{12,}", re.ASCII)
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
VARIABLE = re.compile(r"\$(?:\$|\{(\w+)\}|(\w+))", re.ASCII)
# These frame a request; the wire sets them itself.
OURS = frozenset({"content-length", "transfer-encoding", "connection", "expect", "te", "trailer", "upgrade"})
SCHEMES = frozenset({"basic", "bearer", "digest", "token", "apikey", "api-key", "key"})


class Address(NamedTuple):
    """A base URL without its query, the query, and the path at which its API begins (None for /v1)."""

    url: str
    query: str
    api_path: str | None


def address(url: str | None, backend: Backend) -> Address | None:
    """Parse a URL. Raises UserError, whose message shows neither password nor key."""
    if url is None:
        return None
    parts = taken_apart(url.strip())
    if parts is None:
        guess = "" if "://" in url else f"; did you mean 'http://{url}'?"
        raise UserError(f"--url {url!r}: expected http://HOST[:PORT] or https://HOST[:PORT]{guess}")
    if "@" in parts.netloc:
        raise UserError(
            "--url: expected a URL without user or password; set the key's variable, such as OPENAI_API_KEY"
        )
    if parts.fragment:
        raise UserError(f"--url {url!r}: expected a URL without #, such as http://HOST:PORT/v1")
    path = ROUTE.sub("", parts.path.rstrip("/")).rstrip("/")
    if path.endswith("/v1"):
        path, api_path = path.removesuffix("/v1"), None
    else:
        api_path = "" if backend.name != "claude" and OWN_ROOT.search(path) else None
    return Address(f"{parts.scheme}://{parts.netloc}{path}", parts.query, api_path)


def taken_apart(url: str) -> SplitResult | None:
    """The parts of an http or https URL; None if it is not one."""
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        return None
    return parts if sound and not re.search(r"[\s\x00-\x1f\x7f]", url) else None


def default_url(backend: Backend) -> str | None:
    """The API's base URL; the vendor's own variable may override it, as it does for the vendor's client."""
    if backend.default_url is None:
        return None
    return os.environ.get(backend.key_variable.replace("_API_KEY", "_BASE_URL")) or backend.default_url


def headers(given: Sequence[str]) -> tuple[Headers, tuple[str, ...]]:
    """Return the `--header` headers, and which of their values are secret. Raises UserError."""
    made, hidden = [], []
    for number, text in enumerate(given, 1):
        name, colon, value = (part.strip(" \t") for part in text.partition(":"))
        which = f"--header {name!r}" if colon and HEADER_NAME.fullmatch(name) else f"--header (number {number})"
        if not colon or not HEADER_NAME.fullmatch(name):
            raise UserError(f"{which}: expected 'NAME: VALUE', such as 'api-key: $AZURE_API_KEY'")
        if name.lower() in OURS:
            raise UserError(f"{which}: this header frames the request and is set by the tool; leave it out")
        whole, variables = expanded(which, value)
        if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", whole) or not _is_latin(whole):
            raise UserError(f"{which}: expected one line of Latin-1 text; remove other characters")
        made.append((name, whole))
        hidden += variables
        if NAMES_A_SECRET.search(name):
            hidden += [word for word in whole.split() if word.lower() not in SCHEMES]
        hidden += like_keys(whole)
    return tuple(made), long_enough(hidden)


def expanded(which: str, value: str) -> tuple[str, list[str]]:
    """The value with its variables expanded, and their contents; $$ stands for a dollar sign."""
    held: list[str] = []

    def fill(found: "re.Match[str]") -> str:
        name = found[1] or found[2]
        if name is None:
            return "$"
        content = os.environ.get(name, "").strip()
        if not content:
            raise UserError(f"{which}: ${name} is not set in the environment; set it, or write $$ for a dollar sign")
        held.append(content)
        held.extend(content.split())
        return content

    return VARIABLE.sub(fill, value), held


def _is_latin(text: str) -> bool:
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        return False
    return True


def certificates(options: ServerOptions, url: str | None) -> None:
    """Check `--ca-file`, `--client-cert` and `--client-key`. Raises UserError."""
    for name in ("ca_file", "client_cert", "client_key"):
        if getattr(options, name) and url is None:
            raise UserError(f"{flag_of(name)}: needs --url https://…; a launched server is reached over http")
        if getattr(options, name) and url is not None and not url.startswith("https:"):
            raise UserError(f"{flag_of(name)}: needs an https --url, got {url}")
    if options.client_key and not options.client_cert:
        raise UserError("--client-key: needs --client-cert, the certificate it belongs to; give both")


def api_key(variable: str) -> str | None:
    """The key for the server, which no error message may show."""
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError(f"{variable}: expected printable ASCII without spaces; set it again, or unset it")
    return key or None


def secrets_typed(url: str | None, server_args: Iterable[str]) -> tuple[str, ...]:
    """Whatever looks like a secret in a URL (well-formed or not) or in the flags of a launched server."""
    return long_enough((*_of_url(url or ""), *_of_flags(server_args)))


def _of_url(url: str) -> Iterator[str]:
    before_query = re.split(r"[?#]", url, maxsplit=1)[0]
    if "@" in before_query:
        userinfo = before_query.rpartition("@")[0].rpartition("//")[2]
        yield from (userinfo, *userinfo.split(":", 1)[1:])
    # Secrets appear in queries, in near-queries and in paths: ?key=…, ;key=…, /key=…/, ?key%3D…
    for piece in (piece for text in (url, unquote(url)) for piece in re.split(r"[?&;#]", text)):
        name, equals, value = piece.partition("=")
        named = equals and NAMES_A_SECRET.search(name.rpartition("/")[2])
        for form in (value, unquote_plus(value), value.partition("/")[0]):
            if named or LOOKS_LIKE_A_KEY.fullmatch(form):
                yield form
    yield url.partition("#")[2]  # the fragment is never sent to a server, so it is private to the user
    yield from like_keys(url)
    yield from (unquote(one) for one in before_query.split("/")[1:] if LOOKS_LIKE_A_KEY.fullmatch(unquote(one)))


def _of_flags(arguments: Iterable[str]) -> Iterator[str]:
    """Values of flags that name a secret, given after `=` or as the next word."""
    names_one = False
    for argument in (word for text in arguments for word in text.split()):
        name, equals, value = argument.partition("=")
        if names_one and not argument.startswith("-"):
            yield argument
        elif equals and NAMES_A_SECRET.search(name):
            yield value
        names_one = argument.startswith("-") and not equals and bool(NAMES_A_SECRET.search(name))
        yield from like_keys(argument)


def like_keys(text: str) -> list[str]:
    return PREFIXED_KEY.findall(text)


def long_enough(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for text in texts if len(text) >= LEAST_SECRET_LENGTH))
