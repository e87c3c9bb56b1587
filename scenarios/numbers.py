"""Numbers in a scenario file, written as on the command line."""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator

from bench import numeric


class Strict(BaseModel):
    """A mapping in a file; its numbers may be written as on the command line: 2k, 2e3, 70%."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _as_written(cls, value: Any, info: ValidationInfo) -> Any:
        kinds = leaves(cls.model_fields[info.field_name or ""].annotation)
        return _number(value, is_whole=int in kinds) if kinds & {int, float} else value


def leaves(kind: Any) -> set[Any]:
    """The types in a union."""
    return set[Any]().union(*map(leaves, get_args(kind))) if get_args(kind) else {kind}


def _number(value: Any, *, is_whole: bool) -> Any:
    """Text that is a number converted to it, also within lists and mappings; validated later by type."""
    if isinstance(value, list):
        return [_number(each, is_whole=is_whole) for each in value]
    if isinstance(value, dict):
        return {key: _number(each, is_whole=is_whole) for key, each in value.items()}
    if not isinstance(value, str | float):
        return value
    found = numeric.whole(str(value)) if is_whole else numeric.read(str(value))
    return value if found is None else found if is_whole else float(found)
