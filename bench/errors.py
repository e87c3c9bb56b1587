"""What can go wrong with a call or a load, as data: whatever counts, prices, advises or exits follows these tables.

docs/metrics.md has the same tables for people, and a test holds the two together.
"""

from dataclasses import dataclass
from typing import Final, Literal

from bench.exit_codes import EXIT_INTERRUPTED, EXIT_NOT_TO_BE_TRUSTED, EXIT_OUT_OF_BUDGET


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One outcome of a planned call that is no success.

    `sent` is whether its request went out, `billed` whether an API charges it: `no`, as its `usage` says, or `unknown`;
    None and `unknown` where that depends. `counts_as` is its place in summary.json's `requests`. With `whole` the
    answer came to its end all the same, so that what the server counted of it holds.
    """

    code: str
    sent: bool | None
    billed: Literal["no", "usage", "unknown"]
    counts_as: Literal["failed", "dropped", "unfinished"]
    remedy: str
    whole: bool = False


_AGAIN = "run again, to the end"
_MORE_MONEY = "raise --max-usd, or ask for less"
_LOG = "the server's log may say why"
_IS_IT_THERE = "is the server running, did it end in mid-run?"
_MID_RUN = "did the server end in mid-run, or has a proxy a limit?"
_TAKES_NO_MORE = "the server takes no more: lower --rate or --concurrency"
_NOT_SUCH = "the server does not take such a request; a prompt or answer may be too long: --prompt-tokens"

NOT_REACHED: Final = "not_reached"

ERRORS: Final = {
    each.code: each
    for each in (
        ErrorCode("connect_refused", False, "no", "failed", _IS_IT_THERE),
        ErrorCode("connect_timeout", False, "no", "failed", "check the address and the firewall"),
        ErrorCode(
            "connect_failed",
            False,
            "no",
            "failed",
            "the message says what failed: --ca-file for a private authority",
        ),
        ErrorCode("timeout", True, "unknown", "failed", "offer less, or raise --timeout"),
        ErrorCode("stall", True, "unknown", "failed", "offer less, or raise --stall-timeout"),
        ErrorCode("reset", None, "unknown", "failed", _MID_RUN),
        ErrorCode("cut_stream", True, "unknown", "failed", _MID_RUN),
        ErrorCode("malformed", True, "unknown", "failed", "check --backend and --url"),
        ErrorCode(
            "ended_early",
            True,
            "usage",
            "failed",
            "`finish` in requests.parquet has the server's reason: a filter, a refusal, too few resources",
            whole=True,
        ),
        ErrorCode("too_large", True, "unknown", "failed", "raise --max-body where answers are that long"),
        ErrorCode("error_event", True, "no", "failed", _LOG),
        ErrorCode("overloaded", True, "no", "failed", "the server was overloaded: run again later, or with less load"),
        ErrorCode("rate_limited", True, "no", "failed", _TAKES_NO_MORE),
        ErrorCode("empty", True, "unknown", "failed", "the model ended at once, or a filter took the text", whole=True),
        ErrorCode("dropped", False, "no", "dropped", "that is the finding: the load is above capacity"),
        ErrorCode("budget", False, "no", "dropped", _MORE_MONEY),
        ErrorCode(NOT_REACHED, False, "no", "unfinished", "see what failed in the turns before"),
        ErrorCode("not_sent", False, "no", "unfinished", _IS_IT_THERE),
        ErrorCode("unfinished", None, "unknown", "unfinished", _AGAIN),
    )
}

STATUSES: Final = {
    400: _NOT_SUCH,
    401: "the key is wrong: set the backend's key variable again",
    402: "the account has no credit: add some, or use another key",
    403: "the key may not do this: use another one",
    404: "the server knows no such model or path: check --model and --url",
    413: "the request is too large: give --prompt-tokens",
    422: _NOT_SUCH,
    424: "the engine behind the router failed: see its log",
    429: _TAKES_NO_MORE,
    529: "the API was overloaded: run again later",
}
"""What helps against a status that is not 200, where it says more than that the server refused."""

RATE_LIMITED: Final = frozenset({"http_429", "rate_limited"})
"""Codes by which an API holds the load back."""


def error_code(code: str) -> ErrorCode:
    """What is known of a code: `http_<status>` is one for each status, and of another version's nothing is known."""
    if code.startswith("http_") and code[5:].isdigit():
        return ErrorCode(code, True, "no", "failed", STATUSES.get(int(code[5:]), _LOG))
    return ERRORS.get(code, ErrorCode(code, None, "unknown", "failed", _LOG))


def what_to_do(code: str) -> str:
    """Advice for an error code, as a clause."""
    return error_code(code).remedy


# --- why a server takes no request at all -----------------------------------------------------------------------------

RefusalName = Literal[
    "key", "quota", "rate", "model", "length", "route", "loading", "content", "certificate", "dialect", "server",
    "other",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class RefusalKind:
    """What a refusal of the request before the load is about; one that is `passing` may be gone at the next try."""

    name: RefusalName
    remedy: str
    passing: bool = False


REFUSALS: Final = {
    each.name: each
    for each in (
        RefusalKind("key", "set the backend's key variable ({key_variable}) or the header that the server wants its "
                    "key in (--header)"),
        RefusalKind("quota", "the account may spend no more there: add credit, or use another account's key"),
        RefusalKind("rate", "its limit is used up: try again later, or ask for a higher one", passing=True),
        RefusalKind("model", "check --model"),
        RefusalKind("length", "give --prompt-tokens or --output-tokens, or a server with a longer context"),
        RefusalKind("route", "the server has nothing there: check --url (the API's base URL) and --backend"),
        RefusalKind("loading", "it may still be loading: --ready-timeout 5m waits for it", passing=True),
        RefusalKind("content", "its filter refuses the scenario's prompts: use a deployment without one, or another "
                    "scenario"),
        RefusalKind("certificate", "check http or https in --url, --client-cert and --client-key"),
        RefusalKind("dialect", "it does not speak this dialect: check --backend and --url"),
        RefusalKind("server", _LOG, passing=True),
        RefusalKind("other", "the request cannot be worded in another way: see docs/backends.md for what each backend "
                    "sends"),
    )
}  # fmt: skip


# --- why a load stopped early --------------------------------------------------------------------------------------

INTERRUPTED: Final = "interrupted"
OUT_OF_BUDGET: Final = "the budget is spent"
DEARER: Final = "an answer cost more than its worst case"
SERVER_GONE: Final = "the server is gone"
KEY_REFUSED: Final = "the key was refused"


@dataclass(frozen=True, slots=True)
class StopReason:
    """Why a load ended before its plan did: what run.json's `stopped` begins with.

    `unsent` is the error code of the calls that it never came to; `exit_code` is that of the run.
    """

    begins: str
    exit_code: int
    remedy: str
    unsent: str = "unfinished"


STOP_REASONS: Final = (
    # The user wanted it to: Ctrl-C, a kill, Locust's page.
    StopReason(INTERRUPTED, EXIT_INTERRUPTED, _AGAIN),
    # No further request fitted under the cap.
    StopReason(OUT_OF_BUDGET, EXIT_OUT_OF_BUDGET, _MORE_MONEY, "budget"),
    # The server bills otherwise than the price list and its own count of a prompt let expect.
    StopReason(
        DEARER,
        EXIT_OUT_OF_BUDGET,
        "it counts prompts or bills otherwise than the price list says, so check --model and --url against it",
    ),
    # Nobody was there any more.
    StopReason(SERVER_GONE, EXIT_NOT_TO_BE_TRUSTED, _LOG, "not_sent"),
    # It would refuse every further call too.
    StopReason(KEY_REFUSED, EXIT_NOT_TO_BE_TRUSTED, "a key may have expired or been withdrawn in mid-run", "not_sent"),
)
_OTHER: Final = StopReason("", EXIT_NOT_TO_BE_TRUSTED, _AGAIN)


def stop_reason(stopped: str) -> StopReason:
    """The reason that a text of run.json begins with; a load that failed by itself has none of those named."""
    return next((reason for reason in STOP_REASONS if stopped.startswith(reason.begins)), _OTHER)
