"""From a server's refusal to a request that it accepts: fields that it does not know are left out or renamed.

Servers word refusals differently, but all put a complaint close to the name of a field. Fields that determine the load,
such as the prompt and the answer's length, are never left out, nor is anything the user asked for.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from backends.dialect.outside import lenient
from bench.types import Adaptation, HttpRequest, Refusal, Target

NEEDED = frozenset({"model", "messages", "inputs", "prompt", "input", "parameters", "stream", "system"})
NEEDED |= {"role", "content", "type", "text", "max_output_tokens"}
ASKED_FOR = frozenset({"chat_template_kwargs", "enable_thinking", "thinking", "adapter_id", "service_tier"})
LENGTHS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
WHAT_IS_LOST = {
    "temperature": "answers are sampled as the server does by default",
    "do_sample": "answers are sampled as the server does by default",
    "seed": "answers may differ from run to run",
    "ignore_eos": "answers may end before their length",
    "min_tokens": "answers may end before their length",
    "stream_options": "usage may be missing",
    "include_usage": "usage may be missing",
    "continuous_usage_stats": "tokens of each chunk are not counted",
    "timings_per_token": "tokens of each chunk are not counted",
    "cache_control": "prompts are not written to the API's cache",
}
# Answers that are not about the request's fields, whatever they mention.
OTHER_MATTERS = frozenset({401, 402, 403, 407, 408, 413, 429})
COMPLAINT = re.compile(
    r"un(?:known|recogni[sz]ed|supported|expected|permitted)|extra(?:neous)?\b|additional propert|not\s+(?:be\s+)?"
    r"(?:permitted|allowed|supported|recogni[sz]ed|accepted|available|valid|a valid|marked|implemented|exist)"
    r"|n[o']t\s+(?:support|accept|allow|recogni[sz]e|know)|\binvalid\b|cannot find|forbidden|no such|deprecated"
    r"|only the default|must\b|cannot\b|out of range|instead|remove|ignored",
    re.IGNORECASE,
)
TOO_LONG = re.compile(
    r"too (?:large|long|many|high|big)|exceed|at most|less than|maximum|greater than|<=|\blimit", re.I
)
NO_SYSTEM_ROLE = re.compile(
    r"only .{0,20}\buser\b.{0,20}\bassistant\b|roles? must alternate|alternat\w+ .{0,20}roles"
    r"|\bsystem\b.{0,40}(?:role|message|prompt|instruction)|(?:role|message|prompt|instruction)\w*\W.{0,40}\bsystem\b",
    re.IGNORECASE | re.DOTALL,
)
NO_SUCH_ROUTE = frozenset({404, 405, 501})
NAMES_THE_MODEL = re.compile(r"\bmodel|deployment", re.IGNORECASE)
NEAR = 80  # maximum distance in characters between a complaint and its subject


def adapt(request: HttpRequest, target: Target, refusal: Refusal) -> Adaptation | None:
    """A request that the server would accept instead of `request`, by its error message; None if that is not clear."""
    if refusal.status in OTHER_MATTERS:
        return None
    payload = lenient(request.body)
    words, marked = _words(refusal)
    if refusal.status in NO_SUCH_ROUTE and "api_path" not in target.options and not NAMES_THE_MODEL.search(words):
        return _adapted(target, {"api_path": ""}, "its API has no /v1 prefix; requests go to the base URL's own routes")
    if _has_system(payload) and _refuses_system(words, marked):
        return _adapted(target, {"system": "user"}, "it has no system role; system messages are put before the user's")
    kept = NEEDED | ASKED_FOR | set(target.options.get("asked_for", "").split())
    for name in _refused(words, marked, sorted({*_names(payload)} - kept)):
        if name not in LENGTHS:
            without = " ".join(sorted({*target.options.get("without", "").split(), name}))
            lost = f" ({WHAT_IS_LOST[name]})" if name in WHAT_IS_LOST else ""
            return _adapted(target, {"without": without}, f"{name} is left out{lost}")
        other = LENGTHS[name]
        instead = re.search(rf"(?:\buse\b|\btry\b|instead|favor|replaced)[^.]{{0,40}}{other}", words, re.IGNORECASE)
        if (instead or not TOO_LONG.search(words)) and "renamed" not in target.options:
            return _adapted(target, {"renamed": f"{name}={other}"}, f"{name} is sent as {other}")
    return None


def _adapted(target: Target, options: Mapping[str, str], note: str) -> Adaptation | None:
    """None for what was tried already."""
    changed = {**target.options, **options}
    return None if changed == dict(target.options) else Adaptation(changed, note)


def _words(refusal: Refusal) -> tuple[str, list[str]]:
    """All text of the refusal, and the fields that it marks as at fault outside its message."""
    value = lenient(refusal.data)
    if isinstance(value, bytes):
        return f"{refusal.message} {value[:4096].decode('utf-8', 'replace')}", []
    texts: list[str] = [refusal.message]
    marked: list[str] = []
    for name, one in _leaves(value):
        if name in ("param", "loc", "field", "property", "parameter"):
            marked += re.findall(r"\w+", one)[::-1]
        else:
            texts.append(one)
    return " ".join(texts)[:8192], marked


def _leaves(value: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, str]]:
    if depth > 8:
        return
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves(one, str(key), depth + 1)
    elif isinstance(value, list):
        if all(isinstance(one, str | int) for one in value):
            yield name, " ".join(map(str, value))  # a path: ["body", "stream_options", "include_usage"]
        else:
            for one in value:
                yield from _leaves(one, name, depth + 1)
    elif isinstance(value, str):
        yield name, value


def _names(payload: Any) -> Iterator[str]:
    if isinstance(payload, dict):
        for name, one in payload.items():
            yield name
            yield from _names(one)
    elif isinstance(payload, list):
        for one in payload:
            yield from _names(one)


def _refused(words: str, marked: Sequence[str], names: Sequence[str]) -> list[str]:
    """The names that a complaint is about: those marked by the server, then the others by distance."""
    complaints = [(found.start(), found.end()) for found in COMPLAINT.finditer(words)]
    if not complaints:
        return []
    distances = []
    for name in names:
        for found in re.finditer(rf"(?<!\w){re.escape(name)}(?!\w)", words):
            away = min(max(start - found.end(), found.start() - end, 0) for start, end in complaints)
            if away <= NEAR:
                distances.append((away, found.start(), name))
    first = [name for name in marked if name in names]
    return list(dict.fromkeys([*first, *(name for _, _, name in sorted(distances))]))


def _has_system(payload: Any) -> bool:
    messages = payload.get("messages") if isinstance(payload, dict) else None
    return isinstance(messages, list) and any(isinstance(one, dict) and one.get("role") == "system" for one in messages)


def _refuses_system(words: str, marked: Sequence[str]) -> bool:
    found = NO_SYSTEM_ROLE.search(words)
    if found is None:
        return False
    return (
        "role" in marked
        or "alternat" in found[0].lower()
        or "only" in found[0].lower()
        or bool(COMPLAINT.search(words))
    )
