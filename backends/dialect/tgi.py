"""Text Generation Inference: its native stream, /generate_stream, or its OpenAI dialect.

The API is described in https://huggingface.github.io/text-generation-inference; where that says nothing, files of
https://github.com/huggingface/text-generation-inference (3.3) are named.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from backends.dialect import openai, outgoing
from backends.dialect.answer import Answer, read
from backends.dialect.errors import event_error
from backends.dialect.forms import by_form
from backends.dialect.outside import count, encodable, known_count
from bench.types import Body, Call, HttpRequest, Message, Render, Reply, Target, Usage

GENERATE = "/generate_stream"
GENERATE_WHOLE = "/generate"
# No string in JSON contains an unescaped quotation mark, so these bytes can only be TGI's own fields.
NATIVE = re.compile(rb'"token": ?\{|"error_type":|"generated_text":')
Frame = Mapping[str, Sequence[str]]
"""The chat template's text around the contents of messages, by their roles ("system user"): n + 1 pieces for n."""
Roles = tuple[Literal["system", "user"], ...]
SHAPES: tuple[Roles, ...] = (("user",), ("system", "user"))
# Each shape is rendered with two different contents, to detect a template that depends on them.
SAMPLE_CONTENTS = ("one more tale of the sea", "Seven short words")


def request(call: Call, target: Target) -> HttpRequest:
    """The call as a stream in the target's dialect, with its adapter."""
    adapter = outgoing.adapter_of(call, target)
    if is_chat(target):
        # lib.rs takes the model for an adapter's name, and serves the base model for any that it does not know.
        return openai.chat_request(call, target, {"model": adapter} if adapter else {})
    parameters: dict[str, Any] = {"max_new_tokens": call.max_tokens, "details": True, **_sampling(target, call.seed)}
    if adapter:
        parameters["adapter_id"] = adapter
    payload = {"inputs": framed(call.messages, frame_of(target)), "parameters": parameters}
    route = GENERATE if outgoing.is_streamed(target) else GENERATE_WHOLE
    return outgoing.post(target, route, (*outgoing.usual(target), *outgoing.bearer(target)), payload)


def _sampling(target: Target, seed: int) -> dict[str, Any]:
    """Sampling fields: TGI refuses a temperature of 0 and a top_p of 1, and either one turns sampling on."""
    fields = outgoing.sampling(target, seed)
    heat, share = fields.pop("temperature", None), fields.pop("top_p", 1)
    if heat == 0:
        return {"do_sample": False, **fields}
    asked = {"temperature": heat, "top_p": share if share < 1 else None}
    return ({} if heat is None else {"do_sample": True}) | {k: v for k, v in asked.items() if v is not None} | fields


def is_chat(target: Target) -> bool:
    return target.options.get("dialect") == "chat"


def frame_of(target: Target) -> Frame:
    frame: Frame = orjson.loads(target.options.get("frame", "{}"))
    return frame


def framed(messages: Sequence[Message], frame: Frame) -> str:
    """The messages as one text; a shape that the frame lacks is sent as a single user message."""
    contents = [message.text for message in messages]
    pieces = frame.get(" ".join(message.role for message in messages))
    if pieces is None:
        contents = [outgoing.plain_text(messages)]
        pieces = frame.get("user", ("", ""))
    return "".join(text for pair in zip(pieces, (*contents, ""), strict=True) for text in pair)


@dataclass(slots=True)
class _TgiAnswer(Answer):
    tokens: list[int | None] = field(default_factory=list)
    unseen_tokens: int = 0
    whole_text: str | None = None
    usage: Usage | None = None


@by_form
def decode(status: int, headers: Mapping[str, str], body: Body) -> Reply:
    """What the response says, in whichever of the two dialects it is; whatever had arrived before an error is kept.

    Error codes are those of `openai.decode`. A token without text, be it special or half of a character held back, is
    no arrival: it counts with the next one that brings text, and at the end, where the end token is, with the last
    event. So the arrivals' tokens add up to `generated_tokens`.
    """
    if status != 200 or not NATIVE.search(body.data):
        return openai.decode(status, headers, body)
    answer = read(_TgiAnswer(), body, _take)
    if not answer.streamed and answer.usage:
        # /generate reports the prompt's length only in its headers.
        answer.usage = answer.usage._replace(prompt_tokens=_header_count(headers, "x-prompt-tokens"))
    error = answer.fault(body, f"an event of {GENERATE}", "generated_text")
    deltas = answer.arrivals.with_tokens(answer.tokens)
    found = answer.reply(headers, answer.usage, error, "all" if answer.done else "nothing", deltas)
    return found if answer.whole_text is None else found._replace(text=encodable(answer.whole_text))


def _header_count(headers: Mapping[str, str], name: str) -> int | None:
    value = headers.get(name, "")
    return known_count({name: int(value)}, name) if value.isascii() and value.isdecimal() and len(value) < 16 else None


def _take(answer: _TgiAnswer, event: Any, t_ns: int) -> None:
    """Take in one event: a token, the last one also with the whole text and details; or an error."""
    if "error" in event:
        answer.error = event_error(event)
        return
    if "token" not in event and "generated_text" in event:
        _take_whole(answer, event, t_ns)
        return
    token = event["token"]
    text = "" if token.get("special") else token["text"]
    whole_text = event.get("generated_text")
    answer.unseen_tokens += 1
    # Not as the first arrival: an answer with only the end token has no output.
    if text or (whole_text is not None and answer.arrivals):
        answer.arrive(t_ns, "text", text)
        answer.tokens.append(answer.unseen_tokens)
        answer.unseen_tokens = 0
    if isinstance(whole_text, str):
        answer.whole_text, answer.done = whole_text, True
        if details := event.get("details"):
            answer.end(details.get("finish_reason"))
            answer.usage = Usage(count(details, "input_length"), output_tokens=count(details, "generated_tokens"))


def _take_whole(answer: _TgiAnswer, document: Any, t_ns: int) -> None:
    """Take in the answer of /generate."""
    answer.whole_text, answer.done, answer.streamed = document["generated_text"], True, False
    details = document.get("details") or {}
    answer.end(details.get("finish_reason"))
    tokens = count(details, "generated_tokens")
    if details:
        answer.usage = Usage(output_tokens=tokens)
    if answer.whole_text:
        answer.arrive(t_ns, "text", answer.whole_text)
        answer.tokens.append(tokens)


def frame_from(render: Render) -> str | None:
    """The frame of a chat template as JSON, found by rendering it; None if it cannot be separated from the contents.

    `render` gives the text for messages, None if the template refuses them. Without a frame for a system message, its
    text is put before the user's.
    """
    frame = {}
    for roles in SHAPES:
        first, second = (_pieces(render, roles, content) for content in SAMPLE_CONTENTS)
        if first is not None and first == second:
            frame[" ".join(roles)] = first
    return orjson.dumps(frame).decode() if "user" in frame else None


def _pieces(render: Render, roles: Roles, content: str) -> list[str] | None:
    """The text before, between and after the contents; None unless each occurs verbatim, once and in order."""
    messages = tuple(Message(role, f"{content} {i}") for i, role in enumerate(roles))
    rest = render(messages)
    if rest is None:
        return None
    pieces = []
    for message in messages:
        before, found, rest = rest.partition(message.text)
        if not found or message.text in rest:
            return None
        pieces.append(before)
    return [*pieces, rest]
