"""No form of a secret stays in what is kept of an answer, and nothing else of it changes."""

import base64
import gzip
import html
import json
import urllib.parse
import zlib
from collections.abc import Callable
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.process.secrets import LEAST_SECRET_LENGTH, blank, environment
from bench.wire.http1 import parse
from bench.wire.redact import blanker

KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=48)
FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda key: key,
    "json": lambda key: json.dumps(key)[1:-1],
    "slashes": lambda key: json.dumps(key)[1:-1].replace("/", "\\/"),
    "unicode": lambda key: "".join(f"\\u{ord(c):04X}" for c in key),
    "some unicode": lambda key: "".join(
        f"\\u{ord(c):04x}" if i % 3 else json.dumps(c)[1:-1] for i, c in enumerate(key)
    ),
    "twice": lambda key: json.dumps(json.dumps(key))[3:-3],
    "url": lambda key: urllib.parse.quote(key, safe=""),
    "url in full": lambda key: "".join(f"%{ord(c):02x}" for c in key),
    "url twice": lambda key: urllib.parse.quote(urllib.parse.quote(key, safe=""), safe=""),
    "html": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "html twice": lambda key: html.escape("".join(f"&#{ord(c)};" for c in key)),
    "code": lambda key: "".join(f"\\x{ord(c):02x}" for c in key),
    "code in braces": lambda key: "".join(f"\\u{{{ord(c):x}}}" for c in key),
    "long code": lambda key: "".join(f"\\U{ord(c):08X}" for c in key),
    "html in hexadecimal": lambda key: "".join(f"&#x{ord(c):x};" for c in key),
}
BASE64: dict[str, Callable[[str], str]] = {
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "basic": lambda key: base64.b64encode(b"user:" + key.encode()).decode(),
    "bearer": lambda key: base64.urlsafe_b64encode(b"Bearer " + key.encode() + b" and more").decode(),
}


def chunked(body: bytes, cuts: list[int]) -> bytes:
    """The body in chunks that begin at these places."""
    places = [0, *sorted({cut % len(body) for cut in cuts} - {0}), len(body)]
    pieces = (body[start:stop] for start, stop in pairwise(places))
    head = b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@settings(max_examples=150, deadline=None)
@given(key=KEYS, form=st.sampled_from(list(FORMS)), cuts=st.lists(st.integers(0, 400), max_size=60))
def test_a_key_is_starred_in_every_form_however_its_chunks_are_cut(key: str, form: str, cuts: list[int]) -> None:
    hide = blanker([key])
    assert hide is not None
    said = FORMS[form](key)
    body = b'{"error": "no: ' + said.encode() + b'"}'
    data = chunked(body, cuts)
    kept = hide(data)
    assert len(kept) == len(data)
    response = parse(kept, [len(kept)], [0])
    assert response.error is None and response.status == 403
    assert response.body.data == body.replace(said.encode(), b"*" * len(said))


@pytest.mark.parametrize("unit", ["\\", "\\/", "&amp;", "&#0", "%25", "sk-Ab/", "s", "&"])
def test_what_looks_like_the_beginning_of_a_key_is_not_looked_through_again_and_again(unit: str) -> None:
    data = unit * 200_000 + "\\u0073\\x73%73&#115;"  # a quadratic search takes hours
    hide = blanker(["sk-Ab/cdEf9gh"])
    assert hide is not None
    assert hide(b"HTTP/1.1 200 OK\r\n\r\n" + data.encode()).endswith(data.encode())
    assert blank(data, ["sk-Ab/cdEf9gh"]) == data


@settings(max_examples=100, deadline=None)
@given(key=KEYS, form=st.sampled_from(list(BASE64)), cuts=st.lists(st.integers(0, 400), max_size=60))
def test_nothing_that_tells_a_key_is_left_of_it_in_base64(key: str, form: str, cuts: list[int]) -> None:
    hide = blanker([key])
    assert hide is not None
    said = BASE64[form](key)
    kept = parse(hide(chunked(said.encode(), cuts)), [10**6], [0]).body.data.decode()
    assert len(kept) == len(said)
    assert sum(a == b for a, b in zip(kept, said, strict=True)) <= len(said) - 4 * (len(key) - 2) // 3 + 2


@settings(max_examples=150, deadline=None)
@given(key=KEYS, form=st.sampled_from([*FORMS, *BASE64]), around=st.text(max_size=40))
def test_text_loses_a_key_in_every_form_and_keeps_the_rest(key: str, form: str, around: str) -> None:
    said = (FORMS | BASE64)[form](key)
    shown = blank(f"<{said}>", [key])
    assert "(key)" in shown and said not in shown
    assert blank(around, ["~no-such-secret-in-any-text~"]) == around


@settings(max_examples=50, deadline=None)
@given(data=st.binary(max_size=300))
def test_bytes_without_a_key_stay_as_they_are(data: bytes) -> None:
    hide = blanker(["~no-such-secret-in-any-text~", "0123456789abcdef"])
    assert (hide is not None and hide(data) == data) or b"0123456789abcdef" in data


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_compressed_body_with_a_key_in_it_is_starred_whole_and_another_is_kept(coding: str) -> None:
    hide = blanker(["sk-very-secret"])
    assert hide is not None
    pack = gzip.compress if coding == "gzip" else zlib.compress
    for said, is_kept in ((b"no: sk-very-secret", False), (b"no: \\u0073k-very-secret", False), (b"no: else", True)):
        body = pack(said)
        head = b"HTTP/1.1 403 No\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (coding.encode(), len(body))
        assert hide(head + body) == head + (body if is_kept else b"*" * len(body))


@pytest.mark.parametrize(
    "line",
    [
        *("Content-Encoding : gzip", "content-encoding:\r\n gzip", "Content-Encoding: identity,\r\n\tgzip"),
        *("Transfer-Encoding:gzip", "Content-Encoding: gzip;q=1", "X: y\nContent-Encoding: gzip"),
    ],
)
@pytest.mark.parametrize("end", ["\r\n", "\n"])
def test_whatever_head_says_that_a_body_is_compressed_a_key_in_it_is_starred(line: str, end: str) -> None:
    hide = blanker(["sk-very-secret"])
    assert hide is not None
    head = f"HTTP/1.1 403 No{end}{line}{end}{end}".encode()
    body = gzip.compress(b"no: sk-very-secret")
    assert parse(head + body, [len(head + body)], [0]).body.data == b"no: sk-very-secret"
    assert hide(head + body) == head + b"*" * len(body)


def test_a_body_that_only_speaks_of_compression_loses_the_key_and_nothing_else() -> None:
    hide = blanker(["sk-very-secret"])
    assert hide is not None
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n"
    said = b"\r\nContent-Encoding: gzip\r\n%b is none"
    assert hide(head + said % b"sk-very-secret") == head + said % (b"*" * 14)


@cache
def hiding(key: str) -> Callable[[bytes], bytes]:
    """What hides the key, which takes far longer to make than to use."""
    hide = blanker([key])
    assert hide is not None
    return hide


@pytest.mark.parametrize("form", list(FORMS))
def test_a_key_goes_whole_whatever_it_ends_with(form: str) -> None:
    for last in map(chr, range(0x21, 0x7F)):
        hide = hiding(key := f"0000000{last}")
        said = FORMS[form](key).encode()
        assert hide(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n<%b>" % (len(said) + 2, said)).endswith(
            b"\r\n\r\n<%b>" % (b"*" * len(said))
        ), last


@settings(max_examples=100, deadline=None)
@given(key=KEYS, before=st.text(max_size=9), end=st.sampled_from(["", "'", "…", "')"]), draw=st.data())
def test_the_beginning_of_a_key_at_the_end_of_a_shortened_text_goes_too(
    key: str, before: str, end: str, draw: st.DataObject
) -> None:
    shown = blank(f"{before}{key[: draw.draw(st.integers(LEAST_SECRET_LENGTH, len(key)))]}{end}", [key])
    assert key[:LEAST_SECRET_LENGTH] not in shown
    assert "(key)" in shown


def test_a_word_too_short_for_a_secret_is_none() -> None:
    assert blanker(["EMPTY", "x"]) is None
    assert blank("EMPTY words", ["EMPTY"]) == "EMPTY words"


def test_what_we_start_is_not_given_variables_with_a_secret_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    monkeypatch.setenv("HEADER_OF_MINE", "Bearer sk-very-secret")
    left = environment(["sk-very-secret", ""])
    assert "PATH" in left and not {"OPENAI_API_KEY", "HEADER_OF_MINE"} & left.keys()
