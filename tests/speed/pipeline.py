"""From capture to report: how long `bench.py decode` takes for a run of a hundred thousand requests."""

import resource
import subprocess
import sys
import tempfile
import time
from array import array
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.app.machine import hardware
from bench.plan.calls import Plan, make_plan
from bench.plan.prompts import calibrate
from bench.plan.written import plan_hash, write_plan
from bench.runs import folder as files
from bench.runs.sections import dump
from bench.types import Lengths, Load, Scenario, ServerInfo
from bench.wire.capture import CaptureWriter, Received
from bench.wire.clock import ClockSample

_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_CHUNK = (
    b'data: {"id":"chatcmpl-0a1b2c3d4e5f","object":"chat.completion.chunk","created":1750000000,"model":"truth",'
    b'"choices":[{"index":0,"delta":{"content":" %s"},"logprobs":null,"finish_reason":null}]}\n\n'
)
_TAIL = (
    b'data: {"id":"chatcmpl-0a1b2c3d4e5f","object":"chat.completion.chunk","created":1750000000,"model":"truth",'
    b'"choices":[{"index":0,"delta":{},"finish_reason":"length"}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":40,"completion_tokens":%d,"total_tokens":240}}\n\n',
    b"data: [DONE]\n\n",
)


@dataclass(frozen=True, slots=True)
class Decoded:
    """What decoding, summary and report took; the peak is that of the largest process."""

    requests: int
    tokens: int
    wall_s: float
    peak_rss_mb: float


def measure(requests: int = 100_000, tokens: int = 200) -> Decoded:
    """Write a capture of that size and let `bench.py decode` make everything from it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        _write_run(folder, requests, tokens)
        start_s = time.monotonic()
        subprocess.run([sys.executable, "bench.py", "decode", str(folder)], check=True)
        wall_s = time.monotonic() - start_s
    return Decoded(requests, tokens, wall_s, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3)


def _write_run(folder: Path, requests: int, tokens: int) -> None:
    (folder / files.CAPTURE).mkdir(parents=True)
    lengths = Lengths("fixed", 40, 40)
    scenario = Scenario("pipeline", "", lengths, Lengths("fixed", tokens, tokens), 0, 256, requests, 0)
    load = Load(256, None, "poisson", requests, None, 0, None, 256, "wait")
    plan = make_plan(scenario, load, 0, 0, calibrate(lambda _: None, "speed"))
    write_plan(plan, folder / files.PLAN, range(requests))
    files.write_json(folder / files.RUN, manifest(plan, scenario, load))
    _write_capture(folder / files.CAPTURE / "worker-0.cap", requests, tokens)


def manifest(plan: Plan, scenario: Scenario, load: Load) -> dict[str, Any]:
    """What run.json would say of a run with this plan."""
    vocabulary = {**asdict(plan.vocabulary), "words": " ".join(plan.vocabulary.words)}
    return {
        "schema": 1,
        "run_id": "pipeline",
        "created_at": "",
        "argv": [],
        "backend": "openai",
        "model": "truth",
        "url": "",
        "launched": False,
        "scenario": asdict(scenario),
        "load": asdict(load),
        "seed": 0,
        "salt": 0,
        "plan_hash": plan_hash(plan),
        "tokenizer": vocabulary,
        "slo": ["ttft_ms:p99<500"],
        "timeout_s": 60,
        "stall_timeout_s": 30,
        "workers": 1,
        "packages": {},
        "git_commit": None,
        "server": asdict(ServerInfo("truth", None, "truth", None, None, {})),
        "hardware": dump(hardware()),
        "interrupted": False,
        "notes": [],
        "clients": [],
    }


def _write_capture(path: Path, requests: int, tokens: int) -> None:
    """256 streams at a time, one token each 10 ms with some jitter, every read stamped by the kernel 20 us early."""
    writer = CaptureWriter(path, {"worker": 0, "backend": "openai", "stamps": "kernel"})
    writer.start(0)
    writer.clock(ClockSample(0, 0))
    events = [_CHUNK % b"word%d" % (n % 97) for n in range(tokens)] + [_TAIL[0], _TAIL[1] % tokens, _TAIL[2]]
    parts = [b"%x\r\n%s\r\n" % (len(event), event) for event in events] + [b"0\r\n\r\n"]
    parts[0] = _HEAD + parts[0]
    gap_ns = 10_000_000
    for seq in range(requests):
        sent_ns = 1_000_000 + (seq // 256) * (tokens + 30) * gap_ns + (seq % 256) * 37_000
        received = Received()
        received.parts = parts
        first_ns = sent_ns + 200_000_000 + (seq * 7919) % 50_000_000
        received.user_ns = [first_ns + n * gap_ns + (n * seq) % 400_000 for n in range(len(parts))]
        received.kernel = bytearray(
            array("q", [part for t_ns in received.user_ns for part in divmod(t_ns - 20_000, 1_000_000_000)]).tobytes()
        )
        writer.exchange(seq, sent_ns, sent_ns, received.user_ns[-1], None, received, None)
    last_s = (requests // 256 + 1) * (tokens + 30) * gap_ns / 1e9
    writer.close({"cpu_s": last_s / 2, "wall_s": last_s, "peak_rss_bytes": 0})


if __name__ == "__main__":
    print(measure(*(int(argument) for argument in sys.argv[1:])))
