"""An image beside the text of a prompt, which each dialect encodes differently.

It comes last: the text before it differs in every request, so that no prefix cache can have seen the image either.
"""

from collections.abc import Callable, Sequence
from typing import Any

from bench.types import Image

Parts = Callable[[str, Image], list[dict[str, Any]]]


def beside(messages: Sequence[dict[str, Any]], image: Image | None, parts: Parts) -> list[dict[str, Any]]:
    """Chat messages with the image in the last of them, which is the user's."""
    if image is None:
        return list(messages)
    *before, last = messages
    return [*before, {**last, "content": parts(last["content"], image)}]


def for_chat(text: str, image: Image) -> list[dict[str, Any]]:
    """The parts of chat completions."""
    return [{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": _data_url(image)}}]


def for_responses(text: str, image: Image) -> list[dict[str, Any]]:
    """Those of the Responses API."""
    return [{"type": "input_text", "text": text}, {"type": "input_image", "image_url": _data_url(image)}]


def for_messages(text: str, image: Image) -> list[dict[str, Any]]:
    """Those of the Messages API."""
    source = {"type": "base64", "media_type": image.media_type, "data": image.base64}
    return [{"type": "text", "text": text}, {"type": "image", "source": source}]


def _data_url(image: Image) -> str:
    return f"data:{image.media_type};base64,{image.base64}"
