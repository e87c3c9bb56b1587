"""Secrets out of what came over the wire, byte for byte: what is kept has the sizes that the reads had.

Strategy: nearly no answer repeats a secret, so what runs for every answer is a few passes of C over its bytes, which
must find something before the expression that knows every form of a secret is tried. A secret may be split over chunks
after any of its characters: the frames between chunks are taken out, and what is found is put back around them.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence

from bench.process.secrets import LEAST_SECRET_LENGTH, encoded_forms, secret_pattern
from bench.wire.http1 import Head, MalformedResponse, parse, parse_head

# The end of one chunk and the size of the next.
_FRAMES = re.compile(rb"\r\n[0-9a-fA-F]+(?:;[^\r\n]*)?\r\n")
_OF_FRAMES = b"\r\n0123456789abcdefABCDEF"
_LEAST_LEFT = 4


def blanker(secrets: Sequence[str]) -> Callable[[bytes], bytes] | None:
    """Give the function that puts a star in the place of every byte of a secret; None where there is none to hide."""
    known = tuple(secret for secret in secrets if len(secret) >= LEAST_SECRET_LENGTH)
    text = secret_pattern(known)
    if text is None:
        return None
    pattern = re.compile(text.encode("latin-1"))
    may_hold, holds = _filters(known)

    def blank(data: bytes) -> bytes:
        if (head := _head(data)) is not None and head.codings:
            unpacked = parse(data, [len(data)], [0]).body.data
            if holds(unpacked) and pattern.search(unpacked):
                # In a compressed body no byte can be changed for another: all of it goes.
                data = data[: head.length] + b"*" * (len(data) - head.length)
        if not may_hold(data.translate(None, _OF_FRAMES)):
            return data
        whole = _FRAMES.sub(b"", data)
        return _starred(data, [found.span() for found in pattern.finditer(whole)]) if holds(whole) else data

    return blank


def _head(data: bytes) -> Head | None:
    try:
        return parse_head(data)
    except MalformedResponse:
        return None  # what is behind it is no body, and nobody unpacks it


def _starred(data: bytes, spans: list[tuple[int, int]]) -> bytes:
    """`data` with stars at these places, which count its bytes without frames."""
    frames = [found.span() for found in _FRAMES.finditer(data)]
    before, taken = [0], [0]  # from so many bytes without frames on, so many bytes of frames lie before
    for start, end in frames:
        before.append(start - taken[-1])
        taken.append(taken[-1] + end - start)
    hidden = bytearray(data)
    for start, end in spans:
        for place in range(start, end):
            hidden[place + taken[bisect_right(before, place) - 1]] = ord("*")
    return bytes(hidden)


def _filters(secrets: tuple[str, ...]) -> tuple[Callable[[bytes], bool], Callable[[bytes], bool]]:
    """Give two that say no only where no secret is: of bytes without what frames are made of, and without frames."""
    plain = [form.encode("latin-1") for secret in secrets for form in (secret, *encoded_forms(secret))]
    left = [form.translate(None, _OF_FRAMES) for form in plain]
    characters = set("".join(secrets))
    codes = "|".join(sorted({form for c in characters for form in (f"{ord(c):02x}", f"{ord(c):02X}")})).encode()
    numbers = "|".join(sorted(f"{ord(c)}|x0*{ord(c):x}" for c in characters)).encode()
    # What begins an escape, and the escapes of a secret's own characters.
    escapes = [
        (b"\\u", re.compile(rb"\\u(?:00|\{0*)(?:%b)" % codes)),
        (b"\\x", re.compile(rb"\\x(?:%b)" % codes)),
        (b"\\U", re.compile(rb"\\U000000(?:%b)" % codes)),
        (b"%", re.compile(rb"%%(?:25)*(?:%b)" % codes)),
        (b"&#", re.compile(rb"(?i)&#0*(?:%b);" % numbers)),
        (b"&", re.compile(rb"(?i)&amp;(?:amp;)*(?:#0*(?:%b)|[a-z]+);" % numbers)),
    ]
    escaped = sorted(characters & set("/\"'\\"))
    escapes += [(f"\\{c}".encode(), re.compile(re.escape(f"\\{c}").encode())) for c in escaped]
    if characters & set('&<>"'):
        escapes.append((b"&", re.compile(rb"&[a-z]+;")))
    # A secret of hexadecimal digits has nothing left to be found by.
    always = any(len(form) < _LEAST_LEFT for form in left)

    def may_hold(bare: bytes) -> bool:
        # One byte is looked for at the speed of memory, two are not.
        return (
            always
            or any(form in bare for form in left)
            or any(start[:1] in bare and start in bare for start, _ in escapes)
        )

    def holds(whole: bytes) -> bool:
        return any(form in whole for form in plain) or any(
            start in whole and escape.search(whole) is not None for start, escape in escapes
        )

    return may_hold, holds
