"""The vendors' own clients. A test imports them when it runs: they took a third of the time to collect all tests."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anthropic import Anthropic
    from openai import OpenAI


def openai_client(url: str) -> "OpenAI":
    """OpenAI's client of a server at that address, which asks once."""
    from openai import OpenAI

    return OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)


def anthropic_client(url: str) -> "Anthropic":
    """Anthropic's client of a server at that address, which asks once."""
    from anthropic import Anthropic

    return Anthropic(base_url=url, api_key="k", max_retries=0)
