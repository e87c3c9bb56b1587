"""Keys and passwords kept out of whatever is shown or written: found in every form a server may give back."""

import os
import re
from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache

LEAST_SECRET_LENGTH = 8
"""A shorter key is a placeholder for servers that want any ("EMPTY", "x"), and may be part of any word or answer."""


# Each escape of an escape doubles them; a run of any length would be gone through from each of its places.
_BACKSLASHES = r"(?:\\{1,16})"


def blank(text: str, secrets: Sequence[str]) -> str:
    """`text` with "(key)" in place of every secret, in whatever form a server or a shell may have given it back.

    So is the beginning of one that the text ends with: messages are shortened before they come here.
    """
    pattern = secret_pattern(tuple(secrets))
    return text if pattern is None else _without_beginning(re.sub(pattern, "(key)", text), secrets)


def _without_beginning(text: str, secrets: Sequence[str]) -> str:
    end = text.rstrip("'\"…)")
    for secret in secrets:
        for length in range(min(len(secret) - 1, len(end)), LEAST_SECRET_LENGTH - 1, -1):
            if end.endswith(secret[:length]):
                return f"{end[:-length]}(key){text[len(end) :]}"
    return text


def environment(secrets: Sequence[str]) -> dict[str, str]:
    """Our environment for a process that is to know none of the secrets: what it needs of them it is told."""
    known = [secret for secret in secrets if len(secret) >= LEAST_SECRET_LENGTH]
    return {name: value for name, value in os.environ.items() if not any(secret in value for secret in known)}


def without_userinfo(text: str) -> str:
    """`text` with "(key)" in place of a user and password before the host of a URL, however short they are."""
    return re.sub(r"(?i)(?<=://)[^/?#\s]*@", "(key)@", text)


@lru_cache(maxsize=64)
def secret_pattern(secrets: tuple[str, ...]) -> str | None:
    r"""A regular expression for the secrets as they are, and in JSON, a URL, HTML and base64; None for none.

    Every character may be escaped or not: `\/`, `\u002f`, `\x2f`, `%2F`, `&#47;`, and escaped again.
    """
    forms: list[str] = []
    for secret in sorted({one for one in secrets if len(one) >= LEAST_SECRET_LENGTH}, key=len, reverse=True):
        forms += ["".join(map(_any_form, secret)), *map(re.escape, encoded_forms(secret))]
    return "|".join(forms) or None


@lru_cache(maxsize=64)
def encoded_forms(secret: str) -> tuple[str, ...]:
    """The secret in base64, from each place in a longer text, without what its neighbours there decide."""
    data, forms = secret.encode("utf-8", "replace"), set()
    for shift in range(3):
        # Six bits a character: what holds bits of the bytes before, or of those after, may be any.
        whole = b64encode(bytes(shift) + data).decode().rstrip("=")
        inner = whole[-(-8 * shift // 6) : 8 * (shift + len(data)) // 6]
        forms |= {inner, inner.replace("+", "-").replace("/", "_")}
    return tuple(sorted(forms))


def _any_form(character: str) -> str:
    code = ord(character)
    hexadecimal = "".join(f"[{digit}{digit.upper()}]" for digit in f"{code:02x}")
    slashes = rf"{_BACKSLASHES}?" if character in "/\\\"'" else ""
    named = {"&": "|amp", "<": "|lt", ">": "|gt", '"': "|quot", "'": "|apos"}.get(character, "")
    in_code = rf"{_BACKSLASHES}(?:(?:u00|x|U000000){hexadecimal}|u\{{0{{0,6}}{hexadecimal}\}})"
    escaped = rf"{in_code}|%(?:25)*{hexadecimal}|&(?:amp;)*(?:#[xX]0*{hexadecimal}|#0*{code}{named});"
    # A character that begins one of its own escapes ends that escape only where the longer form is tried first.
    return f"(?:{escaped}|{slashes}{re.escape(character)})"
