"""The kind of a server's refusal, from its status and message; `bench.errors.REFUSALS` has the remedies."""

import re
from typing import NamedTuple

from bench.errors import RefusalName


class _Sign(NamedTuple):
    """A kind of refusal, and how it is recognised: by an unambiguous status, or by words."""

    kind: RefusalName
    statuses: frozenset[int]
    words: str | None = None


# The first match counts. An error code before the message is matched like words, underscores included.
_SIGNS = (
    _Sign("certificate", frozenset(), r"ssl certificate|client certificate|https port|plain http request"),
    _Sign("quota", frozenset({402}), r"quota|billing|\bcredit|balance|payment|spend(?:ing)? limit|usage limit"),
    _Sign("key", frozenset({401, 407})),
    _Sign(
        "model",
        frozenset(),
        r"model_not_found|\b(?:model|deployment|engine)\b.{0,120}?(?:not found|not exist|n[o']t exist|unknown|no such"
        r"|not available|not loaded|not served|no access|not have access|decommissioned|retired|cannot be found)"
        r"|(?:unknown|invalid|no such|unsupported|unrecognized) (?:model|deployment)\b|no (?:endpoints|provider)",
    ),
    _Sign("rate", frozenset({429}), r"rate.?limit|too many requests|throttl"),
    _Sign(
        "length",
        frozenset({413}),
        r"context.{0,3}(?:length|window|size)|too (?:long|large|many tokens)|maximum.{0,40}(?:token|length)|exceed"
        r"|reduce the (?:length|prompt)|less than \d+ tokens|tokens?.{0,20}(?:limit|<=|at most|greater than)",
    ),
    _Sign(
        "loading",
        frozenset({502, 503, 504, 529}),
        r"\bloading|warming|starting up|not ready|temporarily unavailable|overloaded|no healthy upstream|at capacity",
    ),
    _Sign("key", frozenset({403}), r"api.?key|unauthori|authenticat|credential|forbidden|permission|access denied"),
    _Sign("content", frozenset({451}), r"content.{0,3}(?:policy|filter|management)|moderation|flagged|\bsafety"),
    _Sign("route", frozenset({404, 405, 410, 501})),
    _Sign("dialect", frozenset({406, 415, 426, 505})),
    _Sign("server", frozenset(range(500, 600))),
)


def kind(status: int | None, code: str, message: str) -> RefusalName:
    """The kind of a refusal; `code` is the taxonomy's, `message` the server's own words."""
    if status == 200 and code in ("malformed", "cut_stream", "empty"):
        return "dialect"
    words = f"{message} {code}".lower()
    for sign in _SIGNS:
        if status in sign.statuses or (sign.words is not None and re.search(sign.words, words)):
            return sign.kind
    if code in ("malformed", "cut_stream"):
        return "dialect"
    if code == "overloaded":
        return "loading"
    if code == "rate_limited":
        return "rate"
    return "server" if status == 200 and not re.search(r"validation|invalid", words) else "other"
