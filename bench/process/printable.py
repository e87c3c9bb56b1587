"""What of a text from outside a terminal, a page or a report may be given: all of it, with nothing that acts.

Model names, error messages and headers come from servers. A terminal obeys ESC and the C1 controls (window titles,
links, the clipboard), bidirectional controls show another order than the bytes have, XML takes no control characters,
and half a surrogate pair cannot be written at all. Such characters are shown as JSON would escape them, so that a
JSON document stays the same document.
"""

import codecs
import unicodedata
from typing import Final

# Cc: C0 and C1 controls. Cf: bidirectional, tags and other invisible ones. Cs: half a pair. Zl, Zp: other line ends.
_ACTING: Final = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Line feeds and tabs, and what joins letters in many scripts and in emoji.
_KEPT: Final = {"\n", "\t", "\u200c", "\u200d"}
_SAME_IN_ASCII: Final = {
    "…": "...", "–": "-", "—": "-", "·": "*", "×": "x", "→": "->", "±": "+-", "≤": "<=", "≥": ">=", "≈": "~",
    "µ": "u", "’": "'", "“": '"', "”": '"', "\u00a0": " ",
}  # fmt: skip


def printable(text: str) -> str:
    """The same text, with every character that acts and is no letter shown as \\uXXXX. Line feeds and tabs stay."""
    return "\n".join(line if line.isprintable() else _without_acts(line) for line in text.split("\n"))


def _without_acts(line: str) -> str:
    return "".join(_escaped(character) if _acts(character) else character for character in line)


def is_text(name: str) -> bool:
    """Whether a name of a file can be written down: bytes that are no UTF-8 arrive as halves of surrogate pairs."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _acts(character: str) -> bool:
    if character in _KEPT:
        return False
    code = ord(character)
    nothing = code & 0xFFFE == 0xFFFE or 0xFDD0 <= code <= 0xFDEF
    return nothing or unicodedata.category(character) in _ACTING


def _escaped(character: str) -> str:
    code = ord(character)
    if code < 0x10000:
        return f"\\u{code:04x}"
    code -= 0x10000
    return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"


def _in_another_encoding(problem: UnicodeError) -> tuple[str, int]:
    """Write what an encoding lacks in the letters that it has."""
    if not isinstance(problem, UnicodeEncodeError):
        raise problem
    lacking = problem.object[problem.start : problem.end]
    return "".join(_SAME_IN_ASCII.get(character) or _escaped(character) for character in lacking), problem.end


ENCODING_ERRORS: Final = "bench.process.printable"
"""How streams treat what their encoding lacks: the name to give as `errors`."""
codecs.register_error(ENCODING_ERRORS, _in_another_encoding)
