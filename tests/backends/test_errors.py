import pytest

from backends._errors import stream_error


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
