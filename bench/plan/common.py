"""What the prompts of a plan have in common, without making any of their text."""

from bench.plan.calls import Plan, sessions, turns
from bench.plan.due import phase_of


def in_common(plan: Plan) -> tuple[int, int]:
    """Of the measured calls of a plan that has an end: the tokens of prompts, and those that earlier prompts have."""
    prompts = known = 0
    for session in range(sessions(plan) or 0):
        due_ns = None if plan.due_ns is None else int(plan.due_ns[session])
        for turn, seq in enumerate(turns(plan, session)):
            if phase_of(plan.load, session, seq, None if turn else due_ns) != "warmup":
                prompts += plan.source.lengths(session, turn)[0]
                known += plan.source.cacheable(session, turn)
    return prompts, known
