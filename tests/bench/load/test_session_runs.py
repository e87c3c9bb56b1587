"""Sessions through real load processes, on a server that answers each prompt in its own words and notes what it got."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from backends import BACKENDS
from bench.load.controller import LoadSpec, load_processes, offer
from bench.plan.calls import Plan, call, remaining, total
from bench.plan.written import write_plan
from bench.runs.decoding import decode_run, scan_captures
from bench.runs.folder import CAPTURE, PLAN
from bench.runs.table import read_requests
from bench.server.launch import free_port
from bench.types import Lengths, Pause, Target, Turns
from tests.bench.plan.sessions import plan_of

FAILING = 7
FOUR = Turns(Lengths("fixed", 4, 4), Lengths("uniform", 30, 60), Pause("exponential", 0.01), window_tokens=220)


class Echo(BaseHTTPRequestHandler):
    """Says which request it answers; the one that is to fail is refused."""

    protocol_version = "HTTP/1.1"
    prompts: dict[int, list[dict[str, str]]]

    def do_POST(self) -> None:
        seq = int(self.headers["X-Request-Id"].rpartition("-")[2])
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.prompts[seq] = body["messages"]
        said: list[Any] = [{"choices": [{"delta": {"content": f" answer {seq}"}}]}]
        said.append({"choices": [{"delta": {}, "finish_reason": "length"}]})
        data = b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in said) + b"data: [DONE]\n\n"
        self.send_response(500 if seq == FAILING else 200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[tuple[str, dict[int, list[dict[str, str]]]]]:
    kind = type("Kind", (Echo,), {"prompts": {}})
    with ThreadingHTTPServer(("127.0.0.1", 0), kind) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}", kind.prompts  # type: ignore[attr-defined]
        listening.shutdown()


def rows_of(plan: Plan, url: str, folder: Path, workers: int) -> dict[int, dict[str, Any]]:
    (folder / CAPTURE).mkdir()
    spec = LoadSpec(
        "local", 0, workers, "openai", Target(url, "m"), plan, 6, 20, 10, folder, master_port=free_port(), web_port=None
    )
    with load_processes(workers, folder) as processes:
        assert offer(processes, spec, lambda _: None, lambda: None) is None
    write_plan(plan, folder / PLAN, range(total(plan) or 0))
    for _ in range(2):  # and again
        decode_run(folder, scan_captures(folder), 0, BACKENDS["openai"].decode)
    return {row["seq"]: row for row in read_requests(folder).to_pylist()}


@pytest.mark.parametrize(("workers", "rate"), [(1, None), (2, None), (1, 200.0)])
def test_every_prompt_has_what_came_back_and_what_fails_ends_its_session(
    server: tuple[str, dict[int, list[dict[str, str]]]], tmp_path: Path, workers: int, rate: float | None
) -> None:
    url, prompts = server
    plan = plan_of(FOUR, sessions=9, rate=rate, concurrency=None if rate else 6)
    rows = rows_of(plan, url, tmp_path, workers)
    lost = set(remaining(plan, FAILING))
    assert sorted(rows) == list(range(36))
    assert sorted(prompts) == sorted(set(rows) - lost)
    assert {seq: rows[seq]["error"] for seq in rows if rows[seq]["error"]} == {
        FAILING: "http_500", **dict.fromkeys(lost, "not_reached")
    }  # fmt: skip
    for seq, messages in prompts.items():
        planned, row = call(plan, seq), rows[seq]
        answers = [message["content"] for message in messages if message["role"] == "assistant"]
        first = seq - planned.turn
        assert answers == [f" answer {before}" for before in range(first + planned.since, seq)]
        assert messages[-1]["content"] == planned.messages[-1].text
        assert (row["session"], row["turn"]) == (planned.session, planned.turn)
        assert row["sent_ns"] >= row["due_ns"]
        assert len({rows[other]["worker"] for other in range(first, seq + 1)}) == 1
        if planned.turn:
            assert row["due_ns"] == rows[seq - 1]["end_ns"] + row["pause_ns"]
