"""What a server's error says, in one short line fit for a record: no line breaks, no keys."""

import json
import re
from typing import Any

from backends._json import lenient

Error = tuple[str, str]
"""(code of the taxonomy, message)."""

LIMIT = 200
KEY = re.compile(r"(?i)(\bbearer +|\b(?:sk|pk|hf|gsk|xai|key)[-_])[\w.*-]{6,}")
MARKUP = re.compile(r"<(style|script)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)


def error_message(error: Any) -> str:
    """The message of an error in any of the servers' shapes: a string, or one nested under the usual names."""
    if isinstance(error, dict):
        for name in ("error", "message", "detail", "msg"):
            if error.get(name):
                return error_message(error[name])
    if isinstance(error, list) and error:
        return error_message(error[0])
    return one_line(error if isinstance(error, str) else json.dumps(error, ensure_ascii=False))


def body_message(data: bytes) -> str:
    """The message in the body of a failed response, be it JSON, a web page or plain text."""
    value = lenient(data)
    if isinstance(value, bytes):
        return one_line(MARKUP.sub(" ", value.decode("utf-8", "replace")))
    return error_message(value)


def named_message(data: bytes) -> str:
    """The same, after the kind of error that it names, where it names one: "overloaded_error: Overloaded"."""
    value = lenient(data)
    error = value.get("error") if isinstance(value, dict) else None
    kind = error.get("type") if isinstance(error, dict) else None
    return one_line(f"{kind}: {body_message(data)}") if kind else body_message(data)


def stream_error(kind: str, message: str) -> tuple[str, str]:
    """The code and message of an error inside a 200, from what the server calls its kind.

    Codes: overloaded; rate_limited; error_event for every other kind.
    """
    said = one_line(f"{kind}: {message}" if kind else message)
    if "overloaded" in kind:
        return "overloaded", said
    if "rate_limit" in kind:
        return "rate_limited", said
    return "error_event", said


def one_line(text: str) -> str:
    """`text` on one line of at most 200 characters, with whatever looks like a key taken out."""
    line = KEY.sub(r"\1…", " ".join(text.split()))
    return line if len(line) <= LIMIT else line[: LIMIT - 1] + "…"


def verdict(
    error: Error | None, data: bytes, *, complete: bool, arrivals: int, ending: str, finish: str | None
) -> Error | None:
    """What is wrong with an answer in a 200: an error it holds, or that it is empty, or cut before its `ending`."""
    if error:
        return error
    if not data.strip():
        return "empty", "the response had no body"
    if not complete:
        return "cut_stream", f"ended without {ending} after {arrivals} arrivals of output"
    if not arrivals:
        why = f" ({finish})" if finish else ""
        return "empty", f"the answer was complete{why} but held no model output"
    return None
