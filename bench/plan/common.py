"""What the prompts of a plan have in common, without making any of their text."""

from typing import NamedTuple

from bench.plan.calls import Plan, sessions, turns
from bench.plan.due import phase_of


class PrefixOverlap(NamedTuple):
    """Of the measured calls of a plan: the tokens of prompts, and those that earlier prompts have.

    `again` are the sessions, also of the warm-up, whose first prompt was there before as a whole.
    """

    prompts: int
    known: int
    again: int


def in_common(plan: Plan, among: int = 0) -> PrefixOverlap:
    """Of a plan without an end, by which only time ends the load, the first so many sessions are looked at."""
    prompts = known = again = 0
    source, count = plan.source, sessions(plan)
    for session in range(among if count is None else count):
        due_ns = None if plan.due_ns is None else int(plan.due_ns[session])
        for turn, seq in enumerate(turns(plan, session)):
            own, seen = source.lengths(session, turn)[0], source.cacheable(session, turn)
            again += turn == 0 and seen >= own
            if phase_of(plan.load, session, seq, None if turn else due_ns) != "warmup":
                prompts += own
                known += seen
    return PrefixOverlap(prompts, known, again)
