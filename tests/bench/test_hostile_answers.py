"""A whole run against a server whose answers are each odd in another way: it ends, and every call has its row."""

import gzip
import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tests.commands import bench

ROOT = Path(__file__).parents[2]
SOUND_FIRST = 12
"""What is asked before the load is answered soundly, whoever asks it."""


def stream(*values: Any) -> bytes:
    return b"".join(b"data: " + (v if isinstance(v, bytes) else json.dumps(v).encode()) + b"\n\n" for v in values)


def answered(usage: Any, finish: Any = "stop") -> bytes:
    words = [{"choices": [{"delta": {"content": word}}]} for word in (" a", " b")]
    end = {"choices": [{"delta": {}, "finish_reason": finish}]}
    return stream(*words, end, {"choices": [], "usage": usage}, b"[DONE]")


def http(body: bytes, status: bytes = b"200", *headers: bytes) -> bytes:
    lines = [b"HTTP/1.1 %b X" % status, b"Content-Length: %d" % len(body), b"Connection: close", *headers]
    return b"\r\n".join([*lines, b"", body])


SOUND = answered({"prompt_tokens": 64, "completion_tokens": 2})
# The answer, and the code that its call is to have.
ANSWERS: list[tuple[bytes, str | None]] = [
    (http(answered({"prompt_tokens": 0, "completion_tokens": 0})), None),
    (http(answered({"prompt_tokens": 64, "completion_tokens": -1})), "malformed"),
    (http(answered({"prompt_tokens": True, "completion_tokens": 2})), "malformed"),
    (http(answered({"prompt_tokens": 2**63, "completion_tokens": 2})), "malformed"),
    (http(answered({"prompt_tokens": 64, "completion_tokens": 200_000_000})), None),
    (http(answered(None, finish=["stop"])), "malformed"),
    (http(answered(None, finish="\ud800")), "malformed"),
    (http(answered(None, finish="content_filter")), "ended_early"),
    (http(b"", b"9" * 21), "malformed"),
    (http(b"<" * (128 << 10), b"500"), "http_500"),
    (http(gzip.compress(SOUND), b"200", b"Content-Encoding: gzip"), None),
    (http(stream(b"{nope") + SOUND), None),
    (http(stream({"choices": [{"delta": {"content": " a"}}]}) + b"error: it broke\n\n"), "error_event"),
    (http(b"data: " + b"[" * 100_000), "malformed"),
]


def test_a_run_against_odd_answers_ends_and_every_call_has_its_row(
    web_server: Callable[[type[BaseHTTPRequestHandler]], str], tmp_path: Path
) -> None:
    asked = count()
    sent: list[str | None] = []

    class Odd(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path.endswith("/models")
            models = json.dumps({"data": [{"id": "m", "owned_by": "\x1b]0;x\x07", "max_model_len": 4096}]}).encode()
            self.wfile.write(http(models if found else b"{}", b"200" if found else b"404"))

        def do_POST(self) -> None:
            payload = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if not payload.get("stream"):
                message = {"choices": [{"message": {"content": "a"}, "finish_reason": "length"}]}
                words = sum(len(m["content"].split()) for m in payload.get("messages", []))
                usage = {"usage": {"prompt_tokens": words, "completion_tokens": 1}}
                self.wfile.write(http(json.dumps(message | usage).encode()))
            elif (number := next(asked) - SOUND_FIRST) < 0:
                self.wfile.write(http(SOUND))
            else:
                data, code = ANSWERS[number % len(ANSWERS)]
                sent.append(code)
                self.wfile.write(data)

        def log_message(self, *_: object) -> None: ...

    asking = ["--backend", "openai", "--url", web_server(Odd), "--model", "m", "--scenario", "smoke"]
    load = ["--requests", str(SOUND_FIRST + 2 * len(ANSWERS)), "--concurrency", "1", "--warmup", "0"]
    folder = tmp_path / "run"
    for arguments in ("run", *asking, *load, "--out", str(folder)), ("decode", str(folder)):
        done = bench(*arguments)
        assert "Traceback" not in done.stderr
        assert done.returncode == 3, done.stderr  # half of the calls failed
        assert "\x1b]0;x" not in done.stdout + done.stderr
    rows = pq.read_table(folder / "requests.parquet").sort_by("sent_ns").to_pylist()
    assert len(rows) == SOUND_FIRST + 2 * len(ANSWERS)
    assert len(sent) >= len(ANSWERS)
    assert [row["error"] for row in rows[-len(sent) :]] == sent
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["oddities"]["compressed"]["gzip"] >= 1
    assert summary["oddities"]["unread"]["calls"] >= 1
