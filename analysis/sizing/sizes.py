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
        value = None if key is None else self.values.get(key)
        return None if key is None or value is None or (value == 0 and type(value) is int) else self.need(key)

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
        value = self.values.get(flag) if isinstance(flag, str) else flag
        if value not in (None, False, True):
            raise UserError(f"{self.source}: expected true or false as {flag}, found {value!r}")
        return bool(value)

    def kv_heads(self, key: str, heads_key: str) -> int:
        """How many heads of keys and values there are: as many as others where nothing is said."""
        heads = self.need(heads_key)
        kv_heads = heads if self.values.get(key) is None else self.need(key)
        if heads % kv_heads:
            raise UserError(f"{self.source}: {heads_key} of {heads} cannot share {key} of {kv_heads}")
        return kv_heads

    def head_dim(self, key: str | None, hidden_key: str, heads_key: str) -> int:
        """How wide a head is: its share of the hidden size where nothing is said."""
        if given := self.get(key):
            return given
        hidden, heads = self.need(hidden_key), self.need(heads_key)
        if hidden % heads:
            raise UserError(f"{self.source}: {heads_key} of {heads} cannot share a {hidden_key} of {hidden}")
        return hidden // heads

    def taken_experts(self, key: str, experts: int) -> int:
        """How many of its experts a token takes."""
        taken = self.need(key)
        if taken > experts:
            raise UserError(f"{self.source}: {key} of {taken} is more than the {experts} experts there are")
        return taken
