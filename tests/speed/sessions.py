"""How long plans of sessions take to make, and what sessions cost the client.

PYTHONPATH=. .venv/bin/python tests/speed/sessions.py plan      100,000 sessions of 5 turns, made and written
PYTHONPATH=. .venv/bin/python tests/speed/sessions.py load      256 sessions beside as many requests by themselves
"""

import resource
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from bench.app.selftest.measure import LoadResult, SelftestLoad, choose_cores, measure
from bench.plan.calls import make_plan, total
from bench.plan.prompts import calibrate
from bench.plan.resolve import resolve_load
from bench.plan.written import plan_hash, write_plan
from bench.types import Lengths, Pause, Scenario, Turns

_SCENARIO = Scenario(
    "sessions", "", Lengths("uniform", 100, 300), Lengths("uniform", 50, 150), 0, 256, 1, 0,
    turns=Turns(Lengths("uniform", 3, 7), Lengths("uniform", 40, 80), Pause("exponential", 5.0), window_tokens=2048),
)  # fmt: skip


def plan(sessions: int = 100_000) -> str:
    """Make the plan, its hash and its file; the time is this process's own, the peak its resident memory."""
    vocabulary = calibrate(lambda _: None, "speed", sessions=True)
    start_s = time.process_time()
    made = make_plan(_SCENARIO, resolve_load(_SCENARIO, rate=100.0, sessions=sessions), 0, 0, vocabulary)
    plan_hash(made)
    made_s = time.process_time() - start_s
    count = total(made) or 0
    with tempfile.TemporaryDirectory() as name:
        write_plan(made, Path(name) / "plan.parquet", range(count))
    written_s = time.process_time() - start_s
    peak_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    took = f"plan {made_s:.1f} s, with its file {written_s:.1f} s, {peak_gb:.2f} GB"
    return f"{sessions:,} sessions, {count:,} turns: {took}"


def load(streams: int = 256) -> str:
    """The same answers to as many requests by themselves and to sessions of 8 turns, on the ground-truth server."""
    alone = SelftestLoad(f"{streams} requests in flight", streams, 8 * streams, 64, 200, 20)
    both = (alone, replace(alone, name=f"{streams} sessions with actual history", turns=8))
    return "\n".join(_said(measure(case, choose_cores(1))) for case in both)


def _said(found: LoadResult) -> str:
    first, gap, late = found.first_token, found.gap, found.sent_late_p99_ms
    return (
        f"{found.case.name}: {found.events_per_s:,.0f} events/s, error p99 of the first token {first.p99_ms} ms, of "
        f"gaps {gap.p99_ms} ms, sent late p99 {late} ms, {found.cpu_fraction:.0%} of a core, server late p99 "
        f"{found.server_late_p99_ms:.3f} ms"
    )


if __name__ == "__main__":
    print({"plan": plan, "load": load}[sys.argv[1]]())
