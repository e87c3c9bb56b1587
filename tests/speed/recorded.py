"""How exactly recorded times are kept, and how much memory a large dataset takes: the figures of docs/traffic.md.

    PYTHONPATH=. .venv/bin/python tests/speed/recorded.py [GIB]

The Azure slice is replayed 20 times faster against the ground-truth server, which has a core of its own; a dataset of
GIB (1) is written beside it and read.
"""

import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from bench import app
from bench.app.options import RunOptions
from bench.app.recordings import read_dataset
from bench.process.cores import available_cores
from bench.truth import server as truth

SLICE = Path(__file__).parents[1] / "fixtures" / "traffic" / "azure_conv_2023_first3000.csv.gz"
PROMPT = "a word and another " * 120


def replayed(folder: Path) -> str:
    """Sent - recorded of a replayed trace."""
    options = truth.TruthOptions(ttft_ms=5, gap_ms=1, tokens=2)
    with truth.launch(options, cpu=available_cores() - 1) as server:
        asked = {"backend": "openai", "model": "truth", "url": server.url, "trace": SLICE, "speed": 20}
        request = app.run_request(RunOptions.of({**asked, "output-tokens": 2, "out": folder / "run"}))
        app.observe(request)
    app.summarise(request.out, with_report=False)
    calls = pq.read_table(request.out / "requests.parquet", columns=["due_ns", "sent_ns"])
    late_ms = np.abs(calls["sent_ns"].to_numpy() - calls["due_ns"].to_numpy()) / 1e6
    p50, p99, most = np.quantile(late_ms, (0.5, 0.99, 1))
    return f"{len(late_ms):,} requests, sent - recorded: p50 {p50:.3f} ms, p99 {p99:.3f} ms, at most {most:.2f} ms"


def read(folder: Path, gib: float) -> str:
    """The time and the memory that reading takes."""
    path, size = folder / "large.jsonl", 0
    with path.open("w") as file:
        while size < gib * 2**30:
            size += file.write(json.dumps({"prompt": f"{size} {PROMPT}", "response": "yes it is"}) + "\n")
    before, began_s = _peak_mib(), time.process_time()
    found = read_dataset(str(path), seed=0, wanted=1000, output="file")
    used_s, more = time.process_time() - began_s, _peak_mib() - before
    return f"{size / 2**30:.2f} GiB, {found.rows:,} rows: {used_s:.1f} s of a core, {more:.1f} MiB more memory"


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print both figures."""
    with tempfile.TemporaryDirectory() as folder:
        print(read(Path(folder), float(sys.argv[1]) if len(sys.argv) > 1 else 1.0), flush=True)
        print(replayed(Path(folder)))


if __name__ == "__main__":
    main()
