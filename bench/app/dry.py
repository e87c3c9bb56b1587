"""What a run would offer and may cost, without asking anybody."""

from analysis.present import in_words
from analysis.run.server_metrics import planned_share
from bench.app.planning import cacheable_line, notes, plan_of_work
from bench.app.prepare import WARM_SALT
from bench.app.pricing import estimate
from bench.app.request import RunRequest
from bench.plan.calls import Plan, lengths, total
from bench.plan.common import in_common
from bench.plan.prompts import calibrate
from bench.plan.written import plan_hash
from bench.runs.manifest import RecordedTraffic


def dry_run(request: RunRequest, *, runs: int = 1, batch: bool = False) -> list[str]:
    """Say in lines what each of the runs would offer and may cost; `batch` is at the prices of batches.

    No server is asked, so that only a local tokenizer counts prompts.
    """
    plan, recorded = dry_plan(request)
    lines = [load_line(request), *(notes(recorded) if recorded else ())]
    count = total(plan)
    if count is not None:
        prompt, output = (sum(tokens) for tokens in zip(*(lengths(plan, seq) for seq in range(count)), strict=True))
        counted = "by the tokenizer" if plan.vocabulary.exact else "one token a word assumed"
        lines.append(
            f"plan: {count:,} requests, {prompt:,} prompt tokens ({counted}), {output:,} output tokens at most"
        )
        if recorded is None:
            lines += _cacheable(plan)
    lines.append(f"plan hash: {plan_hash(plan)}")
    if request.costs.budget is not None:
        lines.append(estimate(plan, request.costs.budget, batch=batch, runs=runs))
    if runs > 1:
        lines.append(f"{runs} runs of this, each with all of it; --max-usd is for all together")
    return [*lines, "nothing was sent"]


def _cacheable(plan: Plan) -> list[str]:
    """What the summary has as `cache.planned`, as a line."""
    common = in_common(plan)
    share = planned_share(common.known, common.prompts)
    return [] if share is None else [cacheable_line(share)]


def dry_plan(request: RunRequest) -> tuple[Plan, RecordedTraffic | None]:
    """Make the plan of a run without asking any server."""
    work = request.workload
    source, count = work.tokenizer or ("nobody", lambda _: None)
    vocabulary = calibrate(
        count,
        source,
        shared_prefix=work.scenario.opens,
        sessions=work.scenario.has_sessions,
    )
    return plan_of_work(work, vocabulary, count, WARM_SALT, None, None)


def load_line(request: RunRequest) -> str:
    """The scenario and how much load there is, in words."""
    return (
        f"scenario {request.workload.scenario.name}: {in_words.load(request.workload.load, request.workload.scenario)}"
    )
