"""What every request of a run will be, and when it is due, before any is sent.

A call is a pure function of (plan, seq): any process can make any call, so workers take every n-th and need not talk.
"""

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from bench.plan import arrivals as schedule
from bench.plan import prompts
from bench.plan.prompts import FRESH_TOKENS, Vocabulary
from bench.plan.rng import stream, uniform
from bench.types import Call, Lengths, Load, Message, Phase, Scenario, UserError

_NORMAL = NormalDist()
_ROWS_PER_WRITE = 10_000


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Everything that decides the calls; made by `make_plan`, cheap to send to another process.

    `salt` changes the first words of the prompts from run to run and nothing else. `shared_prefix` is the text that
    opens every prompt, `due_ns` every due time of an open loop (None in a closed one).
    """

    scenario: Scenario
    load: Load
    seed: int
    salt: int
    vocabulary: Vocabulary
    shared_prefix: str | None
    due_ns: NDArray[np.int64] | None


def make_plan(scenario: Scenario, load: Load, seed: int, salt: int, vocabulary: Vocabulary) -> Plan:
    """The plan of a run; a UserError when the scenario's longest prompt cannot hold the fixed parts."""
    least = _least_prompt_tokens(scenario, vocabulary)
    if scenario.prompt_tokens.high < least:
        raise UserError(
            f"prompt_tokens: {scenario.prompt_tokens.high} is too few for scenario {scenario.name!r} and this model, "
            f"whose chat template, instruction and shared prefix take {least}; give --prompt-tokens {least} or more"
        )
    prefix = _shared_prefix(scenario, seed, salt, vocabulary)
    return Plan(scenario, load, seed, salt, vocabulary, prefix, _due_ns(load, seed))


def total(plan: Plan) -> int | None:
    """How many calls the plan has, warm-up included; None for a closed loop that goes on until its time is up."""
    if plan.due_ns is not None:
        return len(plan.due_ns)
    return _counted_calls(plan.load)


def calls(plan: Plan, worker: int = 0, workers: int = 1) -> Iterator[Call]:
    """This worker's calls in order, each made when it is asked for; all workers' calls together are the plan."""
    last = total(plan)
    seqs = itertools.count(worker, workers) if last is None else range(worker, last, workers)
    return map(partial(call, plan), seqs)


def call(plan: Plan, seq: int) -> Call:
    """The call number `seq`; about 40 us and 0.04 us for each token of its prompt."""
    vocabulary = plan.vocabulary
    bits = stream(plan.seed, "call", seq)
    draws = bits.take(3)
    least = _least_prompt_tokens(plan.scenario, vocabulary)
    prompt_tokens, max_tokens = _lengths(plan, draws)
    # From a stream of their own: the salt changes these words, which no cache has seen then, and no length.
    fresh = prompts.text(vocabulary, stream(plan.seed, "fresh words", seq, plan.salt), FRESH_TOKENS)
    rest = prompts.text(vocabulary, bits, prompt_tokens - least)
    due = None if plan.due_ns is None else int(plan.due_ns[seq])
    return Call(
        seq=seq,
        due_ns=due,
        session=seq,
        turn=0,
        phase=_phase(plan.load, seq, due),
        messages=prompts.messages(fresh + rest, plan.shared_prefix),
        max_tokens=max_tokens,
        seed=int(draws[2]) % 2**31,
        prompt_tokens=prompt_tokens,
    )


def lengths(plan: Plan, seq: int) -> tuple[int, int]:
    """The tokens of prompt and answer that the call number `seq` asks for, without making its text."""
    return _lengths(plan, stream(plan.seed, "call", seq).take(3))


def _lengths(plan: Plan, draws: NDArray[np.uint64]) -> tuple[int, int]:
    prompt_draw, output_draw, _ = uniform(draws).tolist()
    prompt_tokens = sample(plan.scenario.prompt_tokens, prompt_draw)
    least = _least_prompt_tokens(plan.scenario, plan.vocabulary)
    return max(prompt_tokens, least), sample(plan.scenario.output_tokens, output_draw)


def sample(lengths: Lengths, draw: float) -> int:
    """The length at the quantile `draw` in [0, 1).

    A lognormal's tails are moved to its bounds, not drawn again, so that its median is the one that was asked for.
    """
    if lengths.median is None or lengths.sigma is None:
        return lengths.low + int(draw * (lengths.high - lengths.low + 1))
    if draw == 0:
        return lengths.low
    length = lengths.median * math.exp(lengths.sigma * _NORMAL.inv_cdf(draw))
    return min(max(round(length), lengths.low), lengths.high)


def plan_hash(plan: Plan) -> str:
    """SHA-256 of what decides the calls but for the salt; runs with equal hashes offered the same load.

    Of an open loop the due times themselves are in it: no machine or version can compute others without being seen.
    """
    facts: dict[str, object] = {
        "version": 1,
        "prompt_tokens": asdict(plan.scenario.prompt_tokens),
        "output_tokens": asdict(plan.scenario.output_tokens),
        "shared_prefix_tokens": plan.scenario.shared_prefix_tokens,
        "load": asdict(plan.load),
        "seed": plan.seed,
        "vocabulary": prompts.fingerprint(plan.vocabulary),
    }
    if plan.scenario.thinking is not None:
        facts["thinking"] = plan.scenario.thinking
    if plan.due_ns is not None:
        facts["due_ns"] = hashlib.sha256(plan.due_ns.astype("<i8").tobytes()).hexdigest()
    return hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def write_plan(plan: Plan, path: Path, seqs: Sequence[int]) -> None:
    """These calls as Parquet, one row a call; `prompt_hash` is the head of a SHA-256 of its messages."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(
        [
            ("seq", pa.int64()),
            ("due_ns", pa.int64()),
            ("session", pa.int64()),
            ("turn", pa.int32()),
            ("phase", pa.string()),
            ("prompt_tokens", pa.int32()),
            ("max_tokens", pa.int32()),
            ("prompt_hash", pa.string()),
        ]
    )
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(seqs), _ROWS_PER_WRITE):
            rows = [_row(call(plan, seq)) for seq in seqs[start : start + _ROWS_PER_WRITE]]
            writer.write_table(pa.Table.from_pylist(rows, schema))


def _row(call: Call) -> dict[str, int | str | None]:
    return {**call._asdict(), "prompt_hash": _prompt_hash(call.messages)}


def _prompt_hash(messages: tuple[Message, ...]) -> str:
    return hashlib.sha256("\0".join(itertools.chain(*messages)).encode()).hexdigest()[:16]


def _least_prompt_tokens(scenario: Scenario, vocabulary: Vocabulary) -> int:
    return vocabulary.overhead_tokens + scenario.shared_prefix_tokens + FRESH_TOKENS


def _shared_prefix(scenario: Scenario, seed: int, salt: int, vocabulary: Vocabulary) -> str | None:
    """The text that all prompts of one run share, with a head that no other run has."""
    tokens = scenario.shared_prefix_tokens
    if tokens == 0:
        return None
    fresh_tokens = min(FRESH_TOKENS, tokens)
    fresh = prompts.text(vocabulary, stream(seed, "fresh prefix words", salt=salt), fresh_tokens)
    return fresh + prompts.text(vocabulary, stream(seed, "prefix"), tokens - fresh_tokens)


def _due_ns(load: Load, seed: int) -> NDArray[np.int64] | None:
    if load.rate_per_s is None:
        return None
    count = _counted_calls(load)
    if count is not None:
        return schedule.due_ns(load.arrivals, seed, load.rate_per_s, count)
    end_s = (load.warmup_s or 0.0) + (load.duration_s or 0.0)
    return schedule.due_ns_before(load.arrivals, seed, load.rate_per_s, end_s)


def _counted_calls(load: Load) -> int | None:
    return None if load.requests is None else load.requests + (load.warmup_requests or 0)


def _phase(load: Load, seq: int, due_ns: int | None) -> Phase | None:
    """By number, or by time in a load with a duration; there a closed loop's calls have none until they are sent."""
    if load.requests is not None:
        return "warmup" if seq < (load.warmup_requests or 0) else "measured"
    if due_ns is None:
        return None
    return "warmup" if due_ns < (load.warmup_s or 0.0) * 1e9 else "measured"
