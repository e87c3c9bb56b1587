"""What can be said while load runs: the captures are read as they grow, by another process than the one that loads."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.runs.arrivals import stopwatch
from bench.runs.folder import CAPTURE
from bench.runs.records import Planned, record
from bench.types import Decode, Record
from bench.wire.capture import exchanges, scan
from bench.wire.clock import ClockSample

# Decoding more than this at each look could take the server's share of a small machine.
_SAMPLE = 50
_KEPT = 2000


@dataclass(slots=True)
class LiveFigures:
    """Figures of the requests finished so far, from a sample of them."""

    folder: Path
    decode: Decode
    _positions: dict[Path, int] = field(default_factory=dict)
    _clocks: dict[Path, list[ClockSample]] = field(default_factory=dict)
    _records: list[Record] = field(default_factory=list)

    def look(self) -> None:
        """Decode a sample of what has been captured since the last look."""
        for path in sorted((self.folder / CAPTURE).glob("*.cap")):
            # Not even its head may be written yet; and whatever is in it, a view of the load never ends the load.
            with suppress(Exception):
                self._look_at(path)
        del self._records[:-_KEPT]

    def _look_at(self, path: Path) -> None:
        capture = scan(path, self._positions.get(path, 0))
        self._positions[path] = capture.position
        self._clocks[path] = [*self._clocks.get(path, []), *capture.clock][-_KEPT:]
        watch = stopwatch(0, self._clocks[path])
        step = max(1, len(capture.offsets) // _SAMPLE)
        for exchange in exchanges(path, capture.offsets[::step], 0):
            planned = Planned(exchange.seq, None, 0, 0, None, None, 0)
            found = record(exchange, planned, watch, 0, self.decode)
            # Thousands of arrivals a call are not needed here.
            self._records.append(found._replace(arrivals_ns=(), arrival_tokens=(), lags_ns=()))

    @property
    def ttft_ms_p50(self) -> float | None:
        """Median time to first token, None before the first."""
        return self._median(lambda r: _ms(r.sent_ns, r.first_token_ns))

    @property
    def tokens_per_s_per_user(self) -> float | None:
        """Median rate at which a stream brings tokens, None before two tokens."""
        tpot_ms = self._median(_tpot_ms)
        return 1000 / tpot_ms if tpot_ms else None

    def _median(self, value: Callable[[Record], float | None]) -> float | None:
        values = [v for r in self._records if r.error is None and (v := value(r)) is not None]
        return median(values) if values else None


def _ms(start_ns: int | None, end_ns: int | None) -> float | None:
    return None if start_ns is None or end_ns is None else (end_ns - start_ns) / 1e6


def _tpot_ms(r: Record) -> float | None:
    total = _ms(r.first_token_ns, r.last_token_ns)
    after_first = (r.output_tokens or 0) - (r.early_tokens or 0) - 1
    return total / after_first if total is not None and after_first > 0 else None
