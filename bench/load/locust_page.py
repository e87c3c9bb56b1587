"""Locust's web page while a load runs: everybody on this machine may look, nobody may change anything but stop it.

Any web page can send requests to a port of this machine. What it asks for is refused: by the name it has for this host,
which another site's page cannot choose freely, and by the Origin that browsers send with it. The slots are those of the
plan from start to end, so what Locust offers to change them by is refused to everybody; users are the requests in
flight, for of slots there are as many as there may ever be.
"""

import socket
from collections.abc import Callable
from typing import Any

from flask import Response, jsonify, request

HOST = "127.0.0.1"
_LOOKING = {"GET", "HEAD"}
STOP = "/stop"
_FIGURES = "/stats/requests"


def serve_page(environment: Any, port: int, in_flight: Callable[[], int]) -> None:
    """Serve the page of a Locust environment on a loopback port. Raises OSError where it is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((HOST, port))
    page = environment.create_web_ui(HOST, port, delayed_start=True)

    @page.app.before_request  # type: ignore[untyped-decorator]
    def refuse() -> tuple[str, int] | None:
        why = refusal(port, request.method, request.path, request.host, request.headers.get("Origin"))
        # What Locust remembers for a page that is loaded again counts slots.
        environment.stats.history.clear()
        return None if why is None else (why, 403)

    @page.app.after_request  # type: ignore[untyped-decorator]
    def count_users(answer: Response) -> Response:
        if request.path != _FIGURES or answer.status_code != 200:
            return answer
        figures: Response = jsonify({**answer.get_json(), "user_count": in_flight()})
        return figures

    page.start()


def refusal(port: int, method: str, path: str, host: str, origin: str | None) -> str | None:
    """Why a request is not answered, None where it is; `host` and `origin` as its headers say."""
    names = {f"{name}:{port}" for name in (HOST, "localhost")}
    if host not in names:
        return f"this page is served as {HOST}:{port} only"
    if origin is not None and origin.removeprefix("http://") not in names:
        return "this page answers no other site"
    if method in _LOOKING or (method == "POST" and path == STOP):
        return None
    return "the load is what the run was told to offer, and cannot be changed here; it can be stopped"
