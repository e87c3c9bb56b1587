"""A client that cannot look: its load processes stand still again and again."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

FREEZE_S = 0.015


@contextmanager
def frozen(times_per_s: int) -> Iterator[None]:
    """Freeze every load process for 15 ms, so many times a second."""
    over = threading.Event()

    def freeze() -> None:
        while not over.wait(1 / times_per_s):
            loads = [p for p in psutil.Process().children() if "bench.app.load_process" in p.cmdline()]
            for process in loads:
                process.suspend()
            time.sleep(FREEZE_S)
            for process in loads:
                process.resume()

    thread = threading.Thread(target=freeze)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
