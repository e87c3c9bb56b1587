"""Ctrl-C, a kill and a closed terminal end a command as KeyboardInterrupt, at a moment when it comes out as that."""

import signal
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Final

# A kill is Ctrl-C from afar: servers are stopped and what was measured is kept. So is a terminal that is closed.
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AGAIN_S: Final = 0.01


def end_at_once() -> None:
    """Let Ctrl-C end the process without a word: there is nothing else to end yet."""
    # Where it is ignored (nohup, cron) it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)


def listen() -> None:
    """Raise KeyboardInterrupt from now on; what the user wants ignored (nohup) stays ignored."""
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)
    signal.signal(signal.SIGALRM, _interrupt)
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = _could_not_raise


def ignore() -> None:
    """Hear none of it any more: all is said, and it would only garble the interpreter's own end."""
    for number in (*_SIGNALS, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)


def caused(problem: BaseException) -> bool:
    """Whether an interrupt became this exception: a library in C or Rust may put its own in the place of another."""
    return any(isinstance(one, KeyboardInterrupt) or "KeyboardInterrupt" in str(one) for one in _chain(problem))


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Modules build their types while they are imported, in libraries that wrap or lose what is raised there.
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _ask_again()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _could_not_raise(what: "sys.UnraisableHookArgs") -> None:
    # In a finalizer or the callback of a weak reference: there the interpreter prints an exception and goes on.
    if what.exc_type is KeyboardInterrupt:
        _ask_again()
    else:
        sys.__unraisablehook__(what)


def _ask_again() -> None:
    signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)


def _chain(problem: BaseException | None) -> Iterator[BaseException]:
    while problem is not None:
        yield problem
        problem = problem.__cause__ or problem.__context__
