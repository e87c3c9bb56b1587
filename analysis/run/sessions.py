"""Sessions: how long they were and took, and how each turn fared that had so much more to remember."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from analysis.run.metrics import NS_PER_MS, NS_PER_S, column, is_successful, is_text, keep, measured, successful
from analysis.stats.distributions import LEVELS, Floats, values_needed
from bench.errors import ERRORS, NOT_REACHED
from bench.runs.sections import JsonSection

_ROWS_MAX = 20
# Of a turn that the run had no time for: it failed as little as it succeeded.
_UNFINISHED = sorted(each.code for each in ERRORS.values() if each.counts_as == "unfinished")


@dataclass(frozen=True, slots=True)
class TurnFigures(JsonSection):
    """The successful calls of the turns from `turn` to `to_turn`, from 0: of long sessions several share a row.

    `cached_share` of their prompt tokens came out of the server's prefix cache, None where it does not say;
    `cacheable_share` is what one without bounds would serve, by the plan.
    """

    turn: int
    to_turn: int
    calls: int
    ttft_ms_p50: float | None = None
    ttft_ms_p90: float | None = None
    prompt_tokens_mean: float | None = None
    cached_share: float | None = None
    cacheable_share: float | None = None


@dataclass(frozen=True, slots=True)
class SessionFigures(JsonSection):
    """Sessions whose first turn was measured: of `count`, `complete` ones had all their turns and `failed` ones ended
    with one that failed.

    `turns_mean` is of the turns that were sent, of sessions that began; `duration_s` of the complete ones, from when
    their first turn was due until the last had ended.
    """

    count: int
    complete: int
    failed: int
    turns_mean: float | None = None
    turns_max: int | None = None
    duration_s_mean: float | None = None
    duration_s_p50: float | None = None
    duration_s_p90: float | None = None
    by_turn: tuple[TurnFigures, ...] = ()


def reached(requests: pa.Table) -> pa.Table:
    """The calls but for those that a session had left when a turn failed: nobody has asked for them."""
    return keep(requests, pc.fill_null(pc.invert(is_text(requests["error"], NOT_REACHED)), True))


def sessions(requests: pa.Table) -> SessionFigures | None:
    """Figures of a run's sessions; None where every call is one by itself."""
    turn = np.nan_to_num(column(requests, "turn"))
    if not turn.any():
        return None
    ok = np.asarray(is_successful(requests))
    numbers, session = np.unique(requests["session"].to_numpy(), return_inverse=True)
    sent = np.asarray(pc.is_valid(requests["sent_ns"]))
    count = len(numbers)
    is_measured = _any(session, (turn == 0) & np.asarray(is_text(requests["phase"], "measured")), count)
    complete = is_measured & ~_any(session, ~ok, count)
    unfinished = np.asarray(pc.is_in(requests["error"], pa.array(_UNFINISHED, pa.string())))
    failed = is_measured & _any(session, ~ok & ~unfinished, count)
    turns_sent = np.bincount(session, sent, count)[is_measured & _any(session, sent, count)].astype(np.float64)
    first_due, last_end = np.full(count, np.inf), np.full(count, -np.inf)
    np.fmin.at(first_due, session, column(requests, "due_ns"))
    np.fmax.at(last_end, session, column(requests, "end_ns"))
    duration_s = ((last_end - first_due) / NS_PER_S)[complete]
    return SessionFigures(
        count=int(is_measured.sum()),
        complete=int(complete.sum()),
        failed=int(failed.sum()),
        turns_mean=_mean(turns_sent),
        turns_max=int(turns_sent.max()) if len(turns_sent) else None,
        duration_s_mean=_mean(duration_s),
        duration_s_p50=_quantile(duration_s, "p50"),
        duration_s_p90=_quantile(duration_s, "p90"),
        by_turn=tuple(_by_turn(measured(successful(requests)))),
    )


def cacheable(calls: pa.Table) -> Floats:
    """What a prefix cache without bounds would serve of each prompt by the plan, NaN where it does not say."""
    prompt = column(calls, "prompt_tokens")
    return np.maximum(np.fmin(column(calls, "cacheable_tokens"), prompt - 1), 0) + 0 * column(calls, "cacheable_tokens")


def _by_turn(calls: pa.Table) -> Iterator[TurnFigures]:
    turn = calls["turn"].to_numpy()
    if not len(turn):
        return
    ttft_ms = (column(calls, "first_token_ns") - column(calls, "sent_ns")) / NS_PER_MS
    prompt, cached, known = column(calls, "prompt_tokens"), column(calls, "cached_tokens"), cacheable(calls)
    width = -(-(int(turn.max()) + 1) // _ROWS_MAX)
    for first in range(0, int(turn.max()) + 1, width):
        own = (turn >= first) & (turn < first + width)
        if own.any():
            waits = ttft_ms[own][~np.isnan(ttft_ms[own])]
            yield TurnFigures(
                turn=first,
                to_turn=min(first + width - 1, int(turn.max())),
                calls=int(own.sum()),
                ttft_ms_p50=_quantile(waits, "p50"),
                ttft_ms_p90=_quantile(waits, "p90"),
                prompt_tokens_mean=_mean(prompt[own]),
                cached_share=_share(cached[own], prompt[own]),
                cacheable_share=_share(known[own], prompt[own]),
            )


def _any(session: npt.NDArray[np.int64], holds: npt.NDArray[np.bool_], count: int) -> npt.NDArray[np.bool_]:
    """Whether it holds for any call of each session."""
    return np.bincount(session, holds, count) > 0


def _share(part: Floats, whole: Floats) -> float | None:
    # One call of which it is not known makes the sum unknown.
    share = float(part.sum() / whole.sum()) if len(whole) and whole.sum() else None
    return None if share is None or np.isnan(share) else share


def _mean(values: Floats) -> float | None:
    return None if not len(values) or np.isnan(values).any() else float(values.mean())


def _quantile(values: Floats, name: str) -> float | None:
    return float(np.quantile(values, LEVELS[name])) if len(values) >= values_needed(LEVELS[name]) else None
