"""What the commands do, callable from Python: the only room that joins all others.

`from bench.app import RunOptions, run_request, observe, summarise`; nothing here prints. These names and the modules
(`app.capacity.find`) are imported on first use, so that help is shown and a load process starts without loading the
rest.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bench.app import ab as ab
    from bench.app import campaign as campaign
    from bench.app import capacity as capacity
    from bench.app import compare as compare
    from bench.app import completing as completing
    from bench.app import config as config
    from bench.app import dry as dry
    from bench.app import imports as imports
    from bench.app import listing as listing
    from bench.app import lists as lists
    from bench.app import options as options
    from bench.app import prices as prices
    from bench.app import reports as reports
    from bench.app import results as results
    from bench.app import what_follows as what_follows
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
    home = next((home for home, names in _HOMES.items() if name in names), None)
    try:
        module = import_module(f"{__name__}.{home or name}")
    except ModuleNotFoundError as problem:
        if problem.name != f"{__name__}.{name}":
            raise  # the missing name is a dependency of our module, not the module itself
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(module, name) if home else module
