"""JSON as servers send it, right or wrong."""

import json
from typing import Any

import orjson


def lenient(data: bytes) -> Any:
    """The JSON value in `data`, or `data` itself where it is no JSON.

    orjson refuses what models make servers send (invalid UTF-8, half of a surrogate pair, NaN); the standard
    library's parser takes it, bad bytes replaced.
    """
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(data.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return data
