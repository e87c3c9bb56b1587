"""A program's output as an answer: the request to bench.server.bridge, and how its answer is read.

In mode `text` the answer is what the program wrote, each flush an arrival; in mode `lines` each line is JSON. How the
program ended follows at the end.
"""

from collections.abc import Mapping
from hashlib import sha256
from itertools import pairwise
from signal import Signals
from typing import Any

import orjson

from backends.dialect import outgoing
from backends.dialect.answer import Answer
from backends.dialect.errors import one_line
from backends.dialect.outside import UnsoundValue, count, known_fields, word
from bench.types import Body, Call, DeltaKind, HttpRequest, Reply, Target, Usage

END = b"\n\0end of the program "


def request(call: Call, target: Target) -> HttpRequest:
    """The call's values by the names that a command may use; the prompt is the messages' text, separated by blank
    lines.
    """
    sampling = {"temperature": "", "top_p": "", **outgoing.sampling(target, call.seed)}
    prompt_tokens = call.prompt_tokens or 0
    values = {
        "prompt": outgoing.plain_text(call.messages),
        "output_tokens": call.max_tokens,
        "prompt_tokens": prompt_tokens,
        "total_tokens": prompt_tokens + call.max_tokens,
        "seed": call.seed,
        **sampling,
        "model": target.model,
        "number": call.seq,
    }
    return HttpRequest("POST", "/run", outgoing.usual(target), orjson.dumps(values))


def decode(status: int, headers: Mapping[str, str], body: Body) -> Reply:
    """The program's output, and how it ended; output before a failure is kept.

    Error codes: error_event, it could not be started, was killed or had an exit code other than 0; cut_stream, its end
    is not reported; empty, it wrote nothing; malformed, a line of a kept program is not JSON.
    """
    if status != 200:
        return Reply("", [], None, None, (f"http_{status}", ""))
    data, found, record = body.data.rpartition(END)
    how = _how(record) if found else None
    if how is None:
        data = body.data
    answer = Answer()
    usage: Usage | None = None
    tokens: list[int | None] = []
    try:
        if headers.get("x-answer") == "lines":
            usage = _take_lines(answer, tokens, data, body)
        else:
            _take_text(answer, headers, data, body)
            tokens = [None] * len(answer.arrivals)
        if how is not None:
            usage = _told(how) or usage
    except UnsoundValue as problem:
        answer.error = answer.error or ("malformed", str(problem))
    error = answer.error or _failure(how, len(answer.arrivals))
    answer.finish = answer.finish or (None if how is None or error else "completed")
    deltas = answer.arrivals.with_tokens(tokens)
    return answer.reply(headers, usage, error, "all" if usage is not None and error is None else "nothing", deltas)


def _take_text(answer: Answer, headers: Mapping[str, str], data: bytes, body: Body) -> None:
    """Every read is an arrival, except those in which a program first repeats its prompt."""
    begin = _echoed(headers, data)
    answer.pieces.append(data[begin:].decode("utf-8", "replace"))
    ends = [begin, *(min(end, len(data)) for end in body.ends)]
    kind: DeltaKind
    for (before, end), t_ns in zip(pairwise(ends), body.t_ns, strict=True):
        if end <= max(before, begin):
            continue
        piece = data[max(before, begin) : end]
        answer.begun = answer.begun or not piece.isspace()
        kind = "text" if answer.begun else "blank"
        answer.arrivals.add(t_ns, kind)


def _echoed(headers: Mapping[str, str], data: bytes) -> int:
    """How many of the first bytes repeat the prompt, including leading blanks; 0 if they do not."""
    size = headers.get("x-prompt-bytes", "")
    if not (size.isdecimal() and len(size) < 12 and int(size)):
        return 0
    begin = len(data) - len(data.lstrip(b" \r\n"))
    for first in {begin, 0}:
        end = first + int(size)
        if end <= len(data) and sha256(data[first:end]).hexdigest() == headers.get("x-prompt-sha256"):
            return end
    return 0


def _take_lines(answer: Answer, tokens: list[int | None], data: bytes, body: Body) -> Usage | None:
    """Lines of JSON: a text, an object with text and tokens, and at the end null or an object without text."""
    position, read = 0, 0
    for line in data.split(b"\n"):
        position += len(line) + 1
        while read < len(body.ends) - 1 and body.ends[read] < min(position, len(data)):
            read += 1
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError:
            answer.error = "malformed", one_line(f"not a line of JSON: {line[:200].decode('utf-8', 'replace')}")
            return None
        if value is None:
            return None
        piece = value if isinstance(value, str) else known_fields(value).get("text")
        if piece is None:
            return _last(answer, value)
        if type(piece) is not str:
            raise UnsoundValue("expected text")
        if piece:
            answer.arrive(body.t_ns[read], "text", piece)
            tokens.append(count(value, "tokens"))
    return None


def _last(answer: Answer, value: Any) -> Usage | None:
    fields = known_fields(value)
    if error := fields.get("error"):
        answer.error = "error_event", one_line(str(error))
    answer.finish = word(fields.get("finish"), "finish")
    return _usage(fields)


def _how(record: bytes) -> Mapping[str, Any] | None:
    try:
        how = orjson.loads(record)
    except orjson.JSONDecodeError:
        return None
    return how if isinstance(how, dict) else None


def _told(how: Mapping[str, Any]) -> Usage | None:
    """The counts that a program may print as its last line on standard error."""
    last = str(how.get("stderr", "")).strip().rpartition("\n")[2]
    try:
        fields = known_fields(orjson.loads(last))
    except orjson.JSONDecodeError:
        return None
    return _usage(fields)


def _usage(fields: Mapping[str, Any]) -> Usage | None:
    found = Usage(count(fields, "prompt_tokens"), output_tokens=count(fields, "output_tokens"))
    return None if found == Usage() else found


def _failure(how: Mapping[str, Any] | None, arrivals: int) -> tuple[str, str] | None:
    if how is None:
        return "cut_stream", f"the program's end was not reported after {arrivals} arrivals of output"
    if why := how.get("failed"):
        return "error_event", one_line(f"the program could not be run: {why}")
    if (code := how.get("exit")) != 0:
        last = str(how.get("stderr", "")).strip().rpartition("\n")[2]
        return "error_event", one_line(f"the program ended: {_ending(code)}{f' ({last})' if last else ''}")
    return None if arrivals else ("empty", "the program succeeded but wrote nothing")


def _ending(code: Any) -> str:
    try:
        return f"killed by {Signals(-code).name}" if code < 0 else f"exit code {code}"
    except (TypeError, ValueError):
        return f"exit code {code}"
