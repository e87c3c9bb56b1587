"""Samples GPUs, host, server and engine while load runs, in a process of its own.

Strategy: the sampler must neither disturb the run nor be lost with it. It is a separate process whose standard input is
a pipe from us; it ends when the pipe closes, whether we stop it or die. Rows are appended to a CSV file and flushed
four times a second, so a killed run keeps them; `to_table` reads that file afterwards.

Sources and names of the rows:
    gpu<i>   util_pct, memory_used_bytes, power_w, energy_j (counter since the driver was loaded), sm_clock_mhz,
             mem_clock_mhz, temperature_c, throttle_reasons (bit mask): what card and driver can tell, at `hz`;
             i is NVML's index, all cards of the machine whatever CUDA_VISIBLE_DEVICES says, AMD's behind NVIDIA's;
             of a server elsewhere what its exporters tell, each second, and i counts the cards that are its own
    host     busy_cores, stolen_cores (Linux: by other guests), memory_used_bytes, load_1m, four times a second; of the
             network interface towards a server elsewhere sent_bytes_per_s, received_bytes_per_s, link_bytes_per_s
    server   busy_cores, rss_bytes (shared pages count once per process), summed over the process tree of the server
             that we launched, or that listens on this machine where requests go, four times a second
    client   the same for the process that started the sampler and all below it but the server and the sampler
    node<i>  of a server elsewhere what an exporter of its machine tells, each second: busy_cores, stolen_cores,
             memory_used_bytes, load_1m, energy_j (a counter, of the processors)
    engine   what its gauges name of the server's own metrics, each second
"""

import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil

from bench.process.module import ask, start_module
from bench.process.secrets import environment
from bench.telemetry import amd, nvidia
from bench.telemetry.cards import LocalGpu
from bench.telemetry.clock_offset import OffsetBounds
from bench.telemetry.host import Reading, host_readings, listener, network_readings, process_readings
from bench.telemetry.scraping import Engine, Exporter, follow_engines

if TYPE_CHECKING:
    import pyarrow as pa

# A window of one second then has four samples of who used the cores; each takes a millisecond or two.
HOST_HZ = 4
LAST_SCRAPE_TIMEOUT_S = 3.0
STOP_TIMEOUT_S = 5.0

# --- what the run uses ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sampler:
    """A running sampler; `notes` are lines for the user, such as why there are no GPU metrics.

    Once it has ended, `accounts` say how each exporter answered; empty if it was killed.
    """

    process: subprocess.Popen[bytes]
    notes: list[str]
    accounts: list[dict[str, Any]] = field(default_factory=list)

    def stop(self) -> None:
        """End the sampler after a last scrape of the engine; call it before the server is stopped."""
        if self.process.returncode is not None:
            return
        try:
            output, _ = self.process.communicate(timeout=STOP_TIMEOUT_S)
            with suppress(ValueError):
                self.accounts.extend(json.loads(output))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
        if self.process.returncode:
            self.notes.append(f"telemetry ended early (exit {self.process.returncode}); samples so far are kept")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(
    out: Path,
    *,
    url: str,
    server_pid: int | None = None,
    engines: Sequence[Engine] = (),
    exporters: Sequence[Mapping[str, Any]] = (),
    ca_file: str | None = None,
    hz: float = 10,
    secrets: Sequence[str] = (),
) -> Sampler:
    """Start sampling into the raw file `out`; returns once the first samples are about to be taken.

    `url` is where requests go, `server_pid` the root of a local server's process tree. Each of `exporters` is the spec
    of an `Exporter`; if these report GPUs, this machine's are not sampled. URLs reach the sampler through its pipe and
    secrets not at all, because others can read command lines and environments.
    """
    spec = {
        "out": str(out.absolute()),
        "url": url,
        "server_pid": server_pid,
        "engines": [engine._asdict() for engine in engines],
        "exporters": [dict(exporter) for exporter in exporters],
        "ca_file": ca_file,
        "hz": hz,
    }
    process = start_module("bench.telemetry.sampler", environment(secrets))
    ready = ask(process, spec)
    return Sampler(process, ready["notes"] if ready else [])


def to_table(raw: Path, start_ns: int) -> "pa.Table":
    """The rows of a raw file as telemetry.parquet has them, by time: t_ns since `start_ns`, source, name, value.

    Also reads a killed sampler's file; a truncated last line is ignored.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    schema = pa.schema({"t_ns": pa.int64(), "source": pa.string(), "name": pa.string(), "value": pa.float64()})
    data = raw.read_bytes()
    # A killed sampler may have left half a line, whose number would be wrong.
    data = data[: data.rfind(b"\n") + 1]
    if not data:
        return schema.empty_table()
    table = csv.read_csv(
        pa.py_buffer(data),
        read_options=csv.ReadOptions(column_names=schema.names, use_threads=False),
        convert_options=csv.ConvertOptions(column_types=schema),
    )
    return table.set_column(0, schema.field("t_ns"), pc.subtract(table["t_ns"], start_ns)).sort_by("t_ns")


def gpu_inventory() -> list[LocalGpu]:
    """Each GPU, by number, after its library is closed; empty if none is visible."""
    gpus, _ = _open_gpus()
    nvidia.close()
    return gpus


def _open_gpus() -> tuple[list[LocalGpu], list[str]]:
    """All GPUs of this machine, NVIDIA's before AMD's, and a note if there are none."""
    (nvidias, notes), amds = nvidia.open_gpus(), amd.open_gpus()
    return [*nvidias, *amds], [] if amds else notes


# --- the sampler process ----------------------------------------------------------------------------------------


def _ticks(hz: float) -> Iterator[bool]:
    """Yield `hz` times a second, True for HOST_HZ of these, until standard input closes.

    Missed ticks are skipped, not made up for.
    """
    begin = time.monotonic()
    tick, last = 0, -1
    while True:
        wait_s = begin + tick / hz - time.monotonic()
        if select.select([sys.stdin], [], [], max(0.0, wait_s))[0]:
            return
        elapsed_s = time.monotonic() - begin
        yield int(elapsed_s * HOST_HZ) > last
        last = int(elapsed_s * HOST_HZ)
        tick = max(tick, int(elapsed_s * hz)) + 1


def sample(
    out: Path,
    *,
    url: str,
    server_pid: int | None,
    engines: Sequence[Mapping[str, Any]],
    exporters: Sequence[Mapping[str, Any]],
    ca_file: str | None,
    hz: float,
) -> None:
    """Append rows to `out` until standard input closes; first reports on standard output that it is ready.

    At the end it reports there how each exporter answered.
    """
    client_pid = psutil.Process().ppid()
    watched = [
        Exporter(**{**each, "offset": each["offset"] and OffsetBounds(*each["offset"])}, ca_file=ca_file)
        for each in exporters
    ]
    by_url = {each.url: each for each in watched}
    sources = [(by_url.get(each["url"]) or Exporter(each["url"], ca_file=ca_file), each["gauges"]) for each in engines]
    gpus, notes = ([], []) if any(each.gpus for each in watched) else _open_gpus()
    host, network, processes = (
        host_readings(),
        network_readings(url),
        process_readings(server_pid or listener(url), client_pid),
    )
    stopping = threading.Event()

    # Large enough for a second's rows: a flush then writes whole lines, and a single write is not interleaved.
    with out.open("ab", buffering=1 << 20) as raw:

        def write(source: str, reading: Reading, t_ns: int | None = None) -> None:
            t_ns = time.monotonic_ns() if t_ns is None else t_ns
            raw.write("".join(f"{t_ns},{source},{name},{value}\n" for name, value in reading.items()).encode())

        asking = [
            threading.Thread(target=each.follow, args=(write, stopping), daemon=True)
            for each in watched
            if each.gpus or each.node is not None
        ]
        if sources:
            asking.append(threading.Thread(target=follow_engines, args=(sources, write, stopping), daemon=True))
        for thread in asking:
            thread.start()
        _answer({"notes": notes})
        for with_host in _ticks(hz):
            for i, gpu in enumerate(gpus):
                write(f"gpu{i}", gpu.read())
            if with_host:
                write("host", next(host) | next(network))
                for source, reading in next(processes).items():
                    write(source, reading)
                raw.flush()
        stopping.set()
        until_s = time.monotonic() + LAST_SCRAPE_TIMEOUT_S
        # Counters are read at both ends: without a last scrape the work since the previous one would be lost.
        for thread in asking:
            thread.join(max(0.0, until_s - time.monotonic()))
        _answer([each.account() for each in watched])


def _answer(what: object) -> None:
    """Report to the parent, which may have been interrupted and be gone."""
    with suppress(BrokenPipeError):
        os.write(1, json.dumps(what).encode() + b"\n")


def main() -> None:
    """Be the sampler that the first line on standard input describes; without one there is nothing to do."""
    line = sys.stdin.readline()
    if not line.endswith("\n"):  # the parent is gone
        return
    spec = json.loads(line)
    out = Path(spec.pop("out"))
    if out.parent.is_dir():  # otherwise the run was abandoned before this began
        sample(out, **spec)


if __name__ == "__main__":
    main()
