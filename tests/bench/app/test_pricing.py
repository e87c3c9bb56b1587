import json
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest

from analysis.money import prices
from backends import BACKENDS
from bench.app.options import RunOptions
from bench.app.pricing import budget_of, costs_of, estimate, hourly_of, in_a_line, size_of
from bench.plan.calls import make_plan
from bench.plan.prompts import Vocabulary
from bench.runs.manifest import HourPricing
from bench.server.tinytokenizer import WORDS
from bench.types import Lengths, Load, Scenario, Usage, UserError
from tests.commands import bench
from tests.fixtures.pinned_prices import pinned

MODEL = "claude-haiku-4-5"
PUBLIC, PRIVATE = "https://llm.example.com", "http://10.0.0.7:8000"
SCENARIO = Scenario("w", "", Lengths("fixed", 500, 500), Lengths("fixed", 200, 200), 0, 1, 100, 0)
NOTHING = RunOptions(model=MODEL)


# --- who bills ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("backend", "url", "has_key", "cap"),
    [
        ("claude", "https://api.anthropic.com", True, "1.00"),
        ("claude", "http://127.0.0.1:8000", True, None),
        ("claude", PRIVATE, True, None),
        ("openai", None, True, None),
        ("openai", "http://gpu-box:8000", True, None),
        ("openai", PUBLIC, False, None),
        ("vllm", "http://box.internal:8000", True, None),
    ],
)
def test_an_api_that_bills_has_a_cap_and_a_server_of_ones_own_has_none(
    backend: str, url: str | None, has_key: bool, cap: str | None
) -> None:
    budget = budget_of(BACKENDS[backend], url, NOTHING, SCENARIO, has_key=has_key)
    assert (budget and str(budget.cap_usd)) == cap


def test_a_known_api_is_known_by_its_address() -> None:
    budget = budget_of(
        BACKENDS["openai"], "https://api.openai.com", replace(NOTHING, model="gpt-4o"), SCENARIO, has_key=False
    )
    assert budget is not None
    assert (budget.provider, str(budget.cap_usd)) == ("openai", "1.00")


@pytest.mark.parametrize("model", ["my-own-model", "claude-hauku-4-5"])
def test_without_a_price_a_run_is_refused_unless_the_limit_is_lifted(model: str) -> None:
    asked = replace(NOTHING, model=model)
    with pytest.raises(UserError, match=f"'{model}'.*--max-usd none runs without a limit"):
        budget_of(BACKENDS["openai"], PUBLIC, asked, SCENARIO, has_key=True)
    assert budget_of(BACKENDS["openai"], PUBLIC, replace(asked, max_usd="none"), SCENARIO, has_key=True) is None


@pytest.mark.parametrize("amount", ["free", "-1", "0", "nan", "1e9"])
def test_a_limit_that_is_no_amount_is_refused(amount: str) -> None:
    with pytest.raises(UserError, match="--max-usd: expected dollars such as"):
        budget_of(BACKENDS["claude"], PRIVATE, replace(NOTHING, max_usd=amount), SCENARIO, has_key=True)


@pytest.mark.parametrize(
    ("prefix_tokens", "asked", "ttl"), [(0, "1h", None), (99, "1h", "1h"), (99, None, "5m"), (99, "off", None)]
)
def test_any_server_can_be_given_a_limit_which_knows_whether_prompts_are_written_to_a_cache(
    prefix_tokens: int, asked: str | None, ttl: str | None
) -> None:
    sharing = replace(SCENARIO, shared_prefix_tokens=prefix_tokens)
    options = replace(NOTHING, max_usd="$0.25", cache_ttl=asked)
    budget = budget_of(BACKENDS["claude"], PRIVATE, options, sharing, has_key=False)
    assert budget is not None
    assert (budget.cap_usd, budget.cache_ttl) == (Decimal("0.25"), ttl)


def test_the_estimate_is_the_sum_of_every_calls_own_worst_case() -> None:
    """100 x (500 in, 200 out) at $1 and $5 a million; with a shared prefix the prompts at the price of writes."""
    load = Load(1, None, "poisson", 100, None, 0, None, 1, "wait")
    with pinned():
        said = []
        for scenario in (SCENARIO, replace(SCENARIO, shared_prefix_tokens=100)):
            plan = make_plan(scenario, load, 0, 0, Vocabulary(WORDS, 1.0, 18, True, "x"))
            budget = budget_of(BACKENDS["claude"], "https://api.anthropic.com", NOTHING, scenario, has_key=True)
            assert budget is not None
            said += [in_a_line(estimate(plan, budget, batch=batch), size_of(plan)) for batch in (False, True)]
    amounts = [text.partition(" for 100 requests, 50,000 prompt and 20,000 output tokens, at ")[0] for text in said]
    assert amounts == [f"estimate: at most ${usd}" for usd in ("0.15", "0.0750", "0.16", "0.0813")]


# --- the cap, against a server that charges unevenly -------------------------------------------------------------


class Biller(BaseHTTPRequestHandler):
    """The Messages API of a server that bills each request differently, and one that breaks off in full."""

    protocol_version = "HTTP/1.1"
    billed: ClassVar[list[Decimal]]
    drawn: ClassVar[random.Random]
    lock = threading.Lock()

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer for the model."""
        self.answer({"type": "model", "id": MODEL, "display_name": "m", "created_at": "2026-01-01T00:00:00Z"})

    def do_POST(self) -> None:
        """Count tokens, or stream an answer."""
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        words = sum(len(str(message["content"]).split()) for message in asked["messages"]) + 9
        if self.path.endswith("count_tokens"):
            return self.answer({"input_tokens": words})
        with self.lock:
            fates = ["full", *["short"] * 6, "written", "limited", "broken", "overloaded"]  # not most of them fail
            fate = self.drawn.choice(fates) if self.billed else "full"  # what comes before the load is to succeed
            most = asked["max_tokens"]
            output = most if fate in ("full", "written") else self.drawn.randrange(1, most)
            took_s = self.drawn.uniform(0.001, 0.03)
        time.sleep(took_s)
        if fate == "limited":
            return self.answer({"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}, 429)
        written = words if fate in ("written", "broken", "overloaded") else 0
        self.bill(Usage(words, 0, written, most if fate in ("broken", "overloaded") else output))
        return self.stream(fate, words, written, output)

    def bill(self, usage: Usage) -> None:
        """Note what the API would charge."""
        with self.lock:
            self.billed.append(prices.usd_of(prices.find(MODEL, "anthropic", datetime.now(UTC)), usage))

    def stream(self, fate: str, words: int, written: int, output: int) -> None:
        """Send the events; some answers break off, in silence or with an error."""
        usage = {"input_tokens": words - written, "cache_creation_input_tokens": written, "output_tokens": 1}
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": {"type": "message", "content": [], "usage": usage}},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "so"}},
        ]
        if fate == "overloaded":
            events.append({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}})
        elif fate != "broken":
            ending = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": output}}
            events += [ending, {"type": "message_stop"}]
        data = b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def answer(self, content: object, status: int = 200) -> None:
        """Send JSON."""
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def biller(web_server: Any) -> Iterator[tuple[str, type[Biller]]]:
    class Own(Biller):
        billed: ClassVar[list[Decimal]] = []
        drawn: ClassVar[random.Random] = random.Random(1)

    yield web_server(Own), Own


def run(url: str, out: Path, *flags: str) -> "subprocess.CompletedProcess[str]":
    asked = ["--backend", "claude", "--url", url, "--model", MODEL, "--prompt-tokens", "150", "--output-tokens", "60"]
    return bench("run", *asked, *flags, "--out", out)


@pytest.mark.slow
@pytest.mark.parametrize(
    "load",
    [
        ["--concurrency", "32", "--workers", "2", "--requests", "400"],
        pytest.param(["--rate", "300", "--workers", "2", "--requests", "600"], marks=pytest.mark.slow),
        pytest.param(
            ["--concurrency", "32", "--workers", "2", "--duration", "30s", "--warmup", "0"], marks=pytest.mark.slow
        ),
    ],
    ids=["closed", "open", "by time"],
)
def test_never_a_cent_is_spent_above_the_cap(biller: tuple[str, type[Biller]], tmp_path: Path, load: list[str]) -> None:
    url, server = biller
    done = run(url, tmp_path / "run", *load, "--max-usd", "0.04")
    assert done.returncode == 4
    assert "the limit is --max-usd 0.04" in done.stderr
    spent = sum(server.billed, Decimal(0))
    assert Decimal("0.036") < spent <= Decimal("0.04")
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    outcomes = summary["requests"]
    assert outcomes["by_error"]["budget"] > 0
    assert (
        outcomes["succeeded"] + outcomes["failed"] + outcomes["dropped"] + outcomes["unfinished"] == outcomes["planned"]
    )
    assert {"http_429", "overloaded", "cut_stream"} <= outcomes["by_error"].keys()
    reasons = {reason["code"]: reason["message"] for reason in summary["verdict"]["reasons"]}
    assert "of $0.0400 spent): raise it" in reasons["out_of_budget"]
    account = json.loads((tmp_path / "run/run.json").read_text())["spending"]
    assert spent <= Decimal(account["spent_usd"]) <= Decimal("0.04")
    assert f"of --max-usd {Decimal(account['cap_usd'])}" in done.stderr
    assert "refused" in reasons["rate_limited"]


@pytest.mark.slow
def test_a_run_that_fits_is_not_held_back(biller: tuple[str, type[Biller]], tmp_path: Path) -> None:
    url, _ = biller
    done = run(url, tmp_path / "run", "--requests", "40", "--warmup", "0", "--max-usd", "1")
    assert done.returncode == 0
    assert "budget" not in json.loads((tmp_path / "run/summary.json").read_text())["requests"]["by_error"]


def test_a_dry_run_sends_nothing(biller: tuple[str, type[Biller]], tmp_path: Path) -> None:
    done = run("http://127.0.0.1:9", tmp_path / "run", "--requests", "40", "--max-usd", "1", "--dry-run")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1] == "nothing was sent"
    assert "estimate: at most about $" in done.stdout
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("limit", "more", "fits"), [("1", [], True), ("0.001", [], False), ("0.05", ["--repeat", "50"], False)]
)
def test_a_dry_run_that_would_not_fit_its_limit_says_so(
    biller: tuple[str, type[Biller]], tmp_path: Path, limit: str, more: list[str], fits: bool
) -> None:
    done = run("http://127.0.0.1:9", tmp_path / "run", "--requests", "40", "--max-usd", limit, *more, "--dry-run")
    assert done.returncode == 0
    assert ("may not be enough" in done.stdout) is not fits


OWNED = "price_usd=1460,months=20,usd_per_kwh=0.30,pue=1.5,watts="


def priced(owned: str) -> tuple[Decimal, Decimal | None]:
    pricing = costs_of(RunOptions(owned=owned), BACKENDS["llamacpp"], None, SCENARIO, has_key=False).pricing
    assert isinstance(pricing, HourPricing)
    return pricing.usd_per_hour, pricing.usd_per_kwh


def test_power_that_a_run_is_to_measure_is_left_out_of_the_hour_and_its_price_is_kept() -> None:
    assert priced(OWNED + "measured") == (Decimal("0.1"), Decimal("0.45"))
    assert priced(OWNED + "1000") == (Decimal("0.55"), None)
    with pytest.raises(UserError, match="watts=measured works only for a run"):
        hourly_of(RunOptions(owned=OWNED + "measured"))
