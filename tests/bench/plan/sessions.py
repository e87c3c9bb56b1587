"""Arbitrary plans of sessions, and a tokenizer to count their prompts by."""

from typing import Any

from hypothesis import strategies as st

from bench.plan.calls import Plan, make_plan
from bench.plan.prompts import calibrate
from bench.plan.resolve import resolve_load
from bench.types import Lengths, Message, Pause, Scenario, Turns


def count(messages: tuple[Message, ...]) -> int:
    """A tokenizer whose words are tokens, and whose template adds two to each message and one at the end."""
    return 1 + sum(2 + len(message.text.split()) for message in messages)


VOCABULARIES = {prefixed: calibrate(count, "toy", shared_prefix=prefixed, sessions=True) for prefixed in (False, True)}
LENGTHS = st.one_of(
    st.integers(1, 60).map(lambda n: Lengths("fixed", n, n)),
    st.tuples(st.integers(1, 30), st.integers(0, 50)).map(lambda two: Lengths("uniform", two[0], two[0] + two[1])),
    st.just(Lengths("lognormal", 4, 90, 20.0, 0.8)),
)
ADDED = st.one_of(
    st.integers(20, 60).map(lambda n: Lengths("fixed", n, n)),
    st.tuples(st.integers(1, 30), st.integers(20, 50)).map(lambda two: Lengths("uniform", two[0], two[0] + two[1])),
    st.just(Lengths("lognormal", 4, 90, 20.0, 0.8)),
)
FIVE = Lengths("fixed", 5, 5)
COUNTS = st.integers(1, 6).map(lambda n: Lengths("fixed", n, n)) | st.just(Lengths("uniform", 1, 7))
PAUSES = st.sampled_from(
    (Pause("fixed", 0.0), Pause("fixed", 1.5), Pause("exponential", 2.0), Pause("lognormal", 1.0, 1.0, 3.0))
)
TURNS = st.builds(
    Turns,
    count=COUNTS,
    added_tokens=ADDED,
    pause=PAUSES,
    history=st.sampled_from(("actual", "planned")),
    window_tokens=st.sampled_from((None, 260, 400)),
    when_full=st.sampled_from(("drop", "stop")),
)
LOADS = st.sampled_from(({"sessions": 6, "warmup": "1"}, {"requests": 11}, {"sessions": 5, "rate": 3.0}))


def plan_of(
    turns: Turns, *, prefix: int = 0, output: Lengths = FIVE, seed: int = 1, salt: int = 2, **load: Any
) -> Plan:
    """A plan of sessions of this kind, with first prompts of 40 to 100 tokens."""
    scenario = Scenario("s", "", Lengths("uniform", 40, 100), output, prefix, 4, 20, 0, turns=turns)
    return make_plan(scenario, resolve_load(scenario, **load), seed, salt, VOCABULARIES[prefix > 0])


@st.composite
def plans(draw: st.DrawFn, turns: st.SearchStrategy[Turns] = TURNS, loads: st.SearchStrategy[Any] = LOADS) -> Plan:
    """Plans of sessions of every kind."""
    kind: dict[str, Any] = {"prefix": draw(st.sampled_from((0, 12))), "output": draw(LENGTHS)}
    return plan_of(draw(turns), **kind, seed=draw(st.integers(0, 99)), salt=draw(st.integers(0, 9)), **draw(loads))
