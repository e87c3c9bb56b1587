"""How often `bench.py ab` is right on this machine: prints the table of docs/compare.md#on-real-servers.

    PYTHONPATH=. .venv/bin/python tests/speed/ab.py

Ten times two servers that are the same, then one of which the model has a layer more; about half an hour. The machine
must have nothing else to do. Changes below 10% do not matter here, which is decided in a third of the pairs that the
default of 5% needs.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAME = ("--model", "tiny", "--equal-sides")
DEEPER = ("--a", "--model tiny", "--b", "--model tiny-3l")
# Answers of one length, two at a time: of the loads of some seconds the one whose runs are most alike.
LOAD = (
    *("--scenario", "chat", "--prompt-tokens", "256", "--output-tokens", "64"),
    *("--concurrency", "2", "--requests", "200", "--max-pairs", "16"),
)
MATTERS = ("--threshold", "ttft_ms:p50=10%", "--threshold", "tpot_ms:p50=10%", "--threshold", "output_tokens_per_s=10%")
REPEATS = 10
LONGEST_S = 3600


def main() -> None:
    """Print a row for each comparison as it ends."""
    print("| sides | verdict | pairs | seconds |\n|---|---|---:|---:|")
    for number in range(1, REPEATS + 1):
        print(f"| identical, {number} | {measured(SAME)} |", flush=True)
    print(f"| one layer more | {measured(DEEPER)} |", flush=True)


def measured(sides: tuple[str, ...]) -> str:
    """The verdict, the pairs that it took, and the seconds."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "ab"
        command = [sys.executable, "bench.py", "ab", *sides, *LOAD, *MATTERS, "--out", str(out)]
        began_s = time.monotonic()
        done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST_S)
        seconds = time.monotonic() - began_s
        if done.returncode not in (0, 1):
            return f"none: {(done.stderr or done.stdout).splitlines()[-1]} | - | {seconds:.0f}"
        found = json.loads((out / "ab.json").read_bytes())["comparison"]
        return f"{found['verdict']} | {len(found['base'])} | {seconds:.0f}"


if __name__ == "__main__":
    main()
