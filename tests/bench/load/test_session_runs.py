"""Sessions through real load processes, on a server that answers each prompt in its own words and notes what it got."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from backends import BACKENDS
from bench.load.controller import LoadFailed, LoadSpec, Progress, load_processes, offer
from bench.plan.calls import Plan, call, remaining, total
from bench.plan.written import write_plan
from bench.runs.decoding import decode_run, scan_captures
from bench.runs.folder import CAPTURE, PLAN
from bench.runs.table import read_requests
from bench.server.launch import free_port
from bench.types import Lengths, Pause, Target, Turns
from tests.bench.plan.sessions import plan_of

# By what the server does: how the call ends.
FAULTS = {
    "500": "http_500",
    "cut": "cut_stream",
    "reset": "cut_stream",
    "empty": "empty",
    "429": "http_429",
}
FOUR = Turns(Lengths("fixed", 4, 4), Lengths("uniform", 30, 60), Pause("exponential", 0.01), window_tokens=220)


class Echo(BaseHTTPRequestHandler):
    """Says which request it answers; those with a fault get something else."""

    protocol_version = "HTTP/1.1"
    prompts: dict[int, list[dict[str, str]]]
    faults: dict[int, str]

    def do_POST(self) -> None:
        seq = int(self.headers["X-Request-Id"].rpartition("-")[2])
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.prompts[seq] = body["messages"]
        if (fault := self.faults.get(seq)) is not None:
            self.fail(fault)
            return
        said: list[Any] = [{"choices": [{"delta": {"content": f" answer {seq}"}}]}]
        said.append({"choices": [{"delta": {}, "finish_reason": "length"}]})
        data = b"".join(b"data: %s\n\n" % json.dumps(each).encode() for each in said) + b"data: [DONE]\n\n"
        self.answer(200, data, len(data))

    def answer(self, status: int, data: bytes, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(data)

    def fail(self, fault: str) -> None:
        if fault.isdecimal() or fault == "empty":
            self.answer(200 if fault == "empty" else int(fault), b"", 0)
        elif fault == "cut":
            self.answer(200, b"data: {", 99)
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Served(NamedTuple):
    """Where the server is, what it was asked by number, and what it does in place of an answer, by number."""

    url: str
    prompts: dict[int, list[dict[str, str]]]
    faults: dict[int, str]


@pytest.fixture
def server() -> Iterator[Served]:
    members: dict[str, Any] = {"prompts": {}, "faults": {}}
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Kind", (Echo,), members)) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield Served(f"http://127.0.0.1:{listening.server_port}", members["prompts"], members["faults"])
        listening.shutdown()


class Ending(NamedTuple):
    """What becomes of a load once so many calls have ended: it is stopped, or one of its processes is killed."""

    after: int = 10**9
    kills: bool = False


TO_THE_END = Ending()


def rows_of(plan: Plan, url: str, folder: Path, workers: int, ending: Ending = TO_THE_END) -> dict[int, dict[str, Any]]:
    """The rows that come of a load, however it ended."""
    (folder / CAPTURE).mkdir()
    spec = LoadSpec(
        "local", 0, workers, "openai", Target(url, "m"), plan, 20, 10, folder, master_port=free_port(), web_port=None
    )
    done = 0

    def follow(progress: Progress) -> None:
        nonlocal done
        done = progress.done
        if ending.kills and done >= ending.after:
            processes[-1].kill()

    with load_processes(workers, folder) as processes:
        try:
            stopped = offer(processes, spec, follow, lambda: "enough" if done >= ending.after else None)
        except LoadFailed:
            assert ending.kills
        else:
            assert stopped == ("enough" if done >= ending.after else None)
    write_plan(plan, folder / PLAN, range(total(plan) or 0))
    for _ in range(2):  # and again
        decode_run(folder, scan_captures(folder), 0, BACKENDS["openai"].decode)
    return {row["seq"]: row for row in read_requests(folder).to_pylist()}


def check(plan: Plan, rows: dict[int, dict[str, Any]], prompts: dict[int, list[dict[str, str]]]) -> None:
    """What holds of sessions whatever happened: turns follow answers, and after one that failed there is none."""
    assert sorted(rows) == list(range(total(plan) or 0))
    for seq, row in rows.items():
        planned = call(plan, seq)
        assert (row["session"], row["turn"]) == (planned.session, planned.turn)
        first, before = seq - planned.turn, rows[seq - 1] if planned.turn else None
        if row["sent_ns"] is None:
            assert row["error"] is not None
        else:
            assert row["sent_ns"] >= row["due_ns"]
            assert before is None or before["error"] is None
            assert len({rows[other]["worker"] for other in range(first, seq + 1)}) == 1
            if before is not None:
                assert row["due_ns"] == before["end_ns"] + row["pause_ns"]
        if row["error"] == "not_reached":
            assert before is not None and before["error"] is not None
        if seq in prompts:
            answers = [message["content"] for message in prompts[seq] if message["role"] == "assistant"]
            assert answers == [f" answer {other}" for other in range(first + planned.since, seq)]
            assert prompts[seq][-1]["content"] == planned.messages[-1].text


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "rate"), [(1, None), (2, None), (1, 200.0)])
def test_every_prompt_has_what_came_back_and_what_fails_ends_its_session(
    server: Served, tmp_path: Path, workers: int, rate: float | None
) -> None:
    """Each third session has a turn that fails, each in a way of its own."""
    plan = plan_of(FOUR, sessions=18, rate=rate, concurrency=None if rate else 6)
    server.faults.update({4 * 3 * n + n % 4: fault for n, fault in enumerate(FAULTS)})
    rows = rows_of(plan, server.url, tmp_path, workers)
    lost = {seq for failing in server.faults for seq in remaining(plan, failing)}
    assert sorted(server.prompts) == sorted(set(rows) - lost)
    assert {seq: rows[seq]["error"] for seq in rows if rows[seq]["error"]} == {
        **{seq: FAULTS[fault] for seq, fault in server.faults.items()}, **dict.fromkeys(lost, "not_reached")
    }  # fmt: skip
    check(plan, rows, server.prompts)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "rate", "kills"), [(2, None, True), (1, 200.0, False)])
def test_a_load_of_sessions_that_ends_in_the_middle_has_a_row_for_every_turn(
    server: Served, tmp_path: Path, workers: int, rate: float | None, kills: bool
) -> None:
    plan = plan_of(FOUR, sessions=400, rate=rate, concurrency=None if rate else 6)
    rows = rows_of(plan, server.url, tmp_path, workers, Ending(after=30, kills=kills))
    check(plan, rows, server.prompts)
    assert sum(row["error"] is None for row in rows.values()) >= 30 // workers
    assert {row["error"] for row in rows.values()} <= {None, "unfinished"}
