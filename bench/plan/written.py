"""What is kept of a plan: the hash of all that decides it, and plan.parquet."""

import hashlib
import itertools
import json
from collections.abc import Iterable
from dataclasses import MISSING, asdict, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from bench.plan.calls import Plan, call
from bench.types import Call, Load, Message

_ROWS_PER_WRITE = 10_000


def plan_hash(plan: Plan) -> str:
    """SHA-256 of what decides the calls but for the salt; runs with equal hashes offered the same load.

    Of an open loop the due times themselves are in it: no machine or version can compute others without being seen.
    """
    facts: dict[str, object] = {
        "version": 1,
        **plan.source.facts(),
        "load": _hashed(plan.load),
    }
    if plan.images is not None:
        facts["images"] = plan.images.sha256
    if plan.due_ns is not None:
        facts["due_ns"] = hashlib.sha256(plan.due_ns.astype("<i8").tobytes()).hexdigest()
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _hashed(load: Load) -> dict[str, object]:
    """Its fields; what later versions added is among them only where it was asked for."""
    usual = {field.name: field.default for field in fields(load) if field.default is not MISSING}
    return {name: value for name, value in asdict(load).items() if name not in usual or value != usual[name]}


def write_plan(plan: Plan, path: Path, seqs: Iterable[int]) -> None:
    """These calls as Parquet, one row a call; `prompt_hash` is the head of a SHA-256 of its messages."""
    with pq.ParquetWriter(path, _SCHEMA) as writer:
        rest = iter(seqs)
        while rows := [_row(call(plan, seq)) for seq in itertools.islice(rest, _ROWS_PER_WRITE)]:
            columns = zip(_SCHEMA, zip(*rows, strict=True), strict=True)
            writer.write_batch(
                pa.record_batch([pa.array(values, field.type) for field, values in columns], schema=_SCHEMA)
            )


_SCHEMA = pa.schema(
    [
        ("seq", pa.int64()),
        ("due_ns", pa.int64()),
        ("session", pa.int64()),
        ("turn", pa.int32()),
        ("phase", pa.string()),
        ("prompt_tokens", pa.int32()),
        ("max_tokens", pa.int32()),
        ("prompt_hash", pa.string()),
        ("pause_ns", pa.int64()),
        ("cacheable_tokens", pa.int32()),
        ("class", pa.string()),
        ("adapter", pa.string()),
        ("retrieval_ns", pa.int64()),
        ("image_bytes", pa.int64()),
    ]
)


def _row(call: Call) -> tuple[object, ...]:
    """A call by the columns."""
    return (
        call.seq,
        call.due_ns,
        call.session,
        call.turn,
        call.phase,
        call.prompt_tokens,
        call.max_tokens,
        _prompt_hash(call.messages),
        call.pause_ns if call.turn else None,
        call.cacheable_tokens,
        call.klass,
        call.adapter,
        call.retrieval_ns,
        None if call.image is None else call.image.bytes,
    )


def _prompt_hash(messages: tuple[Message, ...]) -> str | None:
    if not messages:  # a recorded text, which is not kept
        return None
    return hashlib.sha256("\0".join(itertools.chain(*messages)).encode()).hexdigest()[:16]
