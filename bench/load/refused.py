"""When answers say that the key is refused, so that whatever else is sent will be refused too."""

from typing import Final

from bench.errors import KEY_REFUSED

_KEY_IS_WRONG: Final = ("http_401", "http_407")
# One answer of 403 may be about its prompt; so many with nothing between them are about who asks.
_FORBIDDEN: Final = 3


class KeyWatch:
    """Looks at how requests end; `key_variable` is named where the key is to blame."""

    def __init__(self, key_variable: str) -> None:
        self._key_variable = key_variable
        self.forbidden = 0

    def note(self, code: str | None) -> str | None:
        """Take the error of a request, None for a success; gives why to stop the load."""
        self.forbidden = self.forbidden + 1 if code == "http_403" else 0
        if code is None or (code not in _KEY_IS_WRONG and self.forbidden < _FORBIDDEN):
            return None
        return f"{KEY_REFUSED} (HTTP {code.removeprefix('http_')}); set {self._key_variable} again"
