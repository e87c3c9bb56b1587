"""What a TGI server says about itself before the load, the frame of its chat template, and how it counts prompts.

Where its documentation is silent, files of https://github.com/huggingface/text-generation-inference (3.3) are cited.
"""

import orjson

from backends.cold import http, openai
from backends.dialect import openai as openai_dialect
from backends.dialect import outgoing
from backends.dialect.errors import body_message
from backends.dialect.outside import known_id, known_limit, known_setting, known_word, lenient
from backends.dialect.tgi import SAMPLE_CONTENTS, SHAPES, frame_from, frame_of, framed, is_chat
from bench.types import Message, ServerFault, ServerInfo, Target, UserError


def preflight(target: Target) -> ServerInfo:
    """The contents of /info and, for the native route, the frame of the chat template: options["frame"], JSON of a
    `Frame`.

    A frame that `target.options` already has replaces the server's template. UserError if /info is not TGI's; a
    different model name is no error, because TGI serves its one model under any name.
    """
    answer = http.fetch(target, "/info")
    info = lenient(answer.data) if answer.status == 404 else http.parse(target, "/info", answer)
    if not isinstance(info, dict) or not {"model_id", "max_input_tokens", "max_total_tokens"} <= info.keys():
        raise UserError(f"{target.url} is not TGI (its /info is not TGI's); try --backend openai")
    model = known_id(info["model_id"]) or target.model
    notes = []
    if target.model != model and model not in target.aliases:
        notes.append(f"TGI serves {model!r} under any name, including {target.model!r}")
    if adapter := target.options.get("adapter"):
        # flash_causal_lm.py looks up adapters with the base model as the default.
        notes.append(f"if TGI does not know the adapter {adapter!r}, it silently serves the base model")
    options = {}
    if not is_chat(target):
        frame, template_notes = _template_frame(target)
        notes += template_notes
        options = {"frame": frame} if frame else {}
    return ServerInfo(
        name="text-generation-inference",
        version=known_word(info.get("version")),
        model=model,
        context_tokens=known_limit(info, "max_total_tokens"),
        max_prompt_tokens=known_limit(info, "max_input_tokens"),
        max_in_flight=known_limit(info, "max_concurrent_requests"),
        metrics_path="/metrics" if http.fetch(target, "/metrics").status == 200 else None,
        settings=known_setting({name: value for name, value in info.items() if name not in ("model_id", "version")}),
        options=options,
        notes=tuple(notes),
    )


def _template_frame(target: Target) -> tuple[str | None, list[str]]:
    """The frame to use, and notes about it."""
    refusals: list[str] = []

    def render(messages: tuple[Message, ...]) -> str | None:
        answer = http.fetch(
            target,
            "/chat_tokenize",
            {"messages": openai_dialect.chat_messages(outgoing.spoken(messages, target))},
            timeout_s=60,
        )
        value = lenient(answer.data)
        if answer.status == 200 and isinstance(value, dict) and isinstance(text := value.get("templated_text"), str):
            return text
        refusals.append(f"HTTP {answer.status}: {body_message(answer.data)}")
        return None

    frame = target.options.get("frame") or frame_from(render)
    why = f" ({refusals[-1]})" if refusals else ""
    if frame is None:
        return None, [f"no chat template available{why}; messages are sent as plain text, separated by blank lines"]
    notes = []
    if " ".join(SHAPES[-1]) not in orjson.loads(frame):
        notes.append(f"the chat template has no system role{why}; system text is put before the user's")
    return _without_second_start(target, frame), notes


def _without_second_start(target: Target, frame: str) -> str:
    """The frame without the template's start token, if TGI adds one to every text of the native route.

    lib.rs: `add_special_tokens` is true for /generate and /tokenize, false for the chat route, and cannot be set.
    """
    shapes: dict[str, list[str]] = orjson.loads(frame)
    text = framed((Message("user", SAMPLE_CONTENTS[0]),), shapes)
    try:
        tokens = openai.probe_json(target, "/tokenize", {"inputs": text})
    except ServerFault:  # it has no tokenizer; that is reported when prompts are counted, which then fails too
        tokens = None
    match tokens:
        case [{"id": added, "stop": 0}, {"id": first, "start": 0, "stop": int(end)}, *_] if added == first:
            # The offsets are in bytes (lib.rs: `encode`), although server.rs uses them on the tokens' text.
            start = text.encode()[:end].decode(errors="ignore")
            for pieces in shapes.values():
                pieces[0] = pieces[0].removeprefix(start)
    return orjson.dumps(shapes).decode()


def count_tokens(target: Target, messages: tuple[Message, ...]) -> int | None:
    """The prompt's length in the target's dialect, with template and special tokens: its `input_length`."""
    if is_chat(target):
        answer = openai.probe_json(
            target, "/chat_tokenize", {"messages": openai_dialect.chat_messages(outgoing.spoken(messages, target))}
        )
        tokens = answer.get("tokenize_response") if isinstance(answer, dict) else None
    else:
        tokens = openai.probe_json(target, "/tokenize", {"inputs": framed(messages, frame_of(target))})
    return len(tokens) if isinstance(tokens, list) else None
