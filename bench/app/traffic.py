"""A load from the user's own traffic: from `--dataset` and `--trace` to sessions, their scenario and their load."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from typing import Final

from bench.app import rag
from bench.app.options import FileOptions, RunOptions, check_one_of, refuse
from bench.app.recordings import Recording, TraceCut, read_dataset, read_trace
from bench.durations import parse_duration
from bench.numeric import whole
from bench.plan.resolve import DEFAULT_MAX_IN_FLIGHT, MAX_CONCURRENCY, MAX_DURATION_S, within
from bench.types import RECORDED, Lengths, Load, Pause, Scenario, Turns, UserError

_LAUNCHED_TOKENS_MAX: Final = 8192
"""The longest context of a server launched for a dataset; what does not fit is left out."""
_TEMPLATE_TOKENS: Final = 64
_SPARE: Final = 1024
_SESSIONS: Final = 64
_SPEEDS: Final = Decimal("0.001"), Decimal(1000)


def recording_of(options: RunOptions, scenario: Scenario) -> Recording | None:
    """Read the file named by a flag or by the scenario. Raises UserError; None if there is none."""
    dataset = options.dataset or (None if options.trace else scenario.dataset)
    documents = None if options.dataset or options.trace else scenario.documents
    _check(options, dataset, is_own=bool(dataset or options.trace or documents))
    drawn = scenario.prompt_tokens, scenario.output_tokens
    if documents is not None:
        found = rag.read_passages(documents, seed=options.seed, wanted=_prompts(options, scenario))
        return replace(found, drawn=drawn)
    if options.trace is not None:
        found = read_trace(options.trace, _cut(options), "scenario" if options.output_tokens else "file")
        return replace(found, drawn=drawn)
    if dataset is None:
        return None
    output = options.dataset_output or ("scenario" if options.output_tokens else scenario.dataset_output)
    found = read_dataset(dataset, seed=options.seed, wanted=_wanted(options, scenario), output=output or "file")
    return replace(found, drawn=drawn)


def as_recorded(scenario: Scenario, recording: Recording) -> Scenario:
    """The scenario with the file's lengths, as far as they are known before counting tokens; output lengths stay."""
    longest = max(
        max(
            sum(turn.text_bytes + turn.answer_bytes for turn in session.turns),
            max(turn.prompt_tokens or 0 for turn in session.turns),
        )
        for session in recording.sessions
    )
    answers = [turn.output_tokens for session in recording.sessions for turn in session.turns if turn.output_tokens]
    output = scenario.output_tokens
    if recording.output == "file":
        output = Lengths("uniform", 1, max([*answers, output.high]))
    if any(
        turn.place is None and turn.prompt_tokens is None for session in recording.sessions for turn in session.turns
    ):
        longest = max(longest, scenario.prompt_tokens.high)
    high = max(1, min(longest + _TEMPLATE_TOKENS, _LAUNCHED_TOKENS_MAX))
    turns = None
    if recording.turns_max > 1:
        count = Lengths("uniform", 1, recording.turns_max)
        pause = scenario.turns.pause if scenario.turns else Pause("fixed", 0.0)
        turns = Turns(
            count, Lengths("uniform", 1, high), pause, window_tokens=high + output.high, when_full="stop",
            sessions=min(_SESSIONS, len(recording.sessions)),
        )  # fmt: skip
    return replace(
        scenario,
        name=recording.stem,
        description=f"{recording.kind} {recording.name}",
        prompt_tokens=Lengths("uniform", 1, high),
        output_tokens=output,
        shared_prefix_tokens=0,
        documents=None,  # a retriever's URL may contain a key
        temperature=None,
        turns=turns,
    )


def trace_load(options: RunOptions, recording: Recording) -> Load:
    """The load of a trace: all of it, or its first requests; for sessions, its first sessions."""
    not_for_traces = ("concurrency", "rate", "arrivals", "duration")
    refuse("a trace has its own arrival times; leave it out", options, *not_for_traces)
    count, is_of_sessions = len(recording.sessions), recording.turns_max > 1
    before = whole(options.warmup or "0")
    if before is None or not 0 <= before < count:
        problem = f"expected a number below the {count} sessions of {recording.name}, got {options.warmup!r}"
        raise UserError(f"--warmup: {problem}")
    flag, asked = ("--sessions", options.sessions) if is_of_sessions else ("--requests", options.requests)
    measured = count - before if asked is None else within(flag, asked, 1, count - before)
    span_s = (recording.sessions[before + measured - 1].due_ns or 0) / 1e9
    return Load(
        concurrency=None,
        rate_per_s=(before + measured) / max(span_s, 1.0),
        arrivals=RECORDED,
        requests=None if is_of_sessions else measured,
        duration_s=None,
        warmup_requests=None if is_of_sessions else before,
        warmup_s=None,
        max_in_flight=within("--max-in-flight", options.max_in_flight or DEFAULT_MAX_IN_FLIGHT, 1, MAX_CONCURRENCY),
        overload=options.overload or "wait",
        sessions=measured if is_of_sessions else None,
        warmup_sessions=before if is_of_sessions else None,
    )


def _wanted(options: RunOptions, scenario: Scenario) -> int:
    """How many sessions are drawn: twice what the load needs, as some may not fit; plenty if it ends by time."""
    if options.duration is not None:
        return 1 << 62
    asked = max(options.requests or 0, options.sessions or 0) or max(scenario.requests, _SESSIONS)
    warmup = _warmup(options, scenario.warmup_requests)
    return 2 * (asked + max(warmup, options.concurrency or scenario.concurrency)) + _SPARE


def _prompts(options: RunOptions, scenario: Scenario) -> int:
    """As many as the load has requests, because each costs a retrieval; by time, as many as the scenario has."""
    asked = options.requests or scenario.requests
    usual = min(asked, max(scenario.warmup_requests, options.concurrency or scenario.concurrency))
    return asked + _warmup(options, usual)


def _warmup(options: RunOptions, usual: int) -> int:
    """The warm-up requests if `--warmup` counts them, else the default number."""
    counted = whole(options.warmup or "")
    return usual if counted is None else counted


def _cut(options: FileOptions) -> TraceCut:
    speed = Decimal(1) if options.speed is None else options.speed
    if not _SPEEDS[0] <= speed <= _SPEEDS[1]:
        raise UserError(f"--speed: must be from 0.001 to 1000, got {options.speed}")
    from_s, for_s = (
        None if text is None else Fraction(within(flag, parse_duration(text, flag), 0, MAX_DURATION_S, " s"))
        for flag, text in (("--from", options.from_), ("--for", options.for_))
    )
    if for_s == 0:
        raise UserError("--for: must be more than 0 s; leave it out for all of the trace")
    return TraceCut(from_s or Fraction(0), for_s, Fraction(speed))


def _check(options: RunOptions, dataset: str | None, *, is_own: bool) -> None:
    """Report options that exclude each other."""
    check_one_of(options, "dataset", "trace")
    if options.trace is None:
        refuse("applies to a trace; give --trace as well, or leave it out", options, "speed", "from_", "for_")
    if dataset is None:
        refuse("applies to a dataset; give --dataset as well, or leave it out", options, "dataset_output")
    if options.dataset_output == "file" and options.output_tokens is not None:
        raise UserError("--dataset-output file and --output-tokens exclude each other; give one of them")
    if is_own:
        refuse("the file decides the turns of sessions; leave it out", options, "turns")
        refuse("the file decides the prompts; leave it out", options, "prompt_tokens")
