"""The API that TGI publishes, tests/fixtures/tgi/openapi.json, as something to hold requests and answers to."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from openapi_schema_validator import OAS30Validator

OPENAPI = Path(__file__).parents[1] / "fixtures" / "tgi" / "openapi.json"
Schema = dict[str, Any]


def request_schema(path: str) -> Schema:
    schema: Schema = _document()["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
    return schema


def answer_schema(method: str, path: str, status: int, kind: str) -> Schema | None:
    """The schema of an answer, None where the API says nothing of it; errors are listed under one kind of content."""
    response = _document()["paths"].get(path, {}).get(method, {}).get("responses", {}).get(str(status), {})
    contents: dict[str, Any] = response.get("content", {})
    schema: Schema | None = contents.get(kind, next(iter(contents.values()), {})).get("schema")
    return schema


def violations(schema: Schema | None, value: Any) -> list[str]:
    """What in `value` is not as the schema wants it; any value is a violation where there is none."""
    if schema is None:
        return [f"the API does not describe this: {value}"]
    validator = OAS30Validator({**schema, "components": _document()["components"]})
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def unknown_fields(name: str, value: dict[str, Any]) -> set[str]:
    """Fields that the schema of this name lacks: TGI ignores them, so that a misspelt one would not be noticed."""
    known: Schema = _document()["components"]["schemas"][name]["properties"]
    return value.keys() - known.keys()


@cache
def _document() -> dict[str, Any]:
    document: dict[str, Any] = _with_nulls(json.loads(OPENAPI.read_text()))
    return document


def _with_nulls(schema: Any) -> Any:
    """`nullable` beside `allOf` says nothing in OpenAPI 3.0; TGI's generator means null by it, and TGI sends null."""
    if isinstance(schema, list):
        return [_with_nulls(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: _with_nulls(value) for name, value in schema.items()}
    if schema.get("nullable") and "allOf" in schema:
        null = {"type": "object", "nullable": True, "enum": [None]}
        return {"anyOf": [{"allOf": schema["allOf"]}, null]}
    return schema
