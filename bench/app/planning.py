"""From a workload, or a run's folder, to its plan; and facts about a recording that it is made from."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Final

from bench.app.recordings import Recording
from bench.app.request import Workload
from bench.plan import images
from bench.plan.calls import Plan, make_plan, plan_of
from bench.plan.common import PrefixOverlap, in_common
from bench.plan.due import sessions_at_most
from bench.plan.prompts import Count, Vocabulary
from bench.plan.recorded import Recorded, restore
from bench.plan.recording import Account, DatasetLimits, SourceMaker
from bench.runs import folder as files
from bench.runs.manifest import RecordedTraffic, RunManifest
from bench.types import Load, UserError

COUNTED_BY_A_SERVER: Final = 512
"""How many texts a server is asked to count; the lengths of more are estimated from these."""


def plan_of_work(
    work: Workload,
    vocabulary: Vocabulary,
    count: Count,
    salt: int,
    counted_turns: int | None,
    context_tokens: int | None,
) -> tuple[Plan, RecordedTraffic | None]:
    """The plan of a workload, and facts about its recording. Raises UserError if nothing of it fits.

    `counted` texts are counted (None: all); prompts and answers that exceed the context are left out.
    """
    recording, load = work.recording, work.load
    if recording is None:
        return replace(make_plan(work.scenario, load, work.seed, salt, vocabulary), images=work.images), None
    prompt_tokens, output_tokens = recording.drawn or (work.scenario.prompt_tokens, work.scenario.output_tokens)
    scenario = replace(work.scenario, prompt_tokens=prompt_tokens, output_tokens=output_tokens)
    wanted = None if load.duration_s is not None else sessions_at_most(load)
    maker = SourceMaker(
        recording.writer.texts,
        scenario=scenario,
        seed=work.seed,
        salt=salt,
        vocabulary=vocabulary,
        count=count,
        limits=DatasetLimits(context_tokens, wanted, counted_turns),
        output=recording.output,
        planned=work.scenario.turns is not None and work.scenario.turns.history == "planned",
        block_tokens=recording.block_tokens,
    )
    name = f"--{recording.kind} {recording.name}"
    source, account = maker.source(recording.sessions, recording.sha256, name)
    if account.estimated:
        source = replace(source, vocabulary=replace(vocabulary, exact=False))
    if recording.kind == "trace":
        load = _only(load, source.sessions)
    plan = replace(plan_of(source, load), images=work.images)
    return plan, _section(recording, source, account, in_common(plan, source.sessions))


def plan_of_run(folder: Path, run: RunManifest) -> Plan:
    """Make a run's plan again. Raises UserError if its manifest does not say what its prompts were made of."""
    tokenizer = run.tokenizer
    words, per_word, overhead = tokenizer.words, tokenizer.tokens_per_word, tokenizer.overhead_tokens
    if words is None or per_word is None or overhead is None or run.salt is None or run.seed is None:
        raise UserError(
            f"{files.RUN} of {run.run_id} does not record the vocabulary of its prompts; the plan cannot be made again"
        )
    vocabulary = Vocabulary(
        tuple(words.split()), per_word, overhead, tokenizer.exact, tokenizer.source, tokenizer.turn_tokens
    )
    if (folder / files.RECORDED).exists():
        plan = plan_of(restore(folder / files.RECORDED, run.seed, run.salt, vocabulary), run.load)
    else:
        plan = make_plan(run.scenario, run.load, run.seed, run.salt, vocabulary)
    sent = run.images
    return plan if sent is None else replace(plan, images=images.of_sizes(sent.folder, sent.sha256, sent.bytes))


def notes(found: RecordedTraffic) -> list[str]:
    """Notes about a recording before its load, a line each."""
    lines = [f"{found.kind} {found.file}: {found.rows:,} rows, {found.empty:,} empty, {found.failed:,} failed"]
    if found.kind == "documents":
        lines = [f"documents {found.file}: {found.rows:,} questions, {found.empty:,} of them without a passage"]
    if found.too_long:
        lines.append(f"{found.too_long:,} sessions were left out or cut short to fit the model's context")
    if found.kind == "dataset" and found.sessions < found.available:
        lines.append(f"{found.sessions:,} of {found.available:,} were drawn at random by the seed")
    if found.estimated:
        lines.append(f"the lengths of {found.estimated:,} of {found.turns:,} prompts are estimates, not counts")
    if found.without_text:
        lines.append(f"{found.without_text:,} prompts have lengths but no text; they are made of random words")
    if found.drawn_prompts or found.drawn_outputs:
        lines.append(
            f"{found.drawn_prompts:,} lengths of prompts and {found.drawn_outputs:,} of answers are the scenario's, "
            "because the file has none"
        )
    if found.repeated:
        lines.append(f"{found.repeated:,} prompts are sent again word for word; a cache may hold them")
    if found.cacheable_share is not None:
        lines.append(cacheable_line(found.cacheable_share))
    return lines


def cacheable_line(share: float) -> str:
    """What share of a load a prefix cache can serve, by its plan."""
    return f"a prefix cache of unbounded size would serve {share:.1%} of prompt tokens"


def _section(recording: Recording, source: Recorded, account: Account, common: PrefixOverlap) -> RecordedTraffic:
    return RecordedTraffic(
        kind=recording.kind,
        file=recording.name,
        sha256=recording.sha256,
        rows=recording.rows,
        empty=recording.empty,
        failed=recording.failed,
        available=recording.available,
        **asdict(account),
        output=recording.output,
        speed=str(recording.speed),
        repeated=common.again if source.texts else 0,
        cacheable_share=common.known / common.prompts if common.prompts else None,
    )


def _only(load: Load, sessions: int) -> Load:
    """A trace's load without the sessions that do not fit; each is sent only once."""
    if load.requests is not None:
        return replace(load, requests=max(1, min(load.requests, sessions - (load.warmup_requests or 0))))
    return replace(load, sessions=max(1, min(load.sessions or 1, sessions - (load.warmup_sessions or 0))))
