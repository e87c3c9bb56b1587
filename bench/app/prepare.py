"""What comes between a server and the load: query it, count prompts, plan, and rehearse the first request.

Whatever can be known to fail is reported here, in one line, before anything is measured.
"""

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from bench.app.planning import COUNTED_BY_A_SERVER, plan_of_work
from bench.app.planning import notes as recorded_notes
from bench.app.pricing import estimate, in_a_line, limiter_of, size_of
from bench.app.request import RunningServer, RunRequest
from bench.app.wording import replaced
from bench.load.spend import Ledger
from bench.load.targets import own_options, target_of
from bench.plan.calls import Plan, call, with_salt
from bench.plan.prompts import Count, calibrate
from bench.preflight.published import check_answer, check_lengths, check_load
from bench.preflight.rehearsal import Rehearsal, RehearsalResult, acknowledged_late
from bench.runs import folder as files
from bench.runs.manifest import NagleProbe, RecordedTraffic
from bench.server.launch import Server
from bench.types import Message, NotReady, ServerFault, ServerInfo, Target, Unlisted, UserError

Say = Callable[[str], None]

# Every warm run with the same seed has the same prompts.
WARM_SALT = 0
_READY_POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Prepared:
    """What is known before the load: the server, the plan, and how the server wants requests."""

    info: ServerInfo
    target: Target
    plan: Plan
    rehearsed: RehearsalResult
    account: Path | None
    nagle: NagleProbe | None
    recorded: RecordedTraffic | None


def prepare(request: RunRequest, server: Server | None, say: Say) -> Prepared:
    """Ask the server everything there is to ask. Raises UserError if the load cannot work."""
    target, info, unlisted = _when_ready(request, server, say)
    scenario, client = request.workload.scenario, request.client
    info = replace(info, notes=(*request.notes, *info.notes, *check_load(request.workload.load, scenario, info)))
    for note in info.notes:
        say(note)
    plan, recorded = _plan(request, target, info, say)
    _check_wording(request, plan, target)
    own = tuple(replaced(request.backend, call(plan, 0), target))
    for note in own:
        say(note)
    account = _open_account(request)
    if request.costs.budget is not None:
        say(in_a_line(estimate(plan, request.costs.budget), size_of(plan)))
    rehearsed = _rehearse(request, plan, target, unlisted, account, say)
    # Prompts have lengths in tokens: if the server needed another request shape, they are counted and made again.
    if rehearsed.adapted and _counts_otherwise(plan, rehearsed.target):
        plan, recorded = _plan(request, rehearsed.target, info, say)
        again = _rehearse(request, plan, rehearsed.target, unlisted, account, say)
        adapted, tries = (*rehearsed.adapted, *again.adapted), rehearsed.tries + again.tries
        rehearsed = replace(again, adapted=adapted, tries=tries)
    for change in rehearsed.adapted:
        say(f"adapted to the server: {change}")
    if info.context_tokens is None and request.backend.loaded_context is not None:
        info = replace(info, context_tokens=request.backend.loaded_context(rehearsed.target))
        if request.workload.recording is None:
            check_lengths(scenario, info)
    answered = () if unlisted is None else (f"{unlisted}; it answered a first request nevertheless",)
    # If requests are billed, no more are sent than needed.
    held = None if request.costs.budget else acknowledged_late(rehearsed, request.backend, client.timeout_s)
    nagle = None if held is None else held.kept(quick_ack=client.quick_ack)
    late = (nagle.message,) if nagle is not None and nagle.message else ()
    learned = (*own, *answered, *check_answer(rehearsed, plan), *late)
    for note in learned[len(own) :]:
        say(note)
    info = replace(info, notes=(*info.notes, *(recorded_notes(recorded) if recorded else ()), *learned))
    return Prepared(info, rehearsed.target, plan, rehearsed, account, nagle, recorded)


def _counts_otherwise(plan: Plan, adapted: Target) -> bool:
    """Whether prompts were counted in a shape that has changed since, or can be counted now but not before."""
    return "system" in adapted.options if plan.vocabulary.exact else "billed" not in adapted.options


def _when_ready(request: RunRequest, server: Server | None, say: Say) -> tuple[Target, ServerInfo, str | None]:
    """Query the server, repeatedly while it is not ready and time is left."""
    deadline = time.monotonic() + (request.client.ready_timeout_s or 0.0)
    while True:
        try:
            return _preflight(request, server)
        except NotReady as problem:
            if time.monotonic() + _READY_POLL_S > deadline:
                raise
            say(f"waiting: {str(problem).partition('; --ready-timeout')[0]}")
            time.sleep(_READY_POLL_S)


@contextmanager
def log_kept(server: Server | None) -> Iterator[None]:
    """Name a launched server's log if the server is at fault; a file that an error names is kept with its folder."""
    try:
        yield
    except ServerFault as problem:
        if server is None or str(server.log_path) in str(problem):
            raise
        raise type(problem)(f"{problem}; see its log: {server.log_path}") from None


def _rehearse(
    request: RunRequest, plan: Plan, target: Target, unlisted: str | None, account: Path | None, say: Say
) -> RehearsalResult:
    """Send the plan's first request, with a prompt that does not occur in the load."""
    other = with_salt(plan, secrets.randbits(63))
    limiter, budget = None, request.costs.budget
    if budget is not None and account is not None:
        limiter = limiter_of(budget, account, plan, request.backend, target.url)
    one = Rehearsal(
        request.backend,
        request.client.timeout_s,
        limiter,
        say,
        ready_timeout_s=request.client.ready_timeout_s or 0.0,
        unlisted=unlisted,
    )
    first = call(other, 0)
    own = own_options(first, request.by_class)
    found = one.of(first, target_of(first, target, request.by_class))
    # Differences of this one probe are not reported for the others.
    options = {name: value for name, value in found.target.options.items() if name not in own}
    options |= {name: target.options[name] for name in own if name in target.options}
    return replace(found, target=replace(found.target, options=options))


def _preflight(request: RunRequest, server: Server | None) -> tuple[Target, ServerInfo, str | None]:
    """What the server says about itself, and what in its list of models is a problem, if anything."""
    asked, access = request.server, request.access
    if isinstance(asked, RunningServer):
        model, reached = request.model, asked
    else:
        assert server is not None, "a launched server has no public name"
        model, reached = asked.model, RunningServer(server.url)
    options = {**request.wording, **({"billed": "yes"} if request.costs.budget else {})}
    target = reached.target(model, access, options, request.client.ready_timeout_s or 0.0)
    try:
        info = request.backend.preflight(target)
        unlisted = None
    except Unlisted as problem:
        info, unlisted = problem.info, str(problem)
    if request.workload.recording is None:  # prompts of a file that are too long are left out instead
        check_lengths(request.workload.scenario, info)
    served = info.settings.get("adapters")
    if served is not None and (lacking := sorted(request.workload.scenario.adapter_names.difference(served))):
        raise UserError(f"adapters: {target.url} serves {', '.join(served) or 'none'}, but not {', '.join(lacking)}")
    # The user's name for the model may be an alias, or a path that the server calls something else.
    return replace(target, model=info.model, options={**target.options, **info.options}), info, unlisted


def _plan(request: RunRequest, target: Target, info: ServerInfo, say: Say) -> tuple[Plan, RecordedTraffic | None]:
    work = request.workload
    source, count = work.tokenizer or (
        f"{info.name} at {target.url}" if request.url else info.name,
        _forgiving(partial(request.backend.count_tokens, target), say),
    )
    context_tokens = None if work.tokenizer else info.context_tokens
    vocabulary = calibrate(
        count,
        source,
        shared_prefix=work.scenario.opens,
        sessions=work.scenario.has_sessions,
        context_tokens=context_tokens,
    )
    if not vocabulary.exact:
        say(f"prompt lengths are approximate: {vocabulary.source}")
    salt = WARM_SALT if work.cache == "warm" else secrets.randbits(63)
    counted = None if work.tokenizer else 0 if request.backend.counts_by_asking else COUNTED_BY_A_SERVER
    plan, recorded = plan_of_work(work, vocabulary, count, salt, counted, info.context_tokens)
    for note in recorded_notes(recorded) if recorded else ():
        say(note)
    reset = request.backend.reset_cache
    if work.cache == "cold" and reset is not None and request.url and reset(target):
        say("the server's prefix cache was emptied")
    return plan, recorded


def _forgiving(count: Count, say: Say) -> Count:
    """A count, None with a note if the server fails to answer: it may still serve."""

    def counted(messages: tuple[Message, ...]) -> int | None:
        try:
            return count(messages)
        except ServerFault as problem:
            say(f"prompts are not counted: {problem}")
            return None

    return counted


def _check_wording(request: RunRequest, plan: Plan, target: Target) -> None:
    """Build the shortest answer's request here, so that what a backend refuses is reported before the load."""
    shortest = call(plan, 0)._replace(max_tokens=request.workload.scenario.output_tokens.low)
    request.backend.request(shortest, target_of(shortest, target, request.by_class))


def _open_account(request: RunRequest) -> Path | None:
    budget = request.costs.budget
    if budget is None:
        return None
    account = budget.account or request.out / files.LEDGER
    Ledger.open_account(account, budget.cap_usd)
    return account
