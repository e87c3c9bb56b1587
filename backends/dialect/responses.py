"""OpenAI's Responses API, as implemented by OpenAI, vLLM and llama.cpp's server, besides OpenAI's other dialects.

The stream is that of https://platform.openai.com/docs/api-reference/responses-streaming. A delta is model output only:
of the many events about items and parts, those with text, reasoning or a tool call count.
"""

import re
from collections.abc import Mapping
from typing import Any

from backends.dialect import openai, usages
from backends.dialect.answer import Answer, read
from backends.dialect.errors import event_error
from backends.dialect.forms import by_form
from backends.dialect.outside import UnsoundValue
from backends.dialect.sse import DONE
from bench.types import Body, DeltaKind, Reply

# No string in JSON contains an unescaped quotation mark, so these bytes can only be the dialect's own fields.
_OURS = re.compile(rb'"type": ?"response\.|"object": ?"response"')
_WITHIN = 4096  # how many bytes of an answer are searched for one of them
_DELTAS: Mapping[str, DeltaKind] = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "text",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.function_call_arguments.delta": "tool",
}
_ENDS = frozenset({"response.completed", "response.incomplete", "response.failed"})
_PARTS: Mapping[str, DeltaKind] = {
    "output_text": "text",
    "refusal": "text",
    "reasoning_text": "reasoning",
    "summary_text": "reasoning",
}


@by_form
def decode(status: int, headers: Mapping[str, str], body: Body) -> Reply:
    """What the response says, in this dialect or the other ones of OpenAI's; error codes are those of `openai.decode`.

    Why an answer ended is the reason of an incomplete one (`max_output_tokens`), else `completed`.
    """
    if status != 200 or not _OURS.search(body.data, 0, _WITHIN):
        return openai.decode(status, headers, body)
    answer = read(openai.OpenAIAnswer(), body, _take)
    usage = None
    try:
        usage, _ = usages.together(answer.usages)
    except UnsoundValue as problem:
        answer.error = answer.error or ("malformed", str(problem))
    error = answer.fault(body, "an event of the Responses API", "response.completed")
    settles = usage is not None and answer.done and error is None
    return answer.reply(headers, usage, error, "all" if settles else "nothing")


def _take(answer: openai.OpenAIAnswer, event: Any, t_ns: int) -> None:
    """Take in one event, or the whole response of an answer that is not a stream."""
    if event == DONE:
        return
    kind = event.get("type")
    if (what := _DELTAS.get(kind)) is not None:
        if event["delta"]:
            answer.arrive(t_ns, what, event["delta"])
    elif kind == "response.output_item.added":
        _take_call(answer, event["item"], t_ns)
    elif kind in _ENDS:
        _take_end(answer, event["response"])
    elif kind == "error" or event.get("error"):
        answer.error = event_error(event)
    elif event.get("object") == "response":
        answer.streamed = False
        for item in event.get("output") or ():
            _take_item(answer, item, t_ns)
        _take_end(answer, event)


def _take_end(answer: openai.OpenAIAnswer, response: Mapping[str, Any]) -> None:
    answer.done = True
    if response.get("error"):
        answer.error = event_error(response)
    why = response.get("incomplete_details") or {}
    answer.end(why.get("reason") or response.get("status"))
    if usage := response.get("usage"):
        answer.usages.append((len(answer.arrivals), usage))


def _take_call(answer: Answer, item: Mapping[str, Any], t_ns: int) -> None:
    """A tool call is output from its name on, because it may have no arguments."""
    if item.get("type") == "function_call" and (name := item.get("name")):
        answer.arrive(t_ns, "tool", name)


def _take_item(answer: Answer, item: Mapping[str, Any], t_ns: int) -> None:
    _take_call(answer, item, t_ns)
    for part in (*(item.get("summary") or ()), *(item.get("content") or ())):
        text = part.get("text") or part.get("refusal")
        if text and (kind := _PARTS.get(part.get("type"))) is not None:
            answer.arrive(t_ns, kind, text)
