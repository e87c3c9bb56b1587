"""What llama.cpp's server says about itself before the load, and how it counts prompts."""

from backends.cold import http, openai
from backends.dialect import openai as openai_dialect
from backends.dialect import outgoing
from backends.dialect.outside import known_id, known_limit, known_setting, known_word
from bench.types import Message, ServerInfo, Target, UserError


def preflight(target: Target) -> ServerInfo:
    """The contents of /props or, for llama-cpp-python's server, which lacks it, of the model list.

    The model's name is not checked, because these servers serve their one model under any name.
    """
    answer = http.fetch(target, "/props")
    if answer.status == 404:
        entry = next(iter(openai.served_models(target)), {"id": target.model})
        return ServerInfo("llama-cpp-python", None, entry["id"], openai.context_tokens(entry), None, {})
    props = http.parse(target, "/props", answer)
    if not isinstance(props, dict) or "default_generation_settings" not in props:
        raise UserError(f"{target.url} is not llama.cpp's server (its /props is not llama.cpp's); try --backend openai")
    build = known_word(props.get("build_info")) or "unknown"
    return ServerInfo(
        name="llama.cpp",
        version=None if "unknown" in build else build,
        model=known_id(props.get("model_alias")) or known_id(props.get("model_path")) or target.model,
        context_tokens=known_limit(props["default_generation_settings"], "n_ctx"),
        slots=known_limit(props, "total_slots"),
        metrics_path="/metrics" if http.fetch(target, "/metrics").status == 200 else None,
        settings=known_setting({name: props[name] for name in ("total_slots", "model_ftype") if name in props}),
    )


def count_tokens(target: Target, messages: tuple[Message, ...]) -> int | None:
    """The prompt's length, with template and special tokens: exactly its usage.prompt_tokens."""
    text = _templated(target, messages)
    if text is not None:
        # The template omits the leading token that the model's own tokenizer adds.
        asked = {"content": text, "add_special": True, "parse_special": True}
        tokenized = openai.probe_json(target, "/tokenize", asked)
        if isinstance(tokenized, dict) and isinstance(tokens := tokenized.get("tokens"), list):
            return len(tokens)
    return openai.count_tokens(target, messages)


def _templated(target: Target, messages: tuple[Message, ...]) -> str | None:
    """The prompt as one text; the completions route applies no template."""
    if target.options.get("route") == "completions":
        return outgoing.plain_text(messages)
    told = openai_dialect.chat_messages(outgoing.spoken(messages, target))
    templated = openai.probe_json(target, "/apply-template", {"messages": told, **outgoing.template_fields(target)})
    return templated.get("prompt") if isinstance(templated, dict) else None
