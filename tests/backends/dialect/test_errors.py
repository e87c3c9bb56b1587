from typing import Any

import pytest

from backends.dialect.errors import body_message, error_message, event_error, stream_error


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("overloaded_error", "overloaded"),
        ("overloaded", "overloaded"),
        ("rate_limit_error", "rate_limited"),
        ("api_error", "error_event"),
        ("generation", "error_event"),
    ],
)
def test_an_error_inside_a_stream_has_the_code_of_its_kind(kind: str, code: str) -> None:
    assert stream_error(kind, "so\nit is") == (code, f"{kind}: so it is")


def test_an_error_of_no_kind_keeps_its_message_without_keys() -> None:
    assert stream_error("", "key sk-abcdef123456 refused") == ("error_event", "key sk-… refused")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        ({"message": "slow", "type": "rate_limit_error"}, "rate_limited"),
        ({"message": "slow", "code": "rate_limit_exceeded"}, "rate_limited"),
        ({"message": "slow", "http_status_code": 429}, "rate_limited"),
        ({"message": "slow", "code": 429}, "rate_limited"),
        ({"message": "Model is overloaded", "http_status_code": 429}, "overloaded"),
        ({"message": "busy", "type": "overloaded_error"}, "overloaded"),
        ({"message": "busy", "code": 529}, "overloaded"),
        ({"message": "busy", "status": 503}, "overloaded"),
        ({"message": "boom", "code": 500}, "error_event"),
        ("boom", "error_event"),
        (["boom"], "error_event"),
        ({"message": "slow", "status": "429"}, "rate_limited"),
        ({"message": "busy", "code": 503.0}, "overloaded"),
        ({"code": True, "type": 5, "status": "1429"}, "error_event"),
    ],
)
def test_an_error_as_an_event_has_the_code_of_its_kind_or_status(error: Any, code: str) -> None:
    assert event_error({"error": error})[0] == code


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (b"<html><style>a { b: c }</style><h1>502 Bad\nGateway</h1></html>", "502 Bad Gateway"),
        (b"<SCRIPT>if (a < b) c()</SCRIPT >down", "down"),
        (b"<style>never closed", ""),
        (b"1 < 2", "1 < 2"),
        (b"a<br>b<br/>c", "a b c"),
        (b"<" * 100_000, "<" * 199 + "…"),
        (b"<style>" * 100_000, ""),
        (b"<!-- <p>x -->y", "x -->y"),
        (b"\xff\x1b]0;title\x07 busy \xe2\x80\xae", "��]0;title� busy �"),
    ],
)
def test_a_page_is_its_words_without_markup_and_without_what_a_terminal_would_obey(page: bytes, said: str) -> None:
    assert body_message(page) == said


@pytest.mark.parametrize("name", ["error", "message", "detail"])
def test_an_error_nested_beyond_reason_is_still_one_short_line(name: str) -> None:
    deep: Any = "boom"
    for _ in range(900):
        deep = {name: deep}
    for value in (deep, [deep], {"other": deep}):
        said = error_message(value)
        assert len(said) <= 200
        assert said.isprintable()
    assert error_message({"error": {"message": {"detail": [{"msg": "boom"}]}}}) == "boom"
