"""What a file's traffic is like: how much, how long, how bursty, and how much of it a prefix cache could serve."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np

from bench.types import LengthFacts
from scenarios.traffic.rows import SECOND_NS, TrafficRow

_MINUTE_NS: Final = 60 * SECOND_NS
TTLS_S: Final[Mapping[str, int | None]] = {"1m": 60, "5m": 300, "1h": 3600, "without end": None}
"""How long a cache keeps what was last requested."""


class TrafficFacts(NamedTuple):
    """Facts about all rows; None if no row has the value. Means are over the rows that have it.

    `busiest_minute` counts the requests of one of the minutes since the first. `cached_shares` are the shares of the
    prompts' tokens that a prefix cache of unbounded size would have seen before, by the blocks that they name and how
    long it keeps them; None where no row names any, or no times are known. `recorded_cached_share` is what was cached
    when they were recorded. `longest` is the most tokens of a prompt and its answer.
    """

    rows: int
    failed: int
    sessions: int
    span_s: float | None
    prompt: LengthFacts | None
    output: LengthFacts | None
    busiest_minute: int
    cached_shares: Mapping[str, float | None]
    recorded_cached_share: float | None
    longest: int | None

    @property
    def cacheable_share(self) -> float | None:
        """What a cache of unbounded size that never forgets would serve."""
        return self.cached_shares["without end"]


def facts(rows: Iterable[TrafficRow]) -> TrafficFacts:
    """Describe the rows, in one pass."""
    count = failed = longest = told = cached = 0
    sessions: set[str] = set()
    times: list[int] = []
    prompts: list[int] = []
    outputs: list[int] = []
    caches = _Caches()
    for row in rows:
        if row.is_empty:
            continue
        count += 1
        failed += row.failed
        if row.session is not None:
            sessions.add(row.session)
        if row.t_ns is not None:
            times.append(row.t_ns)
        if row.prompt_tokens is not None:
            prompts.append(row.prompt_tokens)
            longest = max(longest, row.prompt_tokens + (row.output_tokens or 0))
        if row.output_tokens is not None:
            outputs.append(row.output_tokens)
        if row.cached_tokens is not None and row.prompt_tokens:
            told, cached = told + row.prompt_tokens, cached + row.cached_tokens
        caches.see(row)
    first = min(times, default=0)
    minutes = Counter((t_ns - first) // _MINUTE_NS for t_ns in times)
    return TrafficFacts(
        rows=count,
        failed=failed,
        sessions=len(sessions),
        span_s=(max(times) - first) / SECOND_NS if times else None,
        prompt=_lengths(prompts),
        output=_lengths(outputs),
        busiest_minute=max(minutes.values(), default=0),
        cached_shares=caches.shares(),
        recorded_cached_share=cached / told if told else None,
        longest=longest if prompts else None,
    )


def _lengths(tokens: Sequence[int]) -> LengthFacts | None:
    if not tokens:
        return None
    p50, p90, p99 = np.percentile(tokens, (50, 90, 99)).tolist()
    return LengthFacts(float(np.mean(tokens)), min(tokens), p50, p90, p99, max(tokens))


class _Caches:
    """Prefix caches of unbounded size that keep a block for so long after its last use."""

    def __init__(self) -> None:
        self._last_ns: dict[int, int | None] = {}
        self._tokens = 0
        self._known = dict.fromkeys(TTLS_S, 0)
        self._is_timed = True

    def see(self, row: TrafficRow) -> None:
        """Count how much of a prompt each cache has; an id stands for everything before it, too."""
        if not (row.blocks and row.block_tokens and row.prompt_tokens):
            return
        self._tokens += row.prompt_tokens
        self._is_timed = self._is_timed and row.t_ns is not None
        for name, ttl_s in TTLS_S.items():
            ahead = next((i for i, block in enumerate(row.blocks) if not self._keeps(block, row.t_ns, ttl_s)), None)
            blocks = len(row.blocks) if ahead is None else ahead
            self._known[name] += min(row.prompt_tokens, row.block_tokens * blocks)
        self._last_ns.update(dict.fromkeys(row.blocks, row.t_ns))

    def shares(self) -> Mapping[str, float | None]:
        return {
            name: self._known[name] / self._tokens if self._tokens and (ttl_s is None or self._is_timed) else None
            for name, ttl_s in TTLS_S.items()
        }

    def _keeps(self, block: int, t_ns: int | None, ttl_s: int | None) -> bool:
        if block not in self._last_ns:
            return False
        last_ns = self._last_ns[block]
        return ttl_s is None or t_ns is None or last_ns is None or t_ns - last_ns <= ttl_s * SECOND_NS
