"""A run with images, from the flag to its files; what cannot carry any, or be bounded, is said before it."""

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pyarrow.parquet as pq
import pytest

from bench.app.dry import dry_plan
from bench.app.options import RunOptions
from bench.app.pricing import MOST_IMAGE_TOKENS, estimate, prices_of
from bench.app.request import RunRequest, run_request
from bench.types import UserError
from tests.commands import bench
from tests.fixtures.pinned_prices import pinned

PNG = b"\x89PNG\r\n\x1a\n%bIEND\xaeB`\x82"
TOKENS_OF_AN_IMAGE = 300


def read(folder: Path, name: str) -> Any:
    return json.loads((folder / name).read_text())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "images"
    found.mkdir()
    for i in range(3):
        (found / f"{i}.jpg").write_bytes(PNG % (b"x" * i))
    return found


class _Server(BaseHTTPRequestHandler):
    """Counts a token a word, and so many an image."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer({"object": "list", "data": [{"id": "m"}]} if self.path == "/v1/models" else {})

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if "max_tokens" not in asked:
            self.send_error(404)
            return
        content = asked["messages"][-1]["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        tokens = sum(len(part["text"].split()) if part["type"] == "text" else TOKENS_OF_AN_IMAGE for part in parts)
        usage = {"prompt_tokens": tokens, "completion_tokens": asked["max_tokens"]}
        usage["total_tokens"] = sum(usage.values())
        choice = {"message": {"role": "assistant", "content": "word " * asked["max_tokens"]}, "finish_reason": "length"}
        self._answer({"object": "chat.completion", "choices": [choice], "usage": usage})

    def _answer(self, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Server)
    server.daemon_threads = True
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def request(backend: str = "openai", **options: Any) -> RunRequest:
    url = "http://127.0.0.1:9"
    return run_request(RunOptions.of({"backend": backend, "model": "m", "scenario": "smoke", "url": url, **options}))


@pytest.mark.slow
def test_a_run_records_the_bytes_and_what_the_server_counts_for_them(folder: Path, url: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    asked = ("--backend", "openai", "--url", url, "--scenario", "smoke", "--requests", "7", "--no-stream")
    done = bench("run", *asked, "--images", folder, "--out", out, "--quiet")
    assert done.stderr == ""
    run, summary = read(out, "run.json"), read(out, "summary.json")
    assert (run["images"]["folder"], len(run["images"]["bytes"])) == (str(folder), 3)
    calls = pq.read_table(out / "requests.parquet")
    sizes = sorted(path.stat().st_size for path in folder.iterdir())
    assert set(calls["image_bytes"].to_pylist()) == set(sizes) == set(run["images"]["bytes"])
    assert set(calls["image_tokens"].to_pylist()) == {TOKENS_OF_AN_IMAGE}
    assert pq.read_table(out / "plan.parquet")["image_bytes"].to_pylist() == [
        size for _, size in sorted(zip(calls["seq"].to_pylist(), calls["image_bytes"].to_pylist(), strict=True))
    ]
    # Prompts are neither cut nor longer than planned: an image was asked for.
    assert calls["count_contradictions"].null_count == calls.num_rows
    prompts = summary["counts"]["prompts"]
    assert (prompts["cut_share"], prompts["longer_share"], prompts["of_planned"]) == (0.0, 0.0, 1.0)
    assert not re.search("longer|cut", " ".join(each["code"] for each in summary["verdict"]["reasons"]))


@pytest.mark.slow
def test_a_run_without_images_has_none(url: str, tmp_path: Path) -> None:
    out = tmp_path / "run"
    bench("run", "--backend", "openai", "--url", url, "--scenario", "smoke", "--no-stream", "--out", out)
    calls = pq.read_table(out / "requests.parquet")
    assert calls["image_bytes"].null_count == calls["image_tokens"].null_count == calls.num_rows
    assert read(out, "run.json").get("images") is None


@pytest.mark.parametrize(
    ("backend", "options"),
    [
        *((name, {"route": "completions"}) for name in ("openai", "vllm", "llamacpp")),
        ("tgi", {}),
        ("exec", {"command": "./run {prompt}", "url": None}),
    ],
)
def test_what_takes_one_text_as_a_prompt_takes_no_image(backend: str, options: dict[str, Any], folder: Path) -> None:
    with pytest.raises(
        UserError, match=r"^--images: needs a chat route, the Responses API or the Messages API; leave it"
    ):
        request(backend, images=folder, **options)


def test_sessions_have_no_images(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^--images: works only for single requests"):
        request(images=folder, turns="3")


@pytest.mark.parametrize(
    ("backend", "url", "model"),
    [("claude", "https://api.anthropic.com", "claude-haiku-4-5"), ("openai", "https://api.openai.com", "gpt-9")],
)
def test_the_worst_case_has_the_most_tokens_that_an_image_can_have(
    backend: str, url: str, model: str, folder: Path
) -> None:
    with pinned():
        asked = {"url": url, "model": model, "max_usd": "5"}
        pictured, plain = request(backend, images=folder, **asked), request(backend, **asked)
        budget, before = pictured.costs.budget, plain.costs.budget
        assert budget is not None
        assert before is not None
        most = MOST_IMAGE_TOKENS[str(budget.provider)]
        assert prices_of(budget).worst_usd(100, 7) == prices_of(before).worst_usd(100 + most, 7)
        dollars = [
            estimate(dry_plan(each)[0], limit).most_usd or 0 for each, limit in ((pictured, budget), (plain, before))
        ]
        assert dollars[0] > dollars[1]


def test_where_nobody_says_what_an_image_costs_no_limit_is_promised(folder: Path) -> None:
    asked: dict[str, Any] = {"url": "https://api.mistral.ai", "model": "mistral-large-latest", "images": folder}
    with pytest.raises(
        UserError, match=r"^--images: the most tokens that an image can have .*--max-usd none runs without"
    ):
        request(**asked)
    assert request(**asked, max_usd="none").costs.budget is None
