"""What the commands do, callable from Python: the only room that joins all others.

`from bench.app import RunOptions, run_request, observe, summarise`; nothing here prints. What is named is imported
when it is first asked for: a command line shows its help, and a load process starts, without the rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.app.dry import dry_run
    from bench.app.options import RunOptions
    from bench.app.request import RunRequest, run_request
    from bench.app.results import captured_is_kept, code_of_stop, exit_code, summarise, write_report
    from bench.app.run import observe
    from bench.app.view import RunView

__all__ = [
    "RunOptions", "RunRequest", "RunView", "captured_is_kept", "code_of_stop", "dry_run", "exit_code", "observe",
    "run_request", "summarise", "write_report",
]  # fmt: skip

_HOMES = {
    "dry": ("dry_run",),
    "options": ("RunOptions",),
    "request": ("RunRequest", "run_request"),
    "results": ("captured_is_kept", "code_of_stop", "exit_code", "summarise", "write_report"),
    "run": ("observe",),
    "view": ("RunView",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"bench.app.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
