"""A server for the tests of the backends that answers as each test wants."""

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

import pytest


class Asked(NamedTuple):
    """A request as it reached the server; names of headers in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@pytest.fixture
def answering(
    web_server: Callable[[type[BaseHTTPRequestHandler]], str],
) -> Callable[[Callable[[Asked], tuple[int, dict[str, str], Any]]], str]:
    """`answering(answer) -> url`, where `answer(asked)` gives a status, headers and a body.

    A body that is neither bytes nor a string goes out as JSON.
    """

    def start(answer: Callable[[Asked], tuple[int, dict[str, str], Any]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            server_version, sys_version = "toy/1", ""

            def do_GET(self) -> None:
                headers = {name.lower(): value for name, value in self.headers.items()}
                sent = self.rfile.read(int(headers.get("content-length", 0)))
                status, said, body = answer(Asked(self.path, headers, sent))
                body = body if isinstance(body, str | bytes) else json.dumps(body)
                data = body.encode() if isinstance(body, str) else body
                self.send_response(status)
                for name, value in ({"Content-Length": str(len(data))} | said).items():
                    self.send_header(name, value)
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(data)

            do_HEAD = do_POST = do_GET

            def log_message(self, *_: object) -> None: ...

        return web_server(Handler)

    return start
