"""Who may do what on Locust's page while a load runs."""

import pytest

from bench.load.locust_page import refusal

OURS = "127.0.0.1:8089"


@pytest.mark.parametrize(
    ("method", "path", "host", "origin", "answered"),
    [
        ("GET", "/", OURS, None, True),
        ("GET", "/stats/requests", "localhost:8089", None, True),
        ("HEAD", "/", OURS, None, True),
        ("POST", "/stop", OURS, f"http://{OURS}", True),
        ("POST", "/stop", OURS, None, True),  # no browser sends a form without
        ("POST", "/stop", OURS, "http://evil.example", False),
        ("POST", "/stop", OURS, "http://127.0.0.1:1", False),
        ("POST", "/stop", OURS, "null", False),
        ("POST", "/stop", OURS, "", False),
        ("POST", "/stop", OURS, f"https://{OURS}", False),
        ("POST", "/stop", "evil.example:8089", None, False),  # a name that was made to point here
        ("GET", "/stats/requests", "evil.example:8089", None, False),
        ("GET", "/stats/requests", OURS, "http://evil.example", False),
        ("GET", "/", "127.0.0.1", None, False),
        ("POST", "/swarm", OURS, f"http://{OURS}", False),
        ("POST", "/swarm", OURS, None, False),
        ("POST", "/stats/reset", OURS, f"http://{OURS}", False),
        ("POST", "/user", OURS, None, False),
        ("DELETE", "/stop", OURS, None, False),
        ("OPTIONS", "/swarm", OURS, "http://evil.example", False),
    ],
)
def test_everybody_here_may_look_and_stop_and_nobody_may_change(
    method: str, path: str, host: str, origin: str | None, answered: bool
) -> None:
    assert (refusal(8089, method, path, host, origin) is None) is answered
