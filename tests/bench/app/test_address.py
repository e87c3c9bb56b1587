"""Where requests go and what goes with them, as users write it."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import BACKENDS
from bench.app import address
from bench.types import UserError

OPENAI, CLAUDE = BACKENDS["openai"], BACKENDS["claude"]


@pytest.mark.parametrize(
    ("typed", "url", "api_path", "query"),
    [
        ("http://h:8000", "http://h:8000", None, ""),
        ("http://h:8000/v1/", "http://h:8000", None, ""),
        ("https://api.groq.com/openai/v1", "https://api.groq.com/openai", None, ""),
        ("https://open.bigmodel.cn/api/paas/v4", "https://open.bigmodel.cn/api/paas/v4", "", ""),
        ("https://g.example/v1beta/openai/", "https://g.example/v1beta/openai", "", ""),
        ("https://ark.example/api/v3", "https://ark.example/api/v3", "", ""),
        ("https://v.example/v1/projects/p/locations/l/endpoints/openapi", None, "", ""),
        ("https://r.example/openai/deployments/d?api-version=2024-10-21", None, "", "api-version=2024-10-21"),
        ("http://h/v1/chat/completions", "http://h", None, ""),
        ("https://c.example/client/v4/accounts/a/ai/v1", "https://c.example/client/v4/accounts/a/ai", None, ""),
    ],
)
def test_a_base_url_is_taken_as_its_api_gives_it(typed: str, url: str | None, api_path: str | None, query: str) -> None:
    made = address.address(typed, OPENAI)
    assert made == address.Address(url or typed.partition("?")[0], query, api_path)


def test_the_messages_api_is_always_under_v1() -> None:
    made = address.address("https://gw.example/v1/account/gateway/anthropic", CLAUDE)
    assert made is not None and made.api_path is None


def test_headers_take_variables_which_are_secret_and_what_is_named_like_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "aaaa-bbbb-cccc")
    monkeypatch.setenv("TEAM", "blue")
    made, hidden = address.headers(
        ["api-key: $A_KEY", "X-Team: team ${TEAM}, $$5", "Authorization: Bearer literal-token-1", "X-Plain: as it is"]
    )
    assert made == (
        ("api-key", "aaaa-bbbb-cccc"),
        ("X-Team", "team blue, $5"),
        ("Authorization", "Bearer literal-token-1"),
        ("X-Plain", "as it is"),
    )
    assert set(hidden) == {"aaaa-bbbb-cccc", "literal-token-1"}


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "none",
        ": x",
        "a b: c",
        "näme: x",
        "X: a\r\nY: b",
        "X: a\nb",
        "X: \x00",
        "X: 日本",
        "Content-Length: 3",
        "X: $NO_VAR_X",
    ],
)
def test_a_header_that_cannot_be_sent_is_one_line_without_its_value(typed: str) -> None:
    with pytest.raises(UserError) as raised:
        address.headers([typed])
    assert str(raised.value).startswith("--header") and "\n" not in str(raised.value)


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=40))
def test_any_header_is_sent_as_it_stands_or_refused(typed: str) -> None:
    try:
        made, _ = address.headers([typed])
    except UserError:
        return
    [(name, value)] = made
    assert name.isascii() and not set(value) & set("\r\n\0")
    value.encode("latin-1")


def test_what_looks_like_a_secret_in_a_url_or_a_servers_flags_is_one() -> None:
    url = "https://user:pass-word-1@h/AbCdEf0123456789abcdef/v1?key=AIza012345&api-version=2024-10-21"
    found = address.secrets_typed(url, ("--api-key=abcdefgh1", "--hf-token", "hf-987654321", "--port", "80801234"))
    assert set(found) >= {
        "user:pass-word-1", "pass-word-1", "AbCdEf0123456789abcdef", "AIza012345", "abcdefgh1", "hf-987654321",
    }  # fmt: skip
    assert not {"2024-10-21", "80801234"} & set(found)


@given(
    st.sampled_from(["?x=1;", "?", "?x=1&", "?x=1&amp;", ";", "/", "#", "#x=1&", "?q#"]),
    st.sampled_from(["api_key", "sig", "x-functions-key", "access_token", "Password"]),
    st.sampled_from(["=", "%3D"]),
    st.text("abcXYZ0189-_.~", min_size=8),
)
def test_what_a_url_names_a_secret_is_one_wherever_it_stands(before: str, name: str, sign: str, secret: str) -> None:
    assert secret in address.secrets_typed(f"http://h:8000/v1{before}{name}{sign}{secret}", ())


def test_all_of_a_fragment_is_a_secret() -> None:
    assert address.secrets_typed("http://h/v1#anything-at-all", ()) == ("anything-at-all",)


@pytest.mark.parametrize(
    "typed", ["http://u:secret-pw@h", "https://secret-token@h/v1", "http://h /v1", "http://h:99999/"]
)
def test_a_url_that_cannot_be_used_is_refused(typed: str) -> None:
    with pytest.raises(UserError, match="--url"):
        address.address(typed, OPENAI)
