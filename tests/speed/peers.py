"""What a token event and a short request cost this client, a bare C loop, and vLLM's client in Rust, in one sitting.

    PYTHONPATH=. python tests/speed/peers.py [VLLM_RS [ROUNDS]]

VLLM_RS is the program `vllm/vllm-rs` of vLLM's wheel (`pip download --no-deps vllm==0.33.0`, then unzip it); without it
the others are measured. All have the same core in turns, the ground-truth server the next; the medians of ROUNDS (3)
are printed. Some five minutes. What a client does before its first request, making prompts too, is not counted.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
import psutil

from bench.app.options import Stamps
from bench.app.selftest.measure import SelftestLoad, choose_cores, measure
from bench.truth import server as truth

LONG = SelftestLoad("600 streams at 100 tokens/s", 600, 1200, 400, 200, 10)
SHORT = SelftestLoad("4 tokens, first after 5 ms, 256 in flight", 256, 15_000, 4, 5, 5)
CORES = choose_cores(workers=1)
ROUNDS = 3
LONGEST_S = 120.0
_SAMPLE_S = 0.02
HEAD = (
    "| load | client | requests/s | CPU-s per million events | CPU-µs per request | CPU of the C loop's |\n"
    + "|---" * 6
    + "|"
)
FLOOR = "C epoll loop, reads at once"


class Cost(NamedTuple):
    """What a load took of the client's core, and the rate of its requests, in the middle half of it."""

    cpu_s: float
    requests_per_s: float


Client = Callable[[SelftestLoad, Path], Cost]


def main(vllm_rs: str | None = None, rounds: str = str(ROUNDS)) -> None:
    """Measure in turns and print."""
    clients: dict[str, Client] = {
        FLOOR: _floor,
        "this client, stamps of reads": _ours("kernel"),
        "this client, packets, late reading": _ours("packets"),
    }
    if vllm_rs is not None:
        clients["vLLM's client in Rust"] = lambda case, folder: _vllm(Path(vllm_rs), case, folder)
    print(HEAD, flush=True)
    for case in (LONG, SHORT):
        costs: dict[str, list[Cost]] = {name: [] for name in clients}
        for turn in range(int(rounds)):
            # In the other order every second time: what a machine does by and by is then no one's gain.
            for name, client in sorted(clients.items(), reverse=turn % 2 == 1):
                with tempfile.TemporaryDirectory() as folder:
                    costs[name].append(client(case, Path(folder)))
        floor_s = median(cost.cpu_s for cost in costs[FLOOR])
        for name, found in costs.items():
            cpu_s, per_s = (median(column) for column in zip(*found, strict=True))
            print(
                f"| {case.name} | {name} | {per_s:,.0f} | {cpu_s / (case.requests * case.tokens) * 1e6:.1f} "
                f"| {cpu_s / case.requests * 1e6:.0f} | {cpu_s / floor_s:.2f} |",
                flush=True,
            )


def _ours(stamps: Stamps) -> Client:
    def client(case: SelftestLoad, folder: Path) -> Cost:
        result = measure(case, CORES, limit_s=LONGEST_S, stamps=stamps)
        return Cost(result.cpu_s, result.requests_per_s)

    return client


def _floor(case: SelftestLoad, folder: Path) -> Cost:
    program = folder / "floor"
    compiler = shutil.which("cc") or "gcc"
    subprocess.run([compiler, "-std=gnu11", "-O2", "-o", str(program), "tests/speed/floor.c"], check=True)

    def argv(url: str) -> list[str]:
        return [str(program), url.rpartition(":")[2], *map(str, (case.streams, case.requests, case.tokens))]

    return _watched(argv, case, folder)


def _vllm(program: Path, case: SelftestLoad, folder: Path) -> Cost:
    words = {"[UNK]": 0} | {f"w{number}": number for number in range(1, 500)}
    model = {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"}
    (folder / "tokenizer.json").write_text(
        json.dumps({"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"}, "model": model})
    )
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast"}))

    def argv(url: str) -> list[str]:
        where = ("--backend", "openai-chat", "--base-url", url, "--model", "truth", "--tokenizer", str(folder))
        what = ("--dataset-name", "random", "--random-input-len", "40", "--random-output-len", str(case.tokens))
        load = ("--num-prompts", str(case.requests), "--max-concurrency", str(case.streams), "--no-steady-state")
        return [str(program), "bench", "serve", *where, *what, *load, "--disable-tqdm"]

    return _watched(argv, case, folder)


def _watched(argv: Callable[[str], list[str]], case: SelftestLoad, folder: Path) -> Cost:
    """Have another client offer the load: its CPU time from the first request to the last event of the server's log."""
    log = folder / "truth.log"
    options = truth.TruthOptions(ttft_ms=case.ttft_ms, gap_ms=case.gap_ms, tokens=case.tokens)
    with truth.launch(options, cpu=CORES.server, log=log) as server:
        process = psutil.Popen(
            argv(server.url),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: os.sched_setaffinity(0, CORES.client),
        )
        samples = _samples(process)
    told = truth.read_log(log)
    if process.returncode or len(told.request) < case.requests:
        sys.exit(f"{argv(server.url)[0]} sent {len(told.request)} of {case.requests} requests: {process.returncode}")
    t_ns, cpu_s = np.array(samples).T
    first_ns, last_ns = told.request_read_ns.min(), told.event_sent_ns.max()
    quarter_ns = (last_ns - first_ns) / 4
    middle = (told.request_read_ns >= first_ns + quarter_ns) & (told.request_read_ns < last_ns - quarter_ns)
    used_s = float(np.diff(np.interp((first_ns, last_ns), t_ns, cpu_s))[0])
    return Cost(used_s, float(np.count_nonzero(middle) / (2 * quarter_ns / 1e9)))


def _samples(process: psutil.Popen) -> list[tuple[int, float]]:
    """The CPU time that a process has used, again and again until it ends, or has taken too long."""
    samples = [(time.monotonic_ns(), 0.0)]
    while process.poll() is None:
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            break
        samples.append((time.monotonic_ns(), used.user + used.system))
        if samples[-1][0] - samples[0][0] > LONGEST_S * 1e9:
            process.kill()
        time.sleep(_SAMPLE_S)
    process.wait()
    return samples


if __name__ == "__main__":
    main(*sys.argv[1:])
