"""Values that a model's file gives, checked as they are read."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from bench.types import UserError

MOST: Final = 10**9
MOST_LAYERS: Final = 10_000
_LAYERS: Final = ("num_hidden_layers", "block_count")


class Sizes(NamedTuple):
    """The values of a config.json or of GGUF metadata, each checked as it is read. UserErrors name `source`."""

    values: Mapping[str, Any]
    source: str

    def need(self, key: str) -> int:
        """A required size."""
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
            raise UserError(f"{self.source}: expected a whole number above 0 as {key}, found {value!r}")
        if value > (MOST_LAYERS if key in _LAYERS else MOST):
            raise UserError(f"{self.source}: {key} of {value} is more than any model has")
        return value

    def get(self, key: str | None) -> int | None:
        """An optional size; 0 and null count as missing."""
        return self.need(key) if key is not None and self.values.get(key) else None

    def whole(self, key: str) -> int:
        """A required whole number that may be 0 or negative, such as the end of a span."""
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise UserError(f"{self.source}: expected a whole number as {key}, found {value!r}")
        return value

    def indices(self, key: str) -> set[int] | None:
        """A list of layers, as a set; None where the key is missing."""
        value = self.values.get(key)
        if value is None:
            return None
        return set(self._list(key, value, int))

    def kinds(self, key: str) -> list[str] | None:
        """The kind of each layer; None where the key is missing."""
        value = self.values.get(key)
        return None if value is None else self._list(key, value, str)

    def flags(self, key: str) -> list[int]:
        """A 0 or a 1 for each layer; empty where the key is missing."""
        return self._list(key, self.values.get(key) or [], int)

    def _list(self, key: str, value: Any, kind: type) -> list[Any]:
        if not isinstance(value, list) or not all(isinstance(each, kind) for each in value):
            raise UserError(f"{self.source}: expected a list, one {kind.__name__} a layer, as {key}, found {value!r}")
        return value

    def says(self, flag: bool | str) -> bool:
        """Whether a family has what the flag is about."""
        return bool(self.values.get(flag)) if isinstance(flag, str) else bool(flag)
