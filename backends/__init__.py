"""One module per server dialect: pure functions from calls to bytes and from bytes to replies.

A backend's module is imported on first use, so that listing the names costs nothing.
"""

from collections.abc import Iterator, Mapping
from importlib import import_module

from bench.types import Backend

_MODULES = {
    "claude": "backends.claude",
    "exec": "backends.exec",
    "llamacpp": "backends.llamacpp",
    "openai": "backends.openai",
    "tgi": "backends.tgi",
    "vllm": "backends.vllm",
}


class _Backends(Mapping[str, Backend]):
    def __getitem__(self, name: str) -> Backend:
        backend: Backend = import_module(_MODULES[name]).BACKEND
        return backend

    def __iter__(self) -> Iterator[str]:
        return iter(_MODULES)

    def __len__(self) -> int:
        return len(_MODULES)


BACKENDS: Mapping[str, Backend] = _Backends()
