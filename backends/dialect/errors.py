"""What a server's error says, in one short line fit for a record: no line breaks, no keys."""

import json
import re
from collections.abc import Mapping
from typing import Any

from backends.dialect import outside
from backends.dialect.outside import lenient, shown
from bench import endings

# Where error messages are, OpenAI's place first: FastAPI, Zhipu, Baidu, MiniMax, Cloudflare, AWS, Apigee.
WORDS = (
    *("error", "message", "detail", "msg", "errors", "error_msg", "error_message", "status_msg", "base_resp"),
    *("Error", "Message", "fault", "faultstring"),
)
# Fields of errors that vendors send inside a 200 without OpenAI's `error` field; no event of an answer has them.
OF_AN_ERROR = ("errors", "error_msg", "error_message", "detail", "Error", "fault")
Error = tuple[str, str]
"""(code of the taxonomy, message)."""

MOST_READ_BYTES = 64 << 10  # of a failed response; what fits in a line comes long before
DEEPEST = 20
KEY = re.compile(r"(?i)(\bbearer +|\b(?:sk|pk|hf|gsk|xai|key)[-_])[\w.*-]{6,}")


def error_message(error: Any) -> str:
    """The message of an error in any server's shape: a string, or one nested under the usual names."""
    for _ in range(DEEPEST):
        if isinstance(error, dict):
            inner = next((error[name] for name in WORDS if error.get(name)), None)
        else:
            inner = error[0] if isinstance(error, list) and error else None
        if inner is None:
            break
        error = inner
    if isinstance(error, str):
        return one_line(error)
    try:
        return one_line(json.dumps(error, ensure_ascii=False))
    except RecursionError:
        return shown(error)


def body_message(data: bytes) -> str:
    """The message in the body of a failed response, which may be JSON, a web page or plain text."""
    value = lenient(data)
    if isinstance(value, bytes):
        return one_line(_without_markup(value[:MOST_READ_BYTES]))
    return error_message(value)


def named_message(data: bytes) -> str:
    """The same, preceded by the kind of error if it has one: "overloaded_error: Overloaded"."""
    value = lenient(data)
    kind = _kind(value.get("error")) if isinstance(value, dict) else ""
    return one_line(f"{kind}: {body_message(data)}") if kind else body_message(data)


def is_error(event: Mapping[str, Any]) -> bool:
    """Whether an event without output says, in any vendor's way, that there will be no answer."""
    if any(event.get(name) for name in OF_AN_ERROR) or "error" in (event.get("status"), event.get("type")):
        return True
    refused = event.get("base_resp")
    if isinstance(refused, dict):
        return bool(refused.get("status_code"))
    return bool(event.get("code")) and any(event.get(name) for name in ("message", "msg"))


def event_error(event: Mapping[str, Any]) -> Error:
    """The code and message of a stream's event, or a body with status 200, that is an error.

    Its kind precedes the message if the dialect makes it a part of that (Messages API, TGI's native route).
    """
    error, kind = event.get("error"), event.get("error_type")
    named = event.get("type") == "error" or bool(kind)
    kind = kind if isinstance(kind, str) else _kind(error)
    return stream_error(kind, error_message(event), _status(error or event), named=named)


def stream_error(kind: str, message: str, status: int | None = None, *, named: bool = True) -> Error:
    """The code and message of an error inside a 200, by its kind or the status that it stands for.

    Codes: overloaded; rate_limited; error_event for every other kind. `named`: the kind is a part of the message.
    """
    line = one_line(f"{kind}: {message}" if kind and named else message)
    # TGI says 429 of its own queue.
    if "overloaded" in kind or status in (503, 529) or (status == 429 and "overloaded" in message):
        return "overloaded", line
    if "rate_limit" in kind or status == 429:
        return "rate_limited", line
    return "error_event", line


def _kind(error: Any) -> str:
    if not isinstance(error, dict):
        return ""
    names = (error.get(name) for name in ("type", "code"))
    return next((name for name in names if name and isinstance(name, str)), "")


def _status(error: Any) -> int | None:
    if not isinstance(error, dict):
        return None
    statuses = (error.get(name) for name in ("http_status_code", "status_code", "status", "code"))
    codes = (re.fullmatch(r"([45]\d\d)(?:\.0)?", str(status)[:9], re.ASCII) for status in statuses)
    return next((int(found[1]) for found in codes if found), None)


def one_line(text: str) -> str:
    """`text` on one line of at most 200 printable characters, with anything that looks like a key removed."""
    return outside.one_line(KEY.sub(r"\1…", " ".join(text[:MOST_READ_BYTES].split())))


def _without_markup(page: bytes) -> str:
    """A web page's text. One look at each byte: no pattern that starts over at every `<`."""
    words: list[bytes] = []
    end = 0
    lower = page.lower()
    while (start := page.find(b"<", end)) >= 0 and (stop := page.find(b">", start)) >= 0:
        words.append(page[end:start])
        end = stop + 1
        if name := next((name for name in (b"style", b"script") if lower.startswith(name, start + 1)), None):
            closing = lower.find(b"</" + name, end)
            end = closing if closing >= 0 else len(page)
    return b" ".join([*words, page[end:]]).decode("utf-8", "replace")


def verdict(
    error: Error | None,
    data: bytes,
    *,
    complete: bool,
    arrivals: int,
    what: str,
    ending: str,
    finish: str | None,
    unread: str | None,
) -> Error | None:
    """What is wrong with an answer in a 200: an error in it, no output, or no `ending`.

    `unread` is the first of its events that was not `what` it should be, and was skipped.
    """
    if error:
        return error
    if not data or data.isspace():
        return "empty", "the response had no body"
    if unread and not arrivals:
        return "malformed", one_line(f"not {what}: {unread}")
    if not complete:
        besides = f"; could not read {unread}" if unread else ""
        return "cut_stream", one_line(f"ended without {ending} after {arrivals} arrivals of output{besides}")
    if not arrivals:
        why = f" ({finish})" if finish else ""
        return "empty", f"the answer was complete{why} but held no model output"
    if finish and not endings.is_sound(finish):
        return "ended_early", f"the server ended the answer early: {finish}"
    return None
