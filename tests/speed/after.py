"""`python tests/speed/after.py write|report|both FOLDER REQUESTS TOKENS`: what comes after a load, without the load.

`write` makes the folder that a load would have left: plan and captures, written by the load's own writer, with the
bytes of the ground-truth server. `report` makes everything from it, as at the end of a run, and prints what each stage
took: wall time, CPU time of all processes, and the most memory that they had together (proportional set size, sampled).
"""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from analysis.present import report as report_page
from bench.app import results
from bench.plan.calls import make_plan
from bench.plan.prompts import calibrate
from bench.plan.written import write_plan
from bench.runs import decoding
from bench.runs import folder as files
from bench.types import Lengths, Load, Scenario
from bench.wire.capture import CaptureWriter, Received
from bench.wire.clock import ClockSample
from tests.speed.pipeline import manifest

STREAMS = 256
GAP_NS, LAG_NS, TTFT_NS = 10_000_000, 20_000, 200_000_000
SAMPLE_S = 0.05
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n"
STREAM = b"00000000"


# --- what a load leaves -----------------------------------------------------------------------------------------


def write(folder: Path, requests: int, tokens: int) -> None:
    """Write a run of so many answers, 256 at a time, of so many tokens each."""
    (folder / files.CAPTURE).mkdir(parents=True)
    lengths = Lengths("fixed", 40, 40)
    scenario = Scenario("after", "", lengths, Lengths("fixed", tokens, tokens), 0, STREAMS, requests, 0)
    load = Load(STREAMS, None, "poisson", requests, None, 0, None, STREAMS, "wait")
    plan = make_plan(scenario, load, 0, 0, calibrate(lambda _: None, "speed"))
    write_plan(plan, folder / files.PLAN, range(requests))
    files.write_json(folder / files.RUN, manifest(plan, scenario, load))
    writer = CaptureWriter(
        folder / files.CAPTURE / "worker-0.cap", {"worker": 0, "backend": "openai", "stamps": "kernel"}, gathers=True
    )
    writer.start(0)
    writer.clock(ClockSample(0, 0))
    parts = answer(tokens)
    ends = np.cumsum([len(part) for part in parts]).tolist()
    stream, jitter = b"".join(parts), np.random.default_rng(0)
    round_ns = (tokens * GAP_NS + 2 * TTFT_NS) if tokens > 8 else 40_000_000
    for seq in range(requests):
        sent_ns = 1_000_000 + seq // STREAMS * round_ns + seq % STREAMS * 37_000
        t_ns = sent_ns + TTFT_NS // 10 + np.arange(len(parts)) * min(GAP_NS, round_ns // 8)
        t_ns[1:] += jitter.integers(0, 400_000, len(parts) - 1)
        writer.exchange(seq, sent_ns, sent_ns, int(t_ns[-1]), None, _received(stream, seq, ends, t_ns), None)
    last_s = (requests // STREAMS + 1) * round_ns / 1e9
    writer.close({"cpu_s": last_s / 2, "wall_s": last_s, "peak_rss_bytes": 0})


def answer(tokens: int) -> list[bytes]:
    """What the ground-truth server sends, by its writes: the head with the role, a token each, and the end at once."""
    event = b'{"id":"chatcmpl-truth-%b","object":"chat.completion.chunk","created":1750000000,"model":"truth",'
    event = event % STREAM + b'"system_fingerprint":"truth","choices":[%b]%b}'
    role = b'{"index":0,"delta":{"role":"assistant","content":null},"finish_reason":null}'
    token = b'{"index":0,"delta":{"content":" t%06d"},"logprobs":null,"finish_reason":null}'
    last = b'{"index":0,"delta":{},"logprobs":null,"finish_reason":"length"}'
    usage = b',"usage":{"prompt_tokens":40,"completion_tokens":%d,"total_tokens":%d}' % (tokens, 40 + tokens)
    end = _chunk(event % (last, b"")) + _chunk(event % (b"", usage)) + _chunk(b"[DONE]") + b"0\r\n\r\n"
    return [HEAD + _chunk(event % (role, b"")), *(_chunk(event % (token % n, b"")) for n in range(tokens)), end]


def _chunk(data: bytes) -> bytes:
    return b"%x\r\ndata: %b\n\n\r\n" % (len(data) + 8, data)


def _received(stream: bytes, seq: int, ends: list[int], t_ns: "np.ndarray[Any, np.dtype[np.int64]]") -> Received:
    own = stream.replace(STREAM, b"%08d" % seq)
    received = Received()
    received.parts = [own[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    received.user_ns = (t_ns + LAG_NS).tolist()
    received.kernel = bytearray(np.stack(np.divmod(t_ns, 1_000_000_000), axis=1).tobytes())
    return received


# --- what is made of it -----------------------------------------------------------------------------------------


def report(folder: Path) -> None:
    """Make everything from a folder in a process of its own, watch it, and print a row for each stage."""
    command = [sys.executable, __file__, "watched", str(folder)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    stages: list[dict[str, Any]] = [{"stage": "start"}]
    reader = threading.Thread(target=lambda: stages.extend(json.loads(line) for line in child.stdout or ()))
    reader.start()
    peaks_mb: dict[int, float] = {}
    while child.poll() is None:
        peaks_mb[len(stages)] = max(peaks_mb.get(len(stages), 0.0), _memory_mb(child.pid))
        time.sleep(SAMPLE_S)
    reader.join()
    print("| stage | wall, s | CPU, s | most memory, MB |\n|---|---|---|---|")
    for n, stage in enumerate(stages[1:], 1):
        print(f"| {stage['stage']} | {stage['wall_s']:.1f} | {stage['cpu_s']:.1f} | {peaks_mb.get(n, 0):,.0f} |")
    print(f"| all | {sum(s['wall_s'] for s in stages[1:]):.1f} | {sum(s['cpu_s'] for s in stages[1:]):.1f} "
          f"| {max(peaks_mb.values()):,.0f} |")  # fmt: skip
    if child.returncode:
        sys.exit(child.returncode)


def _memory_mb(pid: int) -> float:
    """What a process and its children have, shared pages counted once."""
    total = 0
    try:
        processes = [root := psutil.Process(pid), *root.children(recursive=True)]
    except psutil.Error:
        return 0.0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 1e6


def watched(folder: Path) -> None:
    """Make everything, saying after each stage what it took; anything between them counts with the next."""
    began = [time.monotonic(), _cpu_s()]

    def staged(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def timed(*args: Any, **named: Any) -> Any:
            result = function(*args, **named)
            now = [time.monotonic(), _cpu_s()]
            wall_s, cpu_s = (after - before for after, before in zip(now, began, strict=True))
            began[:] = now
            print(json.dumps({"stage": name, "wall_s": wall_s, "cpu_s": cpu_s}), flush=True)
            return result

        return timed

    stages = (
        ("scan", decoding, "scan_captures"),
        ("decode and join", decoding, "decode_run"),
        ("read", results, "_tables"),
        ("summarise", results, "summarize"),
        ("report", report_page, "render"),
    )
    for name, module, function in stages:
        setattr(module, function, staged(name, getattr(module, function)))
    results.summarise(folder)


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main(action: str, folder: str, requests: str = "100000", tokens: str = "4") -> None:
    """Do what is asked for."""
    if action in ("write", "both"):
        write(Path(folder), int(requests), int(tokens))
    if action in ("report", "both"):
        report(Path(folder))
    if action == "watched":
        watched(Path(folder))


if __name__ == "__main__":
    main(*sys.argv[1:])
