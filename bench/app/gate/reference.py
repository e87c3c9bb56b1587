"""Fixed work whose time stands for the speed of the machine: everything the gate measures is divided by it.

Strategy: two kinds, each like the work that it calibrates. A pass is a step of a small language model in numpy, as an
engine does for every token; a read is a short message through a loopback socket pair, stamped and kept, as our client
does for every token. A single-threaded process of its own does the work before and after every measurement. It shares
no code with what it calibrates, because a change that slowed both would otherwise go unseen.
"""

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[3]  # where `-m` finds this package, installed or not
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
TIMEOUT_S = 60.0
PIECES = 7
# About 40 ms each: long compared with reading the clock, short compared with most disturbances.
PASSES = 120
READS = 8000
READ_BYTES = 200

LAYERS, REQUESTS, TOKENS = 2, 2, 80
WIDTH, HEADS, HEAD_WIDTH, INNER_WIDTH, VOCABULARY = 128, 2, 64, 256, 2048


class Reference(NamedTuple):
    """CPU time of one pass and of one read, which other load hardly affects."""

    pass_cpu_s: float
    read_cpu_s: float


def reference() -> Reference:
    """Do the work once, in a separate process."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.app.gate.reference"],
        cwd=ROOT,
        env={**os.environ, **ONE_THREAD},
        stdout=subprocess.PIPE,
        check=True,
        timeout=TIMEOUT_S,
    )
    return Reference(**json.loads(done.stdout))


def between(before: Reference, after: Reference) -> Reference:
    """The time while something was measured, from the times before and after."""
    return Reference(*map(statistics.fmean, zip(before, after, strict=True)))


def _main() -> None:
    print(json.dumps(Reference(_median_s(passes(), PASSES), _median_s(reads(), READS))._asdict()))


def _median_s(work: Callable[[int], None], count: int) -> float:
    """CPU time of a unit in s: the median over the pieces."""
    work(count // 10)
    return statistics.median(unit_s(work, count) for _ in range(PIECES))


def unit_s(work: Callable[[int], None], count: int) -> float:
    """CPU time per unit in s, for that many units."""
    start_s = time.process_time()
    work(count)
    return (time.process_time() - start_s) / count


def passes() -> Callable[[int], None]:
    """A function that does so many passes through a model of two layers, for two requests with 80 tokens each."""
    import numpy as np

    draws = np.random.default_rng(0)

    def weights(*shape: int) -> "np.typing.NDArray[np.float32]":
        return draws.standard_normal(shape, np.float32) / np.float32(WIDTH**0.5)

    query, out = weights(LAYERS, WIDTH, HEADS * HEAD_WIDTH), weights(LAYERS, HEADS * HEAD_WIDTH, WIDTH)
    keys, values = (weights(LAYERS, REQUESTS, TOKENS, HEAD_WIDTH) for _ in range(2))
    gate, up = (weights(LAYERS, WIDTH, INNER_WIDTH) for _ in range(2))
    down = weights(LAYERS, INNER_WIDTH, WIDTH)
    head, start = weights(WIDTH, VOCABULARY), weights(REQUESTS, WIDTH)

    def normed(x: "np.typing.NDArray[np.float32]") -> "np.typing.NDArray[np.float32]":
        scale: np.typing.NDArray[np.float32] = np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(1e-5))
        return x / scale

    def work(count: int) -> None:
        for _ in range(count):
            x = start
            for layer in range(LAYERS):
                asked = (normed(x) @ query[layer]).reshape(REQUESTS, HEADS, HEAD_WIDTH)
                scores = np.exp(asked @ keys[layer].swapaxes(1, 2))
                found = (scores / scores.sum(-1, keepdims=True)) @ values[layer]
                x = x + found.reshape(REQUESTS, -1) @ out[layer]
                inner = normed(x) @ gate[layer]
                x = x + (inner / (1 + np.exp(-inner)) * (normed(x) @ up[layer])) @ down[layer]
            (normed(x) @ head).argmax(-1)

    return work


def reads() -> Callable[[int], None]:
    """A function that does so many reads: sent, received, stamped, kept."""
    buffer, message = memoryview(bytearray(65536)), b"x" * READ_BYTES

    def work(count: int) -> None:
        sender, receiver = socket.socketpair()
        stamps, parts = array("q"), []
        with sender, receiver:
            for _ in range(count):
                sender.send(message)
                size, *_ = receiver.recvmsg_into([buffer], 64)
                stamps.append(time.monotonic_ns())
                parts.append(buffer[:size].tobytes())

    return work


if __name__ == "__main__":
    _main()
