"""Reads exporters and engines over HTTP while load runs, each address in a thread of its own.

Strategy: the time of a sample is known in one of two ways. A timestamp is on the exporter's clock, and is converted to
ours by the offset derived from the Date headers (`clock_offset`). A sample without one was read between request and
answer: the middle is taken. A missing answer is a gap, and delays only the next request to the same address.
"""

import base64
import http.client
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from statistics import fmean
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

from bench.process.certificates import tls_context
from bench.process.exchange import HttpAnswer, exchange_within
from bench.telemetry import exporters
from bench.telemetry.clock_offset import OffsetBounds, date_s, narrowed
from bench.telemetry.exporters import NodeSeconds
from bench.telemetry.host import Reading
from bench.telemetry.prometheus import read_metrics

Write = Callable[[str, Reading, int], None]
"""Takes a source, its readings, and their time, in ns of the monotonic clock."""

PERIOD_S = 1.0
TIMEOUT_S = 5.0
MOST_BYTES = 8 * 2**20
NS_PER_S = 1_000_000_000
FAULTS = (OSError, http.client.HTTPException, ValueError, zlib.error)
"""What a request to an unreachable address raises."""


class Scrape(NamedTuple):
    """An answer: its text and Date, when it was requested and received (monotonic), and our wall clock then."""

    text: str
    date_s: int | None
    asked_ns: int
    answered_ns: int
    answered_unix_s: float

    @property
    def middle_ns(self) -> int:
        """The time of its values, if they have no timestamps."""
        return (self.asked_ns + self.answered_ns) // 2


def scrape(url: str, ca_file: str | None = None) -> Scrape:
    """Ask one address, with user and password, for its metrics. Raises one of FAULTS.

    Any status but 200 is a ValueError, redirects included, because only the user names addresses.
    """
    asked_ns = time.monotonic_ns()
    answer = ask(url, ca_file)
    answered_ns, answered_unix_s = time.monotonic_ns(), time.time()
    if answer.status != http.client.OK:
        raise ValueError(f"HTTP {answer.status}")
    text = answer.data.decode(errors="replace")
    return Scrape(text, date_s(answer.headers.get("date")), asked_ns, answered_ns, answered_unix_s)


def ask(url: str, ca_file: str | None = None) -> HttpAnswer:
    """What an address answers, with any status. Raises one of FAULTS."""
    parts = urlsplit(url)
    headers = [("Accept", "text/plain;version=0.0.4")]
    if parts.username is not None:
        words = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        headers.append(("Authorization", f"Basic {base64.b64encode(words.encode()).decode()}"))
    context = _context(ca_file) if parts.scheme == "https" else None
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return exchange_within(TIMEOUT_S, url, context, "GET", path, None, headers, MOST_BYTES)


@cache
def _context(ca_file: str | None) -> ssl.SSLContext:
    return tls_context(ca_file, None, None)


@dataclass(slots=True)
class Exporter:
    """The state of one address between answers; `gpus` are the numbers of the cards that count."""

    url: str
    gpus: Mapping[str, int] = field(default_factory=dict)
    node: int | None = None
    ca_file: str | None = None
    offset: OffsetBounds | None = None
    scrapes: int = 0
    failed: int = 0
    scrape_s_max: float = 0.0
    _newest_ms: dict[str, int] = field(default_factory=dict)
    _cpu: NodeSeconds | None = None

    def note(self, found: Scrape) -> None:
        """Record how long an answer took and what it implies about the clock."""
        took_s = (found.answered_ns - found.asked_ns) / NS_PER_S
        self.scrapes += 1
        self.scrape_s_max = max(self.scrape_s_max, took_s)
        asked_s = found.answered_unix_s - took_s
        self.offset = narrowed(self.offset, asked_s, found.answered_unix_s, found.date_s)

    def ask(self) -> Scrape | None:
        """An answer, None for a failure."""
        try:
            found = scrape(self.url, self.ca_file)
        except FAULTS:
            self.failed += 1
            return None
        self.note(found)
        return found

    def rows(self, found: Scrape) -> Iterator[tuple[str, Reading, int]]:
        """The contents of an answer: source, readings, and their time (ns, monotonic)."""
        if self.gpus:
            for key, card in exporters.gpus(found.text).items():
                index, at_ns = self.gpus.get(key), self._read_ns(key, card.timestamp_ms, found)
                if index is not None and at_ns is not None:
                    yield f"gpu{index}", dict(card.reading), at_ns
        if self.node is not None:
            machine = exporters.node(found.text)
            at_ns = self._read_ns("", machine.timestamp_ms, found)
            if at_ns is not None:
                yield f"node{self.node}", machine.reading | self._cores(machine.cpu, at_ns), at_ns

    def _read_ns(self, key: str, timestamp_ms: int | None, found: Scrape) -> int | None:
        """The time of values; None if the previous answer already had them."""
        if timestamp_ms is None:
            return found.middle_ns
        if timestamp_ms <= self._newest_ms.get(key, -1):
            return None
        self._newest_ms[key] = timestamp_ms
        ahead_s = self.offset.offset_s if self.offset is not None else 0.0
        ago_s = found.answered_unix_s - (timestamp_ms / 1000 - ahead_s)
        return found.answered_ns - round(ago_s * NS_PER_S)

    def _cores(self, cpu: tuple[float, float | None] | None, at_ns: int) -> Reading:
        if cpu is None:
            return {}
        before, self._cpu = self._cpu, NodeSeconds(at_ns, *cpu)
        return exporters.cores(before, self._cpu)

    def follow(self, write: Write, stopping: threading.Event) -> None:
        """Ask every second, and once more when stopping."""
        for _ in _each_second(stopping):
            found = self.ask()
            for row in self.rows(found) if found is not None else ():
                write(*row)

    def account(self) -> dict[str, Any]:
        """How it answered, as run.json has it."""
        known = self.offset
        return {
            "scrapes": self.scrapes,
            "failed": self.failed,
            "scrape_s_max": self.scrape_s_max if self.scrapes else None,
            "clock_offset_s": None if known is None else known.offset_s,
            "clock_offset_within_s": None if known is None else known.within_s,
        }


class Engine(NamedTuple):
    """Where an engine's metrics are, and what they are called, by our names."""

    url: str
    gauges: Mapping[str, str]


def follow_engines(
    engines: Sequence[tuple[Exporter, Mapping[str, str]]], write: Write, stopping: threading.Event
) -> None:
    """Ask the engines of one server every second, and once more when stopping; if one fails, it is a gap for all.

    Each answer comes with the names of its gauges.
    """
    for _ in _each_second(stopping):
        found = [(one, gauges) for engine, gauges in engines if (one := engine.ask()) is not None]
        if len(found) == len(engines):
            write("engine", together([read_metrics(one.text, gauges) for one, gauges in found]), found[-1][0].middle_ns)


def together(readings: Sequence[Reading]) -> Reading:
    """Several engines' values as one, for metrics that all of them have: fractions are averaged, the rest is summed."""
    names = [name for name in readings[0] if all(name in reading for reading in readings)]
    return {
        name: (fmean if name.endswith("_fraction") else sum)(reading[name] for reading in readings) for name in names
    }


def _each_second(stopping: threading.Event) -> Iterator[None]:
    """Now, then every second except missed ones, and once more when stopping."""
    due_s = time.monotonic()
    while not stopping.is_set():
        yield
        due_s += PERIOD_S * max(1, -(-(time.monotonic() - due_s) // PERIOD_S))
        stopping.wait(max(0.0, due_s - time.monotonic()))
    yield
