"""What is asked of a server, and how much of it: a scenario and a load; part of `bench.types`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Literal

Arrivals = str
"""How calls of an open loop arrive: `poisson`, `constant`, `gamma:CV` with CV the gaps' spread over their mean,
`at once`, or `recorded` where a trace says when."""
AT_ONCE = "at once"
RECORDED = "recorded"


@dataclass(frozen=True, slots=True)
class Lengths:
    """A distribution of token counts: `fixed` (low = high), `uniform` on [low, high], or `lognormal` cut to it."""

    kind: Literal["fixed", "uniform", "lognormal", "mixed"]
    low: int
    high: int
    median: float | None = None
    sigma: float | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """How long it takes after an answer until the next turn: always `s`, exponential with mean `s`, or lognormal with
    median `s`; longer ones are cut to `high_s`.
    """

    kind: Literal["fixed", "exponential", "lognormal"]
    s: float
    sigma: float = 0.0
    high_s: float = 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Turns:
    """What makes a session of a scenario: how many turns, and how each goes on from the one before.

    `added_tokens` is what a later turn adds to the prompt besides the answer before it. `history` is the answer that
    came back, or a planned one of that length. Where prompt and answer would be more than `window_tokens` the oldest
    turns are dropped, or the session ends. `sessions` and `warmup_sessions` are for when the user does not say.
    """

    count: Lengths
    added_tokens: Lengths
    pause: Pause
    history: Literal["actual", "planned"] = "actual"
    window_tokens: int | None = None
    when_full: Literal["drop", "stop"] = "drop"
    sessions: int = 16
    warmup_sessions: int = 0


@dataclass(frozen=True, slots=True)
class Prefixes:
    """A level of prefixes that prompts share: under each prefix of the level above there are so many.

    The k-th of them is asked for in proportion to k to the power of -`zipf`; 0 is all alike.
    """

    tokens: int
    groups: int
    zipf: float = 1.0


@dataclass(frozen=True, slots=True)
class TrafficClass:
    """One kind of requests in a mix, as a scenario has them; `weight` is its share among the weights of all.

    `sampling` is how its requests are worded where the user does not say (temperature, top_p, thinking), `slo` are the
    objectives that it alone is judged by.
    """

    name: str
    weight: float
    prompt_tokens: Lengths
    output_tokens: Lengths
    shared_prefix_tokens: int = 0
    prefixes: tuple[Prefixes, ...] = ()
    adapters: Mapping[str, float] = field(default_factory=dict)
    turns: Turns | None = None
    sampling: Mapping[str, str] = field(default_factory=dict)
    slo: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Documents:
    """What prompts of passages are made of: the chunks of a `folder`, or what `retrieve` finds, or once found.

    `retrieve` is a command or a URL of the user's own, which gives up to so many `contexts`; `retrieved` is a file of
    questions with the passages that were found for them.
    """

    folder: str | None = None
    chunk_words: int = 150
    questions: str | None = None
    contexts: int = 4
    retrieve: str | None = field(default=None, repr=False)
    retrieved: str | None = None

    @property
    def name(self) -> str:
        """The path that stands for it."""
        return self.folder or self.retrieved or self.questions or ""


@dataclass(frozen=True, slots=True)
class Scenario:
    """What one request looks like and how much load to offer when the user does not say.

    `prompt_tokens` is the whole prompt as the server counts it, template and shared prefix included; of a session that
    of its first turn. `thinking` says whether a model that can think before it answers is to do so; None leaves it to
    the model. `temperature` and `top_p` are what is asked for where the user does not say; None leaves them to the
    server. Without `turns` every request is by itself. Below the prefix that all share there may be levels of
    `prefixes`, and requests go to `adapters` by their weights. A mix has `classes`, and its own lengths are the bounds
    of theirs. A
    `dataset` is what its prompts are taken from; its lengths are then the file's. With `documents` they are passages
    and a question.
    """

    name: str
    description: str
    prompt_tokens: Lengths
    output_tokens: Lengths
    shared_prefix_tokens: int
    concurrency: int
    requests: int
    warmup_requests: int
    thinking: bool | None = None
    temperature: float | None = 0.0
    turns: Turns | None = None
    dataset: str | None = None
    dataset_output: Literal["file", "scenario"] | None = None
    prefixes: tuple[Prefixes, ...] = ()
    adapters: Mapping[str, float] = field(default_factory=dict)
    classes: tuple[TrafficClass, ...] = ()
    top_p: float | None = None
    documents: Documents | None = None

    @property
    def prefix_tokens(self) -> int:
        """How many tokens at the head of a prompt others share, on all levels together."""
        below = sum(level.tokens for level in self.prefixes) if self.prefixes else 0
        return self.shared_prefix_tokens + below

    @property
    def parts(self) -> "tuple[Scenario, ...]":
        """Each class as a scenario of its own; the scenario itself where it is no mix."""
        return tuple(self._of(each) for each in self.classes) or (self,)

    @property
    def opens(self) -> bool:
        """Whether prompts begin with something that they share, in a system message."""
        return any(part.prefix_tokens for part in self.parts)

    @property
    def has_sessions(self) -> bool:
        """Whether there are calls that follow others."""
        return any(part.turns is not None for part in self.parts)

    @property
    def adapter_names(self) -> frozenset[str]:
        """All the adapters that requests go to."""
        return frozenset(name for part in self.parts for name in part.adapters)

    def _of(self, part: TrafficClass) -> "Scenario":
        return replace(self, **{name: getattr(part, name) for name in OF_A_CLASS}, classes=())


OF_A_CLASS = tuple(each.name for each in fields(TrafficClass) if each.name in {own.name for own in fields(Scenario)})
"""What a class of a mix has in place of its scenario's: its name, its lengths, and what its prompts share."""


@dataclass(frozen=True, slots=True)
class RateSegment:
    """A part of a load's time, in which its rate goes evenly from one value to another; the same two: it stays."""

    seconds: float
    from_per_s: float
    to_per_s: float


Course = tuple[RateSegment, ...]
"""How a rate changes over the measured time, from its start to its end; beyond, the last rate goes on."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much load, and for how long: exactly one of requests/sessions/duration_s, and concurrency in a closed loop.

    A session of one turn is a request: `concurrency` is how many sessions there are at once, `rate_per_s` how many
    begin in a second, on average over the measured time where the rate follows a `course`. Where all are due at once
    (`arrivals`) there is neither, and as many calls as may be are in flight.
    """

    concurrency: int | None
    rate_per_s: float | None
    arrivals: Arrivals
    requests: int | None
    duration_s: float | None
    warmup_requests: int | None
    warmup_s: float | None
    max_in_flight: int
    overload: Literal["wait", "drop"]
    sessions: int | None = None
    warmup_sessions: int | None = None
    course: Course = ()

    @property
    def is_open(self) -> bool:
        """Whether calls come when they are due, whatever became of those before them."""
        return self.concurrency is None

    @property
    def slots(self) -> int:
        """How many calls can be in flight."""
        return self.concurrency or self.max_in_flight

    @property
    def is_at_once(self) -> bool:
        """Whether all calls are due at the start."""
        return self.arrivals == AT_ONCE

    @property
    def is_stationary(self) -> bool:
        """Whether the load is meant to be the same from its start to its end."""
        return not self.course and self.arrivals not in (AT_ONCE, RECORDED)
