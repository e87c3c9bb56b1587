"""A client that cannot look: its load processes stand still again and again."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

FREEZE_S = 0.015


@contextmanager
def frozen(times_per_s: float, freeze_s: float = FREEZE_S) -> Iterator[None]:
    """Stop every load process (SIGSTOP) for so long, 15 ms, so many times a second."""
    over = threading.Event()

    def freeze() -> None:
        while not over.wait(1 / times_per_s):
            loads = [p for p in psutil.Process().children() if "bench.app.load_process" in p.cmdline()]
            for process in loads:
                process.suspend()
            time.sleep(freeze_s)
            for process in loads:
                process.resume()

    thread = threading.Thread(target=freeze)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
