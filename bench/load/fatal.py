"""An error that nobody has expected ends its load process, which its parent notices: it must not end a greenlet alone.

gevent prints what ends a greenlet or a watcher's callback, Locust what ends a user, a listener or the handler of a
message; either goes on without it, and the load would be waited for, for ever.
"""

import os
import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, TypeVar

from gevent.hub import get_hub

EXIT_BUG = 70
_OURS = str(Path(__file__).parents[2])
_ELSEWHERE = ("site-packages", "dist-packages")

Function = TypeVar("Function", bound=Callable[..., Any])


def fatal(function: Function) -> Function:
    """Have an exception that leaves the function end the process; the last line it leaves in the log names it."""

    @wraps(function)
    def ends(*args: Any, **kwargs: Any) -> Any:
        try:
            return function(*args, **kwargs)
        except Exception as problem:
            _die(problem)

    return ends  # type: ignore[return-value]


def watch_greenlets() -> None:
    """Have what ends a greenlet or a watcher's callback of ours end the process; others' are printed as before."""
    hub = get_hub()
    before = hub.handle_error

    def handle(context: Any, kind: Any, problem: Any, trace: TracebackType | None) -> None:
        # Without an instance it is a kind of exception alone, as gevent passes on what was killed.
        if isinstance(problem, Exception) and _passes_through_ours(problem.__traceback__ or trace):
            _die(problem)
        before(context, kind, problem, trace)

    setattr(hub, "handle_error", handle)  # noqa: B010  (gevent looks it up there)


def _passes_through_ours(trace: TracebackType | None) -> bool:
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if name.startswith(_OURS) and not any(place in name for place in _ELSEWHERE):
            return True
        trace = trace.tb_next
    return False


def _die(problem: Exception) -> NoReturn:
    try:
        traceback.print_exception(problem)
        sys.stderr.flush()
    finally:
        os._exit(EXIT_BUG)
