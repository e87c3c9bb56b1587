"""Whether two requests ask for the same run, however they are written: comparing them could find nothing."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.app.request import RunningServer, RunRequest, ServerToLaunch, Workload
from bench.app.run import how_to_launch
from bench.runs.manifest import ApiPricing
from bench.types import UserError

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_PORTS = {"http": 80, "https": 443}


def ask_the_same(one: RunRequest, other: RunRequest) -> bool:
    """Whether both ask the same server for the same load; output folders, spending limits and ports do not matter."""
    if isinstance(one.server, RunningServer) and isinstance(other.server, RunningServer):
        # A model has several names, of which a server knows one.
        known = {one.model, *one.server.aliases} & {other.model, *other.server.aliases}
        same_server = bool(known) and _place(one.server) == _place(other.server)
    else:
        same_server = _started(one) == _started(other)
    return same_server and _asked(one) == _asked(other)


def _place(server: RunningServer) -> Any:
    parts = urlsplit(server.url)
    host = "127.0.0.1" if parts.hostname in _LOOPBACK else parts.hostname
    address = parts.scheme, host, parts.port or _PORTS[parts.scheme], parts.path.rstrip("/")
    return address, replace(server, url="", aliases=())


def _started(request: RunRequest) -> Any:
    """The command that starts the server, if it can be started here, with defaults and names resolved."""
    if not isinstance(request.server, ServerToLaunch):
        return request.server
    try:
        how = how_to_launch(replace(request, model=""))  # the displayed name makes no difference
    except UserError:
        return replace(request.server, port=None)
    return tuple(map(_path, how.argv)), how.env


def _path(word: str) -> str:
    """A normalised path; symbolic links stay, because a Python environment is one."""
    return os.path.abspath(word) if Path(word).exists() else word  # noqa: PTH100  (Path has nothing for .. alone)


def _asked(request: RunRequest) -> Any:
    return (
        request.backend.name,
        _load(request.workload),
        request.access.headers,
        replace(request.client, web_port=None, ready_timeout_s=None),
        replace(costs, max_usd=None) if isinstance(costs := request.costs.pricing, ApiPricing) else costs,
        {name: _path(value) for name, value in request.wording.items() if name != "asked_for"},
        request.by_class,
        request.slo,
        request.window,
    )


def _load(work: Workload) -> Any:
    recorded = work.recording
    return (
        replace(work, recording=None, tokenizer=None),
        None if recorded is None else (recorded.sha256, recorded.kind, recorded.speed, recorded.sessions),
        None if work.tokenizer is None else work.tokenizer[0],
    )
