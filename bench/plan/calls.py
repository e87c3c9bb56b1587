"""What every request of a run will be, and when it is due, before any is sent.

A call is a pure function of (plan, seq): any process can make any call. Workers take every n-th session and need not
talk; a session's turns have numbers that follow each other.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bench.plan.due import counted_calls, due_ns_of, first_numbers, phase_of, sessions_at_most
from bench.plan.images import Images
from bench.plan.mix import mix
from bench.plan.prompts import Vocabulary
from bench.plan.source import Source
from bench.plan.synthetic import synthetic
from bench.types import Call, Load, Scenario


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Everything that decides the calls; made by `make_plan`, cheap to send to another process.

    `due_ns` is when each session of an open loop is due (None in a closed one). `firsts` is the number of each
    session's first call, and after them how many calls there are; None where every session has one turn, and where only
    time ends the load: then first numbers lie as far apart as the longest session needs. Each call has one of `images`.
    """

    source: Source
    load: Load
    due_ns: NDArray[np.int64] | None
    firsts: NDArray[np.int64] | None
    images: Images | None = None

    @property
    def vocabulary(self) -> Vocabulary:
        """The words of its prompts."""
        return self.source.vocabulary

    @property
    def seed(self) -> int:
        """What its calls are drawn from."""
        return self.source.seed

    @property
    def salt(self) -> int:
        """What changes the first words of its prompts from run to run and nothing else."""
        return self.source.salt


def make_plan(scenario: Scenario, load: Load, seed: int, salt: int, vocabulary: Vocabulary) -> Plan:
    """The plan of a scenario; a UserError when its longest prompt cannot hold the fixed parts."""
    make = mix if scenario.classes else synthetic
    return plan_of(make(scenario, seed, salt, vocabulary), load)


def plan_of(source: Source, load: Load) -> Plan:
    """The plan of a load of what a source has."""
    due_ns = due_ns_of(source, load)
    if load.requests is not None:
        count = counted_calls(load)
        firsts = None if source.turns_max == 1 else first_numbers(source, itertools.count(), count)
        sessions = count if firsts is None else len(firsts) - 1
        return Plan(source, load, None if due_ns is None else due_ns[:sessions], firsts)
    if load.sessions is not None:
        firsts = first_numbers(source, range(sessions_at_most(load)), None)
        return Plan(source, load, due_ns, firsts)
    return Plan(source, load, due_ns, None)


def with_salt(plan: Plan, salt: int) -> Plan:
    """The same plan with prompts that no cache has seen."""
    return replace(plan, source=plan.source.salted(salt))


def total(plan: Plan) -> int | None:
    """How many calls the plan has, warm-up included; None where it depends on what gets done before the time is up.

    That is so in a closed loop by time, and where sessions go on until then.
    """
    if plan.firsts is not None:
        return int(plan.firsts[-1])
    if plan.load.requests is not None:
        return counted_calls(plan.load)
    return None if plan.due_ns is None or plan.source.turns_max > 1 else len(plan.due_ns)


def sessions(plan: Plan) -> int | None:
    """How many sessions the plan has, each request by itself being one; None for a closed loop by time."""
    if plan.firsts is not None:
        return len(plan.firsts) - 1
    return total(plan) if plan.due_ns is None else len(plan.due_ns)


def calls(plan: Plan, worker: int = 0, workers: int = 1, start: int = 0) -> Iterator[Call]:
    """The first call of each of this worker's sessions from its `start`-th on, made when it is asked for."""
    count, begin = sessions(plan), worker + start * workers
    own = itertools.count(begin, workers) if count is None else range(begin, count, workers)
    return (_call(plan, session, 0) for session in own)


def turns(plan: Plan, session: int) -> range:
    """The numbers of a session's calls."""
    if plan.firsts is not None:
        return range(int(plan.firsts[session]), int(plan.firsts[session + 1]))
    first = session * plan.source.turns_max
    return range(first, first + plan.source.turns(session))


def call(plan: Plan, seq: int) -> Call:
    """The call number `seq`."""
    return _call(plan, *_place(plan, seq))


def following(plan: Plan, seq: int) -> Call | None:
    """The call that follows another in its session; None after the last."""
    rest = remaining(plan, seq)
    return call(plan, rest[0]) if rest else None


def remaining(plan: Plan, seq: int) -> range:
    """The numbers of the calls that follow another in its session."""
    session, turn = _place(plan, seq)
    return turns(plan, session)[turn + 1 :]


def lengths(plan: Plan, seq: int) -> tuple[int, int]:
    """The tokens of prompt and answer that the call number `seq` asks for, without making its text."""
    return plan.source.lengths(*_place(plan, seq))


def _call(plan: Plan, session: int, turn: int) -> Call:
    numbers = turns(plan, session)
    seq = numbers[turn]
    # Later turns are due when the answer before them has come, which no plan knows.
    due = int(plan.due_ns[session]) if plan.due_ns is not None and turn == 0 else None
    made = plan.source.call(session, turn)
    image = None if plan.images is None else plan.images.of(plan.seed, seq)
    phase, last = phase_of(plan.load, session, seq, due), seq == numbers[-1]
    return made._replace(seq=seq, due_ns=due, phase=phase, last=last, image=image)


def _place(plan: Plan, seq: int) -> tuple[int, int]:
    """The (session, turn) of a call."""
    if plan.firsts is None:  # numbers lie as far apart as the longest session needs
        return divmod(seq, plan.source.turns_max)
    session = int(plan.firsts.searchsorted(seq, "right")) - 1  # the method takes a fifth of the function's time
    return session, seq - int(plan.firsts[session])
