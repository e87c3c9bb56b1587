"""What goes wrong with an API is one line that says what happened and what to do, and a complete folder."""

import json
import subprocess
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.commands import bench

FILES = {"run.json", "plan.parquet", "capture", "requests.parquet", "telemetry.parquet", "summary.json", "report.html"}
KEY = "sk-ant-hunter2-hunter2"
OVERLOADED = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
START = {"type": "message_start", "message": {"type": "message", "content": [], "usage": {"input_tokens": 9}}}


# The rehearsal, and one more that asks whether the server waits for acknowledgements: it closes its connections.
BEFORE_THE_LOAD = 2


class Api(BaseHTTPRequestHandler):
    """The Messages API and the model list; `answer` is (status, body) for every message but those before the load."""

    answer: tuple[int, bytes]
    refusal: tuple[int, bytes] | None = None
    messages: ClassVar[int] = 0

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer for the model."""
        model = {"type": "model", "id": "m", "display_name": "m", "created_at": "2026-01-01T00:00:00Z"}
        self.send(*(self.refusal or (200, json.dumps(model).encode())))

    def do_POST(self) -> None:
        """Count tokens by words, or fail as told."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("count_tokens"):
            words = sum(len(str(message["content"]).split()) for message in asked["messages"])
            self.send(200, json.dumps({"input_tokens": words}).encode())
        else:
            type(self).messages += 1
            self.send(*(self.answer if self.messages > BEFORE_THE_LOAD else (200, GOOD)))

    def send(self, status: int, data: bytes) -> None:
        """Send one answer."""
        self.send_response(status)
        self.send_header("Content-Type", "text/event-stream" if data.startswith(b"data:") else "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def events(*values: object) -> bytes:
    return b"".join(b"data: " + json.dumps(value).encode() + b"\n\n" for value in values)


GOOD = events(
    START,
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Once"}},
    {"type": "message_delta", "delta": {"stop_reason": "max_tokens"}, "usage": {"output_tokens": 16}},
    {"type": "message_stop"},
)


def error(kind: str, message: str) -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


def run(url: str, out: Path) -> "subprocess.CompletedProcess[str]":
    asked = [
        "--backend",
        "claude",
        "--url",
        url,
        "--model",
        "m",
        "--scenario",
        "smoke",
        "--requests",
        "16",
        "--backoff",
        "off",
        "--out",
        str(out),
    ]
    return bench("run", *asked, env={"ANTHROPIC_API_KEY": KEY})


def serve(web_server: Any, **answers: Any) -> str:
    url: str = web_server(type("Own", (Api,), answers))
    return url


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((402, error("billing_error", "Your credit balance is too low")),
         "http_402 (billing_error: Your credit balance is too low): the account has no credit: add some"),
        pytest.param(
            (400, error("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum")),
            "http_400 (invalid_request_error: prompt is too long: 9 tokens > 8 maximum): the server does not take such",
            marks=pytest.mark.slow),
        pytest.param(
            (413, error("request_too_large", "Request exceeds the maximum size")),
            "http_413 (request_too_large: Request exceeds the maximum size): the request is too large",
            marks=pytest.mark.slow),
        pytest.param(
            (429, error("rate_limit_error", "Number of requests has exceeded your rate limit")),
            "http_429 (rate_limit_error: Number of requests has exceeded your rate limit): the server takes no more",
            marks=pytest.mark.slow),
        pytest.param(
            (529, json.dumps(OVERLOADED).encode()),
            "http_529 (overloaded_error: Overloaded): the API was overloaded: run again later",
            marks=pytest.mark.slow),
        ((200, events(START, OVERLOADED)),
         "overloaded (overloaded_error: Overloaded): the server was overloaded: run again later"),
    ],
    ids=["402", "400", "413", "429", "529", "529 inside a 200"],
)  # fmt: skip
def test_what_an_api_refuses_is_told_in_its_words_with_what_to_do(
    web_server: Any, tmp_path: Path, answer: tuple[int, bytes], said: str
) -> None:
    done = run(serve(web_server, answer=answer), tmp_path / "run")
    assert done.returncode == 3 and "error:" not in done.stderr
    (line,) = [line for line in done.stdout.splitlines() if "failed_calls" in line]
    assert f"failed_calls: 16 of 16 requests failed with {said}" in line
    assert {path.name for path in (tmp_path / "run").iterdir()} >= FILES
    assert not any(KEY.encode() in path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("refusal", "said"),
    [
        ((401, error("authentication_error", "invalid x-api-key")), "ANTHROPIC_API_KEY"),
        ((404, error("not_found_error", "model: m")), "not_found_error: model: m"),
        ((402, error("billing_error", "no credit")), "no credit"),
    ],
    ids=["401", "404", "402"],
)
def test_what_can_be_known_before_the_load_is_one_line_and_leaves_no_folder(
    web_server: Any, tmp_path: Path, refusal: tuple[int, bytes], said: str
) -> None:
    done = run(serve(web_server, answer=(500, b""), refusal=refusal), tmp_path / "run")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert said in done.stderr
    assert KEY not in done.stdout + done.stderr
    assert not (tmp_path / "run").exists()
