"""How a run's requests were worded, where that decides what was measured: sampling, and fields of the user's own."""

from collections.abc import Mapping, Sequence
from typing import Final

from bench.runs.manifest import RunManifest

UNSAID: Final = {
    "temperature": "0",
    "top_p": "server",
    "seed_requests": "on",
    "route": "chat",
    "stream": "on",
    "tools": "none",
    "response_format": "none",
    "extra_body": "none",
}
"""What is asked where a run's options do not say."""

_FLAGS: Final = {"stream": "--no-stream"}
_NOT_TAKEN: Final = {
    "temperature": ("temperature", "server"),
    "top_p": ("top_p", "server"),
    "seed": ("seed_requests", "off"),
}


def phrasing(backend: str, options: Mapping[str, str] | None) -> dict[str, str]:
    """What was asked, by the name of each flag; `options` are a run's, None for an old one. What a server did not take
    was not asked.
    """
    options = options or {}
    said = UNSAID | ({"temperature": "server"} if backend == "claude" else {})
    said |= {name: options[name] for name in said if name in options}
    said.update(_NOT_TAKEN[field] for field in options.get("without", "").split() if field in _NOT_TAKEN)
    return said


def differing(runs: Sequence[RunManifest]) -> dict[str, tuple[str, ...]]:
    """The flags by which some of these runs asked otherwise than others, each with what was asked."""
    said = [phrasing(run.backend, run.options) for run in runs]
    found = {
        _FLAGS.get(name, f"--{name.replace('_', '-')}"): tuple(dict.fromkeys(each[name] for each in said))
        for name in UNSAID
    }
    return {flag: values for flag, values in found.items() if len(values) > 1}
