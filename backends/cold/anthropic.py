"""Anthropic's own client, for requests outside the load; imported only when needed.

It builds the requests and reads the answers. They are sent like all cold requests, and its exceptions become a
UserError of one line.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from backends.cold import http, openai
from backends.dialect.errors import named_message
from backends.dialect.outside import known_count
from bench.types import Headers, NotReady, ServerFault, Target, UserError

if TYPE_CHECKING:
    import httpx2
    from anthropic import Anthropic

TIMEOUT_S = 30.0
COUNTING_RETRIES = 2  # counting has a rate limit of its own, and a plan may need some 130 counts
ADVICE = {
    401: "set ANTHROPIC_API_KEY to a valid key",
    402: "the account has no credit; add some, or use another account's key",
    403: "the key lacks permission; use another one",
    404: "check --url",
    429: "the rate limit is exhausted; try again later",
    529: "the API is overloaded; try again later",
}
# Handled by our own transport, or already undone by it.
_OURS = frozenset({"host", "connection", "content-length", "accept-encoding"})
_UNDONE = frozenset({"content-encoding", "content-length", "transfer-encoding", "connection"})


def model_page(target: Target, headers: Headers) -> Mapping[str, Any] | None:
    """What the API says about the target's model; None if a server has no page per model."""
    import anthropic

    with _client(target, headers) as client:
        try:
            model: Any = client.models.retrieve(target.model)
        except anthropic.NotFoundError as error:
            if not (isinstance(error.body, dict) and error.body.get("type") == "error"):
                return None  # the error is not in Anthropic's format: the page was not found, not the model
            return openai.find_model(target, [known.to_dict() for known in client.models.list(limit=1000)])
    page = model.to_dict(mode="json", warnings=False) if isinstance(model, anthropic.BaseModel) else {}
    if "id" not in page:
        raise UserError(f"no LLM server at {target.url}: its answer about the model is something else; check --url")
    return page


def count_tokens(target: Target, headers: Headers, prompt: Mapping[str, Any]) -> int | None:
    """The tokens of a prompt, given as the message fields that determine them; None if a server does not count."""
    import anthropic

    with _client(target, headers, COUNTING_RETRIES) as client:
        try:
            count = client.messages.count_tokens(model=target.model, **prompt)
        except anthropic.NotFoundError:
            return None
    return known_count({"input_tokens": getattr(count, "input_tokens", None)}, "input_tokens")


@contextmanager
def _client(target: Target, headers: Headers, retries: int = 0) -> Iterator["Anthropic"]:
    import anthropic
    import httpx2

    class ColdTransport(httpx2.BaseTransport):
        """Send the client's requests by the cold path, with its deadline, size limits and certificates."""

        def handle_request(self, request: "httpx2.Request") -> "httpx2.Response":
            path = request.url.raw_path.decode("ascii").removeprefix(httpx2.URL(target.url).path.rstrip("/"))
            sent = tuple((name, value) for name, value in request.headers.items() if name.lower() not in _OURS)
            body = request.read() or None
            answer = http.exchange(target, request.method, path, sent, body, TIMEOUT_S)
            said = {name: value for name, value in answer.headers.items() if name not in _UNDONE}
            return httpx2.Response(answer.status, headers=said, content=answer.data, request=request)

    every: dict[str, Any] = {"Authorization": anthropic.Omit(), **dict(headers)}
    try:
        with anthropic.Anthropic(
            # Given a key, even an empty one, the client does not look for others in the environment or in files.
            api_key=target.api_key or "",
            base_url=target.url,
            max_retries=retries,
            timeout=TIMEOUT_S,
            default_headers=every,
            http_client=httpx2.Client(transport=ColdTransport(), trust_env=False),
        ) as client:
            yield client
    except anthropic.APIStatusError as error:
        raise _refusal(target, error.response) from None
    except anthropic.APIConnectionError as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise ServerFault(f"{target.url} closed the connection early ({type(error).__name__}); try again") from None
    except ValueError:
        raise UserError(f"no LLM server at {target.url}: its answer is not valid JSON; check --url") from None


def _refusal(target: Target, response: "httpx2.Response") -> UserError:
    said = named_message(response.content)
    if response.is_redirect:
        place = response.headers.get("location")
        return UserError(http.redirects(target.url, response.status_code, place))
    refusal = f"{target.url} answered HTTP {response.status_code} ({said})"
    advice = ADVICE.get(response.status_code)
    if wait_s := response.headers.get("retry-after"):
        advice = f"{advice or 'try again later'} (in {wait_s} s)"
    kind = NotReady if response.status_code in http.LOADING else UserError
    return kind(f"{refusal}; {advice}" if advice else refusal)
