"""What nvidia-smi says of every card, once a second, and when it was asked."""

import subprocess
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

from bench.types import UserError

EVERY_S = 1.0
TIMEOUT_S = 30
CARD = ("index", "pci.bus_id", "name", "driver_version")
# Telemetry's name of a column -> nvidia-smi's. `power.draw` is what NVML's plain call tells: on most cards since Ampere
# the mean of a second.
COLUMNS = {
    "util_pct": "utilization.gpu",
    "memory_used_bytes": "memory.used",
    "power_w": "power.draw",
    "sm_clock_mhz": "clocks.sm",
    "mem_clock_mhz": "clocks.mem",
    "temperature_c": "temperature.gpu",
}
# Telemetry's name of a reason -> the end of the name that the field has since R535, and had before.
REASONS = {
    "idle": "gpu_idle",
    "application clocks": "applications_clocks_setting",
    "software power cap": "sw_power_cap",
    "hardware slowdown": "hw_slowdown",
    "sync boost": "sync_boost",
    "software thermal slowdown": "sw_thermal_slowdown",
    "hardware thermal slowdown": "hw_thermal_slowdown",
    "hardware power brake": "hw_power_brake_slowdown",
}
# The newest first, as an unknown field spoils the whole answer: the power of the moment, and where the reasons are.
DIALECTS = tuple(
    (power, reasons)
    for power in ("power.draw.instant", "power.draw")
    for reasons in ("clocks_event_reasons", "clocks_throttle_reasons")
)


@dataclass(frozen=True, slots=True)
class SmiAnswer:
    """One call: when it began and ended (monotonic), and for each card's index what it said of each field."""

    before_ns: int
    after_ns: int
    cards: Mapping[int, Mapping[str, str]]

    def value(self, card: int, field: str) -> float | None:
        """A number, or 1 and 0 for what is active or not; None where it says anything else, such as [N/A]."""
        said = self.cards.get(card, {}).get(field, "")
        if said in ("Active", "Not Active"):
            return float(said == "Active")
        try:
            return float(said)
        except ValueError:
            return None


def ask(fields: tuple[str, ...]) -> SmiAnswer:
    """Call nvidia-smi once; UserError with its own words where it fails."""
    command = ["nvidia-smi", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
    before_ns = time.monotonic_ns()
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"nvidia-smi does not run: {error}") from None
    after_ns = time.monotonic_ns()
    if done.returncode:
        raise UserError(f"nvidia-smi failed: {' '.join((done.stdout + done.stderr).split())[:300]}")
    return SmiAnswer(before_ns, after_ns, parsed(done.stdout, fields))


def parsed(text: str, fields: tuple[str, ...]) -> dict[int, dict[str, str]]:
    """The answer's lines by the card's index, which is among the fields; a line of another shape is left out."""
    rows = ([value.strip() for value in line.split(",")] for line in text.splitlines())
    cards = [dict(zip(fields, row, strict=True)) for row in rows if len(row) == len(fields)]
    return {int(card["index"]): card for card in cards if card["index"].isdigit()}


@dataclass(frozen=True, slots=True)
class SmiDialect:
    """The names that this nvidia-smi has for what drivers name differently."""

    instant_power: str
    reasons: Mapping[str, str]

    @property
    def fields(self) -> tuple[str, ...]:
        """All that is asked for, each once."""
        return tuple(dict.fromkeys((*CARD, *COLUMNS.values(), self.instant_power, *self.reasons.values())))


def dialect() -> SmiDialect:
    """The newest that it answers; UserError with its own words where it answers none."""
    refusal = UserError("nvidia-smi was not asked")
    for power, prefix in DIALECTS:
        found = SmiDialect(power, {reason: f"{prefix}.{end}" for reason, end in REASONS.items()})
        try:
            ask(found.fields)
        except UserError as error:
            refusal = error
        else:
            return found
    raise refusal


class SmiPoller:
    """Asks every second in a thread until the block ends; a call that fails is a missing answer."""

    def __init__(self, fields: tuple[str, ...]) -> None:
        self.fields = fields
        self.answers: list[SmiAnswer] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._ask_on)

    def _ask_on(self) -> None:
        while not self._stopping.is_set():
            began_s = time.monotonic()
            with suppress(UserError):
                self.answers.append(ask(self.fields))
            self._stopping.wait(max(0.0, began_s + EVERY_S - time.monotonic()))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
