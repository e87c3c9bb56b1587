"""Samples GPUs, host, server and engine while load runs, in a process of its own.

Strategy: the sampler must neither disturb the run nor be lost with it. It is a separate process whose standard
input is a pipe from us: the pipe closes when we stop it, and also when we die, and then it ends. Rows are appended
to a CSV file and flushed four times a second, so a killed run keeps them; `to_table` reads that file afterwards.

Sources and names of the rows:
    gpu<i>   util_pct, memory_used_bytes, power_w, energy_j (counter since the driver was loaded), sm_clock_mhz,
             mem_clock_mhz, temperature_c, throttle_reasons (bit mask): what card and driver can tell, at `hz`;
             i is NVML's index, all cards of the machine whatever CUDA_VISIBLE_DEVICES says
    host     busy_cores, stolen_cores (Linux: by other guests), memory_used_bytes, load_1m, four times a second; of the
             network interface towards a server elsewhere sent_bytes_per_s, received_bytes_per_s, link_bytes_per_s
    server   busy_cores, rss_bytes (shared pages count once per process), summed over the process tree of the server
             that we launched, or that listens on this machine where requests go, four times a second
    client   the same for the process that started the sampler and all below it but the server and the sampler
    engine   what `gauges` names of the server's own metrics, each second
"""

import http.client
import json
import select
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import psutil
import pynvml as nvml

from bench.process.module import ask, start_module
from bench.telemetry.host import Reading, host_readings, listener, network_readings, process_readings
from bench.telemetry.prometheus import read_metrics
from bench.wire.redact import environment

if TYPE_CHECKING:
    import pyarrow as pa

Write = Callable[[str, Reading], None]

# A window of a second has four samples of who had the cores; each takes a millisecond or two.
HOST_HZ = 4
SCRAPE_TIMEOUT_S = 2.0
LAST_SCRAPE_TIMEOUT_S = 1.0
STOP_TIMEOUT_S = 5.0

# --- what the run uses ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sampler:
    """A running sampler; `notes` are lines for the user, such as why there are no GPU metrics."""

    process: subprocess.Popen[bytes]
    notes: list[str]

    def stop(self) -> None:
        """End the sampler after a last scrape of the engine: call it before the server is stopped."""
        if self.process.returncode is not None:
            return
        try:
            self.process.communicate(timeout=STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()
        if self.process.returncode:
            self.notes.append(f"telemetry ended early (exit {self.process.returncode}): what it had is kept")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start(
    out: Path,
    *,
    url: str,
    server_pid: int | None,
    metrics_url: str | None,
    gauges: Mapping[str, str],
    hz: float = 10,
    secrets: Sequence[str] = (),
) -> Sampler:
    """Start sampling into the raw file `out`; returns once the first samples are about to be taken.

    `url` is where requests go, `server_pid` the root of a local server's process tree; `gauges` maps our names to the
    metric names that `metrics_url` serves. The sampler is told of URLs by its pipe and not given the secrets: what a
    command line or an environment holds, others can read.
    """
    spec = {
        "out": str(out.absolute()),
        "url": url,
        "server_pid": server_pid,
        "metrics_url": metrics_url,
        "gauges": dict(gauges),
        "hz": hz,
    }
    process = start_module("bench.telemetry.sampler", environment(secrets))
    ready = ask(process, spec)
    return Sampler(process, ready["notes"] if ready else [])


def to_table(raw: Path, start_ns: int) -> "pa.Table":
    """Rows of a raw file as telemetry.parquet has them, by time: t_ns since `start_ns`, source, name, value.

    Reads a killed sampler's file too; a last line cut short is left out.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    from pyarrow import csv

    schema = pa.schema({"t_ns": pa.int64(), "source": pa.string(), "name": pa.string(), "value": pa.float64()})
    data = raw.read_bytes()
    data = data[: data.rfind(b"\n") + 1]
    if not data:
        return schema.empty_table()
    table = csv.read_csv(
        pa.py_buffer(data),
        read_options=csv.ReadOptions(column_names=schema.names),
        convert_options=csv.ConvertOptions(column_types=schema),
    )
    return table.set_column(0, schema.field("t_ns"), pc.subtract(table["t_ns"], start_ns)).sort_by("t_ns")


def gpu_inventory() -> list[dict[str, Any]]:
    """Each GPU's name, driver and memory_bytes, by NVML's index; empty where there is none to be seen.

    The memory is None where the driver does not tell it: cut into MIG instances a card tells it to administrators
    alone, and one that shares the host's memory has none of its own.
    """
    gpus, _ = _open_gpus()
    inventory = [
        {
            "name": nvml.nvmlDeviceGetName(gpu),
            "driver": nvml.nvmlSystemGetDriverVersion(),
            "memory_bytes": _memory_bytes(gpu),
        }
        for gpu in gpus
    ]
    if gpus:
        nvml.nvmlShutdown()
    return inventory


def _memory_bytes(gpu: Any) -> int | None:
    with suppress(nvml.NVMLError):
        return int(nvml.nvmlDeviceGetMemoryInfo(gpu).total)
    return None


THROTTLE_REASONS = {
    0x001: "idle",
    0x002: "application clocks",
    0x004: "software power cap",
    0x008: "hardware slowdown",
    0x010: "sync boost",
    0x020: "software thermal slowdown",
    0x040: "hardware thermal slowdown",
    0x080: "hardware power brake",
    0x100: "display clocks",
    0x200: "board limit",
    0x400: "reliability",
}


def throttle_names(mask: int) -> list[str]:
    """Why the clocks are held back, lowest bit first. Source: NVML, nvmlClocksEventReasons."""
    bits = (1 << i for i in range(mask.bit_length()))
    return [THROTTLE_REASONS.get(bit, f"unknown ({bit:#x})") for bit in bits if mask & bit]


# --- GPUs -------------------------------------------------------------------------------------------------------

# For each quantity the calls to try, the newest first: drivers before R535 and R570 lack some of them.
_GPU_QUANTITIES: dict[str, tuple[Callable[[Any], float], ...]] = {
    "util_pct": (lambda gpu: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu,),
    "memory_used_bytes": (
        lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu, nvml.nvmlMemory_v2).used,  # without the driver's own reserve
        lambda gpu: nvml.nvmlDeviceGetMemoryInfo(gpu).used,
    ),
    "power_w": (lambda gpu: nvml.nvmlDeviceGetPowerUsage(gpu) / 1000,),
    "energy_j": (lambda gpu: nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1000,),
    "sm_clock_mhz": (lambda gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_SM),),
    "mem_clock_mhz": (lambda gpu: nvml.nvmlDeviceGetClockInfo(gpu, nvml.NVML_CLOCK_MEM),),
    "temperature_c": (
        lambda gpu: nvml.nvmlDeviceGetTemperatureV(gpu, nvml.NVML_TEMPERATURE_GPU),
        lambda gpu: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU),
    ),
    "throttle_reasons": (
        lambda gpu: nvml.nvmlDeviceGetCurrentClocksEventReasons(gpu),
        lambda gpu: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(gpu),
    ),
}


def _open_gpus() -> tuple[list[Any], list[str]]:
    """Handles of all GPUs, and a note where there are none."""
    try:
        nvml.nvmlInit()
        gpus = [nvml.nvmlDeviceGetHandleByIndex(i) for i in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError as error:
        return [], [f"no GPU metrics: {error}"]
    return gpus, [] if gpus else ["no GPU metrics: the driver sees no GPU"]


def _supported(gpu: Any) -> dict[str, Callable[[Any], float]]:
    """The call to use for each quantity that this card and driver can tell."""
    chosen = {}
    for name, calls in _GPU_QUANTITIES.items():
        for call in calls:
            with suppress(nvml.NVMLError):
                call(gpu)
                chosen[name] = call
                break
    return chosen


def _read_gpu(gpu: Any, quantities: Mapping[str, Callable[[Any], float]]) -> Reading:
    reading = {}
    for name, call in quantities.items():
        with suppress(nvml.NVMLError):  # a single failed read is a missing point, not the end of the series
            reading[name] = call(gpu)
    return reading


# --- engine -----------------------------------------------------------------------------------------------------


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A server's metrics are its own: what it sends us elsewhere for says nothing of it, whoever that is."""

    def redirect_request(self, *_: object) -> None:
        return None


def _scrape(url: str, gauges: Mapping[str, str], write: Write, stopping: threading.Event) -> None:
    """Read the server's metrics each second, and once more when stopping; a failed scrape is a missing point."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    last = False
    while True:
        with suppress(OSError, http.client.HTTPException, ValueError):
            with direct.open(url, timeout=SCRAPE_TIMEOUT_S) as response:
                text = response.read().decode(errors="replace")
            write("engine", read_metrics(text, gauges))
        if last:
            return
        last = stopping.wait(1.0)


# --- the sampler process ----------------------------------------------------------------------------------------


def _ticks(hz: float) -> Iterator[bool]:
    """Yield `hz` times a second, True HOST_HZ times of these, until standard input closes.

    A tick that is missed is skipped, not made up for.
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
    out: Path, *, url: str, server_pid: int | None, metrics_url: str | None, gauges: Mapping[str, str], hz: float
) -> None:
    """Append rows to `out` until standard input closes; first says on standard output that it is ready."""
    client_pid = psutil.Process().ppid()
    handles, notes = _open_gpus()
    gpus = [(f"gpu{i}", gpu, _supported(gpu)) for i, gpu in enumerate(handles)]
    host, network, processes = (
        host_readings(),
        network_readings(url),
        process_readings(server_pid or listener(url), client_pid),
    )
    stopping = threading.Event()

    # Room for all rows of a second: the flush then writes whole lines, and a write of one call is not interleaved.
    with out.open("ab", buffering=1 << 20) as raw:

        def write(source: str, reading: Reading) -> None:
            t_ns = time.monotonic_ns()
            raw.write("".join(f"{t_ns},{source},{name},{value}\n" for name, value in reading.items()).encode())

        scraper = threading.Thread(target=_scrape, args=(metrics_url, gauges, write, stopping), daemon=True)
        if metrics_url and gauges:
            scraper.start()
        print(json.dumps({"notes": notes}), flush=True)
        for with_host in _ticks(hz):
            for source, gpu, quantities in gpus:
                write(source, _read_gpu(gpu, quantities))
            if with_host:
                write("host", next(host) | next(network))
                for source, reading in next(processes).items():
                    write(source, reading)
                raw.flush()
        stopping.set()
        if scraper.is_alive():
            scraper.join(LAST_SCRAPE_TIMEOUT_S)


def main() -> None:
    """Be the sampler that the first line on standard input describes; without one there is nothing to do."""
    line = sys.stdin.readline()
    if not line.endswith("\n"):  # whoever asked is gone
        return
    spec = json.loads(line)
    out = Path(spec.pop("out"))
    if out.parent.is_dir():  # else the run was given up before this began
        sample(out, **spec)


if __name__ == "__main__":
    main()
