"""What a file's traffic is like: how much, how long, how bursty, and how much of it a prefix cache could serve."""

from collections import Counter
from collections.abc import Iterable
from typing import Final, NamedTuple

import numpy as np

from scenarios.traffic.rows import SECOND_NS, TrafficRow

_MINUTE_NS: Final = 60 * SECOND_NS


class TrafficFacts(NamedTuple):
    """Of all rows; None where no row tells. Means are over the rows that do.

    `busiest_minute` counts the requests of one of the minutes since the first. `cacheable_share` is the share of the
    prompts' tokens that a prefix cache without end would have seen before, by the blocks that they name.
    """

    rows: int
    failed: int
    sessions: int
    span_s: float | None
    mean_prompt_tokens: float | None
    mean_output_tokens: float | None
    prompt_tokens: tuple[int, int] | None
    output_tokens: tuple[int, int] | None
    busiest_minute: int
    cacheable_share: float | None


def facts(rows: Iterable[TrafficRow]) -> TrafficFacts:
    """Go through the rows once."""
    count = failed = cacheable = of_blocks = 0
    sessions: set[str] = set()
    seen: set[int] = set()
    times: list[int] = []
    prompts: list[int] = []
    outputs: list[int] = []
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
        if row.output_tokens is not None:
            outputs.append(row.output_tokens)
        if row.blocks and row.block_tokens and row.prompt_tokens:
            of_blocks += row.prompt_tokens
            cacheable += min(row.prompt_tokens, row.block_tokens * _known_ahead(row.blocks, seen))
            seen.update(row.blocks)
    first = min(times, default=0)
    minutes = Counter((t_ns - first) // _MINUTE_NS for t_ns in times)
    return TrafficFacts(
        rows=count,
        failed=failed,
        sessions=len(sessions),
        span_s=(max(times) - first) / SECOND_NS if times else None,
        mean_prompt_tokens=float(np.mean(prompts)) if prompts else None,
        mean_output_tokens=float(np.mean(outputs)) if outputs else None,
        prompt_tokens=(min(prompts), max(prompts)) if prompts else None,
        output_tokens=(min(outputs), max(outputs)) if outputs else None,
        busiest_minute=max(minutes.values(), default=0),
        cacheable_share=cacheable / of_blocks if of_blocks else None,
    )


def _known_ahead(blocks: tuple[int, ...], seen: set[int]) -> int:
    """How many blocks from the front are known: an id stands for all that comes before it, too."""
    return next((i for i, block in enumerate(blocks) if block not in seen), len(blocks))
