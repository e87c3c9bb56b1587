"""Text Generation Inference: its native stream, /generate_stream, or the OpenAI dialect that it speaks as well.

The API is described in https://huggingface.github.io/text-generation-inference; where that says nothing, files of
https://github.com/huggingface/text-generation-inference (3.3) are named.
"""

import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson

from backends import _post, openai
from backends._adapting import adapt
from backends._answer import Answer, read
from backends._errors import body_message, event_error
from backends._json import lenient
from backends._outside import count, encodable, known_count, known_id, known_word
from backends.cold import asking as _cold
from bench.types import (
    Backend,
    Body,
    Call,
    HttpRequest,
    Launch,
    Message,
    Render,
    Reply,
    ServeOptions,
    ServerFault,
    ServerInfo,
    Target,
    Usage,
    UserError,
)

GENERATE = "/generate_stream"
LAUNCHER = "text-generation-launcher"
IMAGE = "ghcr.io/huggingface/text-generation-inference:3.3.7"
READY_TIMEOUT_S = 1800.0  # it may download the weights first
PRIVATE = {"USAGE_STATS": "off"}  # from a container TGI reports its use to its makers
OFFLINE = {"HF_HUB_OFFLINE": "1"}
QUANTIZATION_FLAGS = {
    "awq": {"--quantize": "awq"},
    "fp8": {"--quantize": "fp8"},
    "bf16": {"--dtype": "bfloat16"},
    "fp16": {"--dtype": "float16"},
}
# No string in JSON holds an unescaped quotation mark: these bytes are TGI's own fields.
NATIVE = re.compile(rb'"token": ?\{|"error_type":')
LEAST_CONCURRENT_REQUESTS = 128  # TGI's default limit; what is beyond it is refused and not queued

Frame = Mapping[str, Sequence[str]]
"""The chat template's text around the contents of messages, by their roles ("system user"): n + 1 pieces for n."""

Roles = tuple[Literal["system", "user"], ...]

SHAPES: tuple[Roles, ...] = (("user",), ("system", "user"))
# Each shape is rendered with two unlike contents, so that a template that looks into them is found out.
_CONTENTS = ("one more tale of the sea", "Seven short words")
_BETWEEN = "\n\n"


# --- the timed path's two ends: pure ----------------------------------------------------------------------------


def request(call: Call, target: Target) -> HttpRequest:
    """The call as a greedy stream in the dialect that `target.options` names, under the adapter that they name."""
    adapter = target.options.get("adapter")
    if _is_chat(target):
        # lib.rs takes the model for an adapter's name, and any that TGI does not know stands for the base model.
        return openai.chat_request(call, target, {"model": adapter} if adapter else {})
    parameters: dict[str, Any] = {
        "max_new_tokens": call.max_tokens,
        "details": True,
        "do_sample": False,
        "seed": call.seed,
    }
    if adapter:
        parameters["adapter_id"] = adapter
    payload = {"inputs": _framed(call.messages, _frame(target)), "parameters": parameters}
    return _post.post(target, GENERATE, (*_post.STREAMED, *_post.bearer(target)), payload)


def _is_chat(target: Target) -> bool:
    return target.options.get("dialect") == "chat"


def _frame(target: Target) -> Frame:
    frame: Frame = orjson.loads(target.options.get("frame", "{}"))
    return frame


def _framed(messages: Sequence[Message], frame: Frame) -> str:
    """The messages as one text; what the frame has no shape for goes in as one message of the user."""
    contents = [message.text for message in messages]
    pieces = frame.get(" ".join(message.role for message in messages))
    if pieces is None:
        contents = [_BETWEEN.join(contents)]
        pieces = frame.get("user", ("", ""))
    return "".join(text for pair in zip(pieces, (*contents, ""), strict=True) for text in pair)


@dataclass(slots=True)
class _Answer(Answer):
    tokens: list[int] = field(default_factory=list)
    unseen_tokens: int = 0
    whole_text: str | None = None
    usage: Usage | None = None


def decode(status: int, headers: Mapping[str, str], body: Body) -> Reply:
    """What the response says, in whichever of the two dialects it is; whatever had arrived before an error is kept.

    Error codes are those of `openai.decode`. A token without text, be it special or half of a character held back, is
    no arrival: it counts with the next one that brings text, and at the end, where the end token is, with the last
    event. So the arrivals' tokens add up to `generated_tokens`.
    """
    if status != 200 or not NATIVE.search(body.data):
        return openai.decode(status, headers, body)
    answer = read(_Answer(), body, _take)
    return Reply(
        text=answer.text() if answer.whole_text is None else encodable(answer.whole_text),
        deltas=[(t_ns, tokens, kind) for (t_ns, kind), tokens in zip(answer.arrivals, answer.tokens, strict=True)],
        usage=answer.usage,
        finish=answer.finish,
        error=answer.fault(body, f"an event of {GENERATE}", "generated_text"),
        unread=answer.unread,
        unread_example=answer.unread_example,
        encoding=openai.content_coding(headers),
        usage_settles="all" if answer.done else "nothing",
    )


def _take(answer: _Answer, event: Any, t_ns: int) -> None:
    """Take in one event: a token, and with the last one the whole text and its details; or an error."""
    if "error" in event:
        answer.error = event_error(event)
        return
    token = event["token"]
    text = "" if token.get("special") else token["text"]
    whole_text = event.get("generated_text")
    answer.unseen_tokens += 1
    # Not as the first arrival: an answer of nothing but the end token has no output.
    if text or (whole_text is not None and answer.arrivals):
        answer.arrive(t_ns, "text", text)
        answer.tokens.append(answer.unseen_tokens)
        answer.unseen_tokens = 0
    if isinstance(whole_text, str):
        answer.whole_text, answer.done = whole_text, True
        if details := event.get("details"):
            answer.end(details.get("finish_reason"))
            answer.usage = Usage(count(details, "input_length"), output_tokens=count(details, "generated_tokens"))


# --- the cold path ----------------------------------------------------------------------------------------------


def preflight(target: Target) -> ServerInfo:
    """What /info says, and for the native route the frame of the chat template: options["frame"], JSON of a `Frame`.

    A frame that `target.options` hold already is used in place of the server's own template. A UserError where /info
    is not TGI's; a model of another name is not, since TGI serves its one model under any.
    """
    answer = _cold.fetch(target, "/info")
    info = lenient(answer.data) if answer.status == 404 else _cold.parse(target, "/info", answer)
    if not isinstance(info, dict) or not {"model_id", "max_input_tokens", "max_total_tokens"} <= info.keys():
        raise UserError(f"{target.url} is not TGI: its /info says nothing of it; try --backend openai")
    model = known_id(info["model_id"]) or target.model
    notes = []
    if target.model != model and model not in target.aliases:
        notes.append(f"TGI serves {model!r} under any name, {target.model!r} too")
    if adapter := target.options.get("adapter"):
        # flash_causal_lm.py looks adapters up with the base model as the default.
        notes.append(f"where TGI does not know the adapter {adapter!r} it serves the base model and says nothing")
    options = {}
    if not _is_chat(target):
        frame, template_notes = _template_frame(target)
        notes += template_notes
        options = {"frame": frame} if frame else {}
    return ServerInfo(
        name="text-generation-inference",
        version=known_word(info.get("version")),
        model=model,
        context_tokens=known_count(info, "max_total_tokens"),
        max_prompt_tokens=known_count(info, "max_input_tokens"),
        max_in_flight=known_count(info, "max_concurrent_requests"),
        metrics_path="/metrics" if _cold.fetch(target, "/metrics").status == 200 else None,
        settings={name: value for name, value in info.items() if name not in ("model_id", "version")},
        options=options,
        notes=tuple(notes),
    )


def _template_frame(target: Target) -> tuple[str | None, list[str]]:
    """The frame to use, and what is to be said of it."""
    refusals: list[str] = []

    def render(messages: tuple[Message, ...]) -> str | None:
        answer = _cold.fetch(
            target, "/chat_tokenize", {"messages": openai.chat_messages(_post.spoken(messages, target))}, timeout_s=60
        )
        value = lenient(answer.data)
        if answer.status == 200 and isinstance(value, dict) and isinstance(text := value.get("templated_text"), str):
            return text
        refusals.append(f"HTTP {answer.status}: {body_message(answer.data)}")
        return None

    frame = target.options.get("frame") or frame_from(render)
    why = f" ({refusals[-1]})" if refusals else ""
    if frame is None:
        return None, [f"no chat template to be had{why}: messages are sent as bare text, a blank line between them"]
    notes = []
    if " ".join(SHAPES[-1]) not in orjson.loads(frame):
        notes.append(f"the chat template takes no system message{why}: its text goes in front of the user's")
    return _without_second_start(target, frame), notes


def frame_from(render: Render) -> str | None:
    """The frame of a chat template as JSON, found by rendering it; None where it cannot be told from the contents.

    `render` gives the text for messages, None where the template does not take them. Without a frame for a system
    message its text goes in front of the user's.
    """
    frame = {}
    for roles in SHAPES:
        first, second = (_pieces(render, roles, content) for content in _CONTENTS)
        if first is not None and first == second:
            frame[" ".join(roles)] = first
    return orjson.dumps(frame).decode() if "user" in frame else None


def _pieces(render: Render, roles: Roles, content: str) -> list[str] | None:
    """What stands before, between and after the contents; None unless each is there verbatim, once and in order."""
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


def _without_second_start(target: Target, frame: str) -> str:
    """The frame without the start token of the template, where TGI adds one to every text of the native route.

    lib.rs: `add_special_tokens` is true for /generate and /tokenize, false for the chat route, and cannot be set.
    """
    shapes: dict[str, list[str]] = orjson.loads(frame)
    text = _framed((Message("user", _CONTENTS[0]),), shapes)
    try:
        tokens = openai.probe_json(target, "/tokenize", {"inputs": text})
    except ServerFault:  # it has no tokenizer: said where prompts are counted, which then fails likewise
        tokens = None
    match tokens:
        case [{"id": added, "stop": 0}, {"id": first, "start": 0, "stop": int(end)}, *_] if added == first:
            # The offsets are of bytes (lib.rs: `encode`), whatever server.rs makes of them for the tokens' text.
            start = text.encode()[:end].decode(errors="ignore")
            for pieces in shapes.values():
                pieces[0] = pieces[0].removeprefix(start)
    return orjson.dumps(shapes).decode()


def count_tokens(target: Target, messages: tuple[Message, ...]) -> int | None:
    """The prompt's length in the target's dialect, template and special tokens included: as `input_length` will be."""
    if _is_chat(target):
        answer = openai.probe_json(
            target, "/chat_tokenize", {"messages": openai.chat_messages(_post.spoken(messages, target))}
        )
        tokens = answer.get("tokenize_response") if isinstance(answer, dict) else None
    else:
        tokens = openai.probe_json(target, "/tokenize", {"inputs": _framed(messages, _frame(target))})
    return len(tokens) if isinstance(tokens, list) else None


def serve(model: str, options: ServeOptions) -> Launch:
    """How to launch TGI by its own launcher, or by `options.command`; a UserError with the line for Docker otherwise.

    `model` is a folder or a repository that TGI downloads. Flags among `options.extra_args` take the place of ours.
    """
    if options.server or options.python:
        flag = "--server" if options.server else "--server-python"
        raise UserError(f"{flag}: TGI is launched by {LAUNCHER}; put that on PATH, or name it by --server-cmd")
    limits = {
        "--max-input-tokens": str(options.context_tokens - 1),  # the launcher wants it to be less than the total
        "--max-total-tokens": str(options.context_tokens),
        "--max-concurrent-requests": str(max(options.slots, LEAST_CONCURRENT_REQUESTS)),
        **QUANTIZATION_FLAGS.get(options.quantization or "", {}),
    }
    if not options.command and shutil.which(LAUNCHER) is None:
        raise UserError(
            f"no {LAUNCHER} on PATH: start TGI by `{_docker_line(model, limits, options.extra_args)}`, "
            "then give --url http://127.0.0.1:8080"
        )
    flags = {"--model-id": model, "--hostname": "127.0.0.1", "--port": "{port}", **limits}
    command = options.command or (LAUNCHER,)
    argv = (*command, *_flags(flags, options.extra_args), *options.extra_args)
    env = PRIVATE | (OFFLINE if Path(model).is_dir() else {})
    return Launch(argv, env, "/health", "TGI", READY_TIMEOUT_S)


def _flags(flags: Mapping[str, str], extra_args: Sequence[str]) -> tuple[str, ...]:
    """The flags that the user did not give: the launcher refuses one that comes twice."""
    given = {argument.partition("=")[0] for argument in extra_args}
    return tuple(word for name, value in flags.items() if name not in given for word in (name, value))


def _docker_line(model: str, limits: Mapping[str, str], extra_args: Sequence[str]) -> str:
    if Path(model).is_dir():
        volume, model, env = f"{Path(model).resolve()}:/model:ro", "/model", PRIVATE | OFFLINE
    else:
        volume, env = "tgi-data:/data", PRIVATE
    words = ["docker", "run", "--rm", "--gpus", "all", "--shm-size", "1g", "-p", "127.0.0.1:8080:80", "-v", volume]
    words += [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
    words += ["-e", "HF_TOKEN", IMAGE]
    return shlex.join([*words, *_flags({"--model-id": model, **limits}, extra_args), *extra_args])


BACKEND = Backend(
    name="tgi",
    description="Hugging Face's Text Generation Inference: its native stream, or its OpenAI dialect",
    request=request,
    decode=decode,
    preflight=preflight,
    count_tokens=count_tokens,
    serve=serve,
    adapt=adapt,
    weights="hf",
    frame=frame_from,
    options={"dialect": ("native", "chat"), "adapter": ("<name>",)},
    # server.rs adds to the histograms when a stream ends; its mean time per token has the prefill in it and is no ITL.
    gauges={
        "queue": "tgi_queue_size",
        "running": "tgi_batch_current_size",
        "generation_tokens_total": "tgi_request_generated_tokens_sum",
        "prompt_tokens_total": "tgi_request_input_length_sum",
        "server_queue_s": "tgi_request_queue_duration",
        "server_e2e_s": "tgi_request_duration",
    },
)
