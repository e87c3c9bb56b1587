"""Whether runs offered the same requests: by one plan, or by plans that differ only in the fit of their prompts."""

import json
from collections.abc import Collection
from typing import Final

from bench.runs.manifest import RunManifest
from bench.runs.sections import dump

FITTED: Final = (
    "prompts were fitted to each server's own tokenizer: the same requests of as many tokens, but a token of the "
    "one is not one of the other"
)


def have_same_requests(some: Collection[RunManifest], others: Collection[RunManifest]) -> bool:
    """Whether both offered the same loads: the same plan, or repeats with the same set of seeds.

    Prompts are made to have so many tokens as the server counts. Where tokenizers differ so do the plans, in their
    words alone: then what the plans were made of decides.
    """
    return _plans(some) == _plans(others) or are_fitted(some, others)


def are_fitted(some: Collection[RunManifest], others: Collection[RunManifest]) -> bool:
    """Whether the plans are others, and only because the prompts were fitted to other tokenizers."""
    if _plans(some) == _plans(others) or not _vocabularies(some).isdisjoint(_vocabularies(others)):
        return False
    return _asked(some) == _asked(others)


def _plans(runs: Collection[RunManifest]) -> set[str]:
    return {run.plan_hash for run in runs}


def _vocabularies(runs: Collection[RunManifest]) -> set[tuple[object, ...]]:
    """What prompts were made of, as far as the hash of a plan has it."""
    found = (run.tokenizer for run in runs)
    return {(each.words, each.tokens_per_word, each.overhead_tokens, each.turn_tokens) for each in found}


def _asked(runs: Collection[RunManifest]) -> set[str]:
    """What plans are made of but for the words; of a recording also what of it was sent."""
    facts = []
    for run in runs:
        sent, images = run.recorded, run.images
        recorded = sent and (sent.kind, sent.sha256, sent.sessions, sent.turns, sent.too_long, sent.output, sent.speed)
        facts.append((run.scenario, run.load, run.seed, recorded, images and images.sha256))
    return {json.dumps(dump(each), sort_keys=True) for each in facts}
