"""From captures to `requests.parquet`: one row for each planned call, whatever became of it.

A pure reading of the run folder: it can be run again, on old folders and with better adapters.
"""

import hashlib
import json
import re
from array import array
from collections.abc import Iterable, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from bench.deltas import in_columns
from bench.errors import error_code
from bench.packets.join import Joined
from bench.runs.arrivals import Arrivals, Stopwatch
from bench.runs.counts import Counts, PlannedTokens, reconcile
from bench.runs.table import to_table
from bench.types import Decode, Exchange, Phase, Record, Reply, Usage
from bench.wire import http1

# Of so few a set is made as soon as a sorted copy.
_FEW = 64
# What a record calls otherwise than the plan, and what the load may decide.
_RENAMED, _DECIDED = {"prompt_tokens": "prompt_tokens_wanted"}, {"due_ns", "phase"}

NEVER_SENT = {
    "dropped": "due while the in-flight limit was reached",
    "budget": "did not fit into what the run may spend",
    "not_reached": "a turn before it failed, which ended its session",
    "not_sent": "the server was gone before it was sent",
    "unfinished": "the load ended before it was sent",
}
"""Why a call was never sent, by its error code."""

# Servers have been seen to repeat a key in their refusal.
_SECRET = re.compile(r"\b(sk|key|hf|gsk|xai)[-_][A-Za-z0-9_-]{12,}|(?i:bearer) \S+")


class Planned(NamedTuple):
    """The planned side of a record."""

    seq: int
    due_ns: int | None
    session: int
    turn: int
    phase: Phase | None
    prompt_tokens: int | None
    max_tokens: int
    pause_ns: int | None = None
    cacheable_tokens: int | None = None
    klass: str | None = None
    adapter: str | None = None
    image_bytes: int | None = None
    retrieval_ns: int | None = None


_NO_REPLY, _NO_COUNTS = Reply("", [], None, None, None), Counts(Usage(), None, None, [], None)
_NOTHING = Record._make([None] * len(Record._fields))._replace(
    arrivals_ns=(), arrival_tokens=(), lags_ns=(), bytes_received=0, reads=0, coalesced_reads=0, unread=0
)
_OF_PLAN = [(place, _RENAMED.get(name, name)) for place, name in enumerate(Planned._fields) if name not in _DECIDED]


def record(
    exchange: Exchange,
    planned: Planned,
    watch: Stopwatch,
    warmup_ns: int,
    decode: Decode,
    joined: Joined | None = None,
) -> Record:
    """Take one exchange apart; the first thing that went wrong, nearest the wire, names the error.

    `joined` is what its connection's packets say of it. An answer on which a backend fails is `malformed`: whatever a
    server sends, it costs the run that one call.
    """
    try:
        return _record(exchange, planned, watch, watch.arrivals(exchange, joined), warmup_ns, decode)
    except Exception as problem:
        due_ns = exchange.due_ns - watch.start_ns
        sent_ns = None if exchange.sent_ns is None else exchange.sent_ns - watch.start_ns
        # What this client knows without the answer is kept: the call was sent, and is billed and counted.
        known = _blank(planned)._replace(
            worker=exchange.worker,
            phase=planned.phase or _phase(due_ns if sent_ns is None else sent_ns, warmup_ns),
            due_ns=due_ns,
            sent_ns=sent_ns,
            connect_ns=exchange.connect_ns,
            end_ns=exchange.end_ns - watch.start_ns,
            bytes_received=len(exchange.data),
            reads=len(exchange.sizes),
        )
        return _undecodable(known, planned, problem)


def _record(
    exchange: Exchange, planned: Planned, watch: Stopwatch, seen: Arrivals, warmup_ns: int, decode: Decode
) -> Record:
    sent_ns, arrived_ns, start_ns = seen.sent_ns, seen.t_ns, watch.start_ns
    response = http1.parse(exchange.data, seen.ends, arrived_ns)
    reply = _NO_REPLY if response.status is None else decode(response.status, response.headers, response.body)
    error, message = exchange.error or response.error or reply.error or (None, None)
    counts = _NO_COUNTS if response.status is None else _counts(planned, reply, error)
    usage = counts.usage
    # Of an answer in one piece nobody knows when its tokens were made.
    deltas = in_columns(reply.deltas if reply.streamed else ())
    output_ns = deltas.t_ns
    # White space at the start of an answer is no first token.
    tokens_ns = output_ns[len(output_ns) - len(counts.arrival_tokens) :]
    due_ns = exchange.due_ns - start_ns
    # By their places: with so many names it would take as long as all the rest.
    return Record(
        planned.seq, exchange.worker, planned.session, planned.turn,
        planned.phase or _phase(due_ns if sent_ns is None else sent_ns, warmup_ns),
        due_ns, sent_ns, exchange.connect_ns, response.headers_ns,
        arrived_ns[0] if arrived_ns else None,
        tokens_ns[0] if tokens_ns else None,
        deltas.first("text"),
        tokens_ns[-1] if tokens_ns else None,
        arrived_ns[-1] if arrived_ns and exchange.error is None else exchange.end_ns - start_ns,
        response.status, reply.finish, error,
        _SECRET.sub("[removed]", message) if message is not None else None,
        planned.prompt_tokens, planned.max_tokens,
        usage.prompt_tokens, usage.cached_tokens, usage.cache_write_tokens, usage.cache_write_1h_tokens,
        counts.output_tokens, usage.reasoning_tokens, counts.source,
        tokens_ns, counts.arrival_tokens, len(exchange.data), len(exchange.sizes),
        # Of a segment's bytes none came before the others.
        0 if seen.stamps == "packets" else _repeated(output_ns),
        seen.lags_ns,
        hashlib.sha256(reply.text.encode()).hexdigest()[:16] if reply.text else None,
        reply.service_tier,
        json.dumps(dict(reply.rate_limits)) if reply.rate_limits else None,
        reply.unread,
        _SECRET.sub("[removed]", reply.unread_example) if reply.unread_example else None,
        reply.encoding,
        output_ns[0] if len(tokens_ns) < len(output_ns) else None,
        counts.early_tokens, " ".join(counts.readings) or None, " ".join(counts.contradictions) or None,
        planned.pause_ns, planned.cacheable_tokens, planned.klass, planned.adapter,
        seen.stamps if arrived_ns else None, seen.repeated,
        planned.image_bytes, _image_tokens(planned, usage.prompt_tokens), planned.retrieval_ns,
    )  # fmt: skip


def _image_tokens(planned: Planned, prompt_tokens: int | None) -> int | None:
    """What the server counts beside the text; None where nobody counted, and where it counts less than the text."""
    if planned.image_bytes is None or planned.prompt_tokens is None or prompt_tokens is None:
        return None
    return prompt_tokens - planned.prompt_tokens if prompt_tokens >= planned.prompt_tokens else None


def _counts(planned: Planned, reply: Reply, error: str | None) -> Counts:
    counts = reconcile(
        # Of a prompt with an image nobody knows the tokens beforehand.
        PlannedTokens(planned.prompt_tokens if planned.image_bytes is None else None, planned.max_tokens),
        reply.usage,
        reply.deltas if reply.streamed else (),
        reply.finish,
        len(reply.text.encode()),
        complete=error is None or error_code(error).whole,
    )
    if reply.counted_by == "tokenizer" and counts.source == "server usage":
        counts = counts._replace(source="tokenizer")
    # All of it was made before the end, and no arrival tells when: it counts at the end.
    return counts if reply.streamed else counts._replace(early_tokens=counts.output_tokens)


def _repeated(t_ns: "array[int]") -> int:
    """How many stamps stand for more than one arrival: reads that brought several, whose own times are lost."""
    if len(t_ns) <= _FEW and len(set(t_ns)) == len(t_ns):
        return 0
    stamps = np.sort(np.frombuffer(t_ns, np.int64))
    again = stamps[1:] == stamps[:-1]
    return int(again.sum() - (again[1:] & again[:-1]).sum()) if again.any() else 0


_OURS = ("worker", "phase", "due_ns", "sent_ns", "connect_ns", "end_ns", "bytes_received", "reads")
"""What this client knows of a call without looking into its answer."""


def _undecodable(known: Record, planned: Planned, problem: Exception) -> Record:
    reason = f"{type(problem).__name__}: {problem}".encode("ascii", "backslashreplace").decode()
    return _blank(planned)._replace(
        **{name: getattr(known, name) for name in _OURS},
        error="malformed",
        error_message=_SECRET.sub("[removed]", f"the answer could not be decoded ({' '.join(reason.split())[:160]})"),
    )


def _phase(begun_ns: int, warmup_ns: int) -> Phase:
    return "warmup" if begun_ns < warmup_ns else "measured"


def never_sent(planned: Planned, error: str) -> Record:
    return _blank(planned)._replace(error=error, error_message=NEVER_SENT[error])


def _blank(planned: Planned) -> Record:
    """A record of a call of which nothing is known but the plan."""
    return _NOTHING._replace(
        **{name: planned[place] for place, name in _OF_PLAN},  # type: ignore[arg-type]
        due_ns=planned.due_ns,
        phase=planned.phase or "measured",
    )


def sound_table(records: Iterable[Record], plan: Mapping[int, Planned]) -> pa.Table:
    """The same, where values of a backend may not fit into a table: such a record is `malformed`, the others stay."""
    rows = list(records)
    try:
        return to_table(rows)
    except Exception:
        return to_table(_sound(row, plan[row.seq]) for row in rows)


def _sound(row: Record, planned: Planned) -> Record:
    try:
        to_table([row])
    except Exception as problem:
        return _undecodable(row, planned, problem)
    return row
