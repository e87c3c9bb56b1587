"""Holds telemetry of a real NVIDIA GPU beside nvidia-smi, idle and under a load of known size: `make check-gpu`.

Prints every difference and what is allowed. Exit codes: 0 all within, 1 something is not, 2 nothing to check here.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from analysis.run.window import Window
from bench.telemetry import sampler as telemetry
from bench.types import UserError
from tests.gpu import smi
from tests.gpu.differences import Difference, GpuObservation, differences

SECONDS = 30.0
SETTLE_S = 3.0
"""What NVML calls utilization is of the last sixth of a second to a second, its power mostly of the last second."""
ROOT = Path(__file__).parents[2]
HEADINGS = ("card", "when", "what", "telemetry", "reference", "value", "difference", "tolerance", "")


class LoadSteps:
    """The load's process; each call of it asks for the next step and returns the answer."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = self._answer()

    def __call__(self) -> str:
        """The answer to the next step; UserError with the driver's words where there is none."""
        assert self._process.stdin
        with suppress(BrokenPipeError):  # it has ended, and says why
            print(file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> str:
        assert self._process.stdout and self._process.stderr
        if answer := self._process.stdout.readline().strip():
            return answer
        why = self._process.stderr.read().strip().splitlines() or [f"exit {self._process.wait()}"]
        raise UserError(f"no load on the GPU: {why[-1]}")

    def end(self) -> None:
        """Let the load end; UserError where it had done so before."""
        if self._process.poll() is not None:
            self._answer()
        self._process.communicate(timeout=SETTLE_S * 10)


@contextmanager
def load() -> Iterator[LoadSteps]:
    """The load's process, which has taken nothing of the card yet; it ends with the block, or with us."""
    command = [sys.executable, "-m", "tests.gpu.load"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield LoadSteps(process)
        finally:
            process.kill()


def observe(seconds: float, settle_s: float, raw: Path) -> GpuObservation:
    """Sample and ask while the card is idle for so long, then given memory, then busy for so long."""
    start_ns = time.monotonic_ns()

    def stretch(length_s: float) -> Window:
        began_ns = time.monotonic_ns()
        time.sleep(length_s)
        return Window(began_ns - start_ns, time.monotonic_ns() - start_ns)

    # Nobody is at that address: there is no server here.
    with telemetry.start(raw, url="http://127.0.0.1:9", server_pid=None) as sampler:
        if sampler.notes:
            raise UserError(f"this is for a machine with an NVIDIA GPU: {'; '.join(sampler.notes)}")
        dialect = smi.dialect()
        with load() as step, smi.SmiPoller(dialect.fields) as poller:
            stretch(settle_s)
            idle = stretch(seconds)
            step()
            before = stretch(settle_s)
            allocated_bytes = int(step())
            after = stretch(settle_s)
            step()
            stretch(settle_s)
            busy = stretch(seconds)
            step.end()
    seen = {card: fields for answer in poller.answers for card, fields in answer.cards.items()}
    return GpuObservation(
        telemetry=telemetry.to_table(raw, start_ns),
        answers=poller.answers,
        dialect=dialect,
        start_ns=start_ns,
        stretches={"idle": idle, "busy": busy},
        loaded=loaded(step.address, {card: fields["pci.bus_id"] for card, fields in seen.items()}),
        allocated_bytes=allocated_bytes,
        before=before,
        after=after,
    )


def loaded(address: str, cards: dict[int, str]) -> int:
    """The index of the card at that PCI address; nvidia-smi writes its domain with eight digits, CUDA with four."""

    def place(text: str) -> tuple[int, str]:
        domain, _, rest = text.partition(":")
        return int(domain, 16), rest.lower()

    for card, listed in cards.items():
        if ":" in listed and place(listed) == place(address):
            return card
    raise UserError(f"nvidia-smi does not list the card under load, at {address}, but: {', '.join(cards.values())}")


def table(rows: Sequence[Difference]) -> str:
    """A Markdown table of them, aligned for a terminal too."""
    cells = [HEADINGS, *(_cells(row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    cells.insert(1, tuple("-" * width for width in widths))
    lines = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in cells)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cells(row: Difference) -> tuple[str, ...]:
    apart = None if row.ours is None or row.theirs is None else row.ours - row.theirs
    ours, theirs, apart_text = (_figure(value) for value in (row.ours, row.theirs, apart))
    allowed = f"{_figure(row.allowance.at(row.theirs))} {row.allowance.unit}"
    return row.card, row.stretch, row.what, ours, row.beside, theirs, apart_text, allowed, row.verdict


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:,.1f}"


def main(arguments: Sequence[str] | None = None) -> int:
    """See the module."""
    parser = argparse.ArgumentParser(prog="check-gpu", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--seconds",
        type=float,
        default=SECONDS,
        help="idle, and as many busy (%(default)s)",
    )
    parser.add_argument("--settle", type=float, default=SETTLE_S, help="seconds between them (%(default)s)")
    chosen = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            seen = observe(chosen.seconds, chosen.settle, Path(folder) / "telemetry.csv")
        rows = differences(seen)
        cards = telemetry.gpu_inventory()
    except UserError as error:
        print(f"check-gpu: {error}", file=sys.stderr)
        return 2
    for card, found in enumerate(cards):
        memory = "memory not told" if (size := found.memory_bytes) is None else f"{size / 2**30:.0f} GiB"
        print(f"gpu{card}: {found.name}, driver {found.driver}, {memory}")
    print(f"{chosen.seconds:g} s idle, then {chosen.seconds:g} s of load on gpu{seen.loaded}\n")
    print(table(rows))
    failed = [row for row in rows if row.failed]
    untold = sum(row.verdict == "not told" for row in rows)
    print(f"\n{len(rows) - len(failed) - untold} within what is allowed, {len(failed)} not, {untold} not told")
    return 1 if failed else 0
