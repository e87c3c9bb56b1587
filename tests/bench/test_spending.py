"""The cap holds whatever is billed: a server that meters what it bills, against the limiter and real dialects.

The server knows what it did; the billing sees bytes. Answers are cut, lied about, lost and sent again, and processes
are killed, at random; what the server bills never passes the cap.
"""

import json
import random
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from backends import BACKENDS
from bench.load.answer_cost import Billing
from bench.load.spend import Admission, Ledger, Prices, SpendLimiter
from bench.types import Call, Message, Usage
from bench.wire.capture import Received
from bench.wire.connection import RequestOutcome
from tests.simulations import few_or_many

WORDS, MAX_TOKENS = 40, 12
IN, OUT = Decimal(3) / 10**6, Decimal(15) / 10**6
LEAST = WORDS, MAX_TOKENS
REFUSALS = (400, 429, 503, 529)
LOST_BEHIND = (408, 500, 502, 504)


def _usd(usage: Usage) -> Decimal:
    if usage.prompt_tokens is None or usage.output_tokens is None:
        raise ValueError("says too little")
    return IN * usage.prompt_tokens + OUT * usage.output_tokens


PRICES = Prices(lambda prompt, output: IN * prompt + OUT * output, _usd)


class Answer(NamedTuple):
    """What came back, as the wire tells it."""

    status: int | None
    data: bytes
    error: tuple[str, str] | None


@dataclass
class Server:
    """Bills every request it works on, by tokens it really made, and says of it what it likes."""

    dialect: str
    rng: random.Random
    billed: Decimal = Decimal(0)

    def answer(self) -> Answer:
        rng = self.rng
        fate = rng.choice(("whole", "whole", "whole", "cut", "lost", "refused", "gateway", "error"))
        if fate == "refused":
            return Answer(rng.choice(REFUSALS), b"", None)
        made = rng.randint(1, MAX_TOKENS)
        self.billed += IN * WORDS + OUT * made
        if fate == "gateway":
            return Answer(rng.choice(LOST_BEHIND), b"", None)
        if fate == "lost":
            return Answer(None, b"", ("cut_stream", ""))
        events = self.events(made, rng.choice(("true", "true", "none", "early", "zero", "less prompt", "less output")))
        if fate == "cut":
            return Answer(200, _response(events[: rng.randrange(len(events))]), ("cut_stream", ""))
        if fate == "error":
            at = rng.randrange(len(events))
            return Answer(
                200, _response([*events[:at], {"type": "error", "error": {"type": "overloaded_error"}}]), None
            )
        return Answer(200, _response(events), None)

    def events(self, made: int, usage: str) -> list[Any]:
        """The answer's events, with a usage that is true, missing, said too early, or a lie."""
        prompt = {"zero": 0, "less prompt": self.rng.randrange(WORDS)}.get(usage, WORDS)
        output = {"zero": 0, "less output": self.rng.randrange(made)}.get(usage, made)
        if self.dialect == "claude":
            start = {"input_tokens": prompt, "output_tokens": 1}
            delta = {"type": "content_block_delta", "delta": {"type": "text_delta", "text": "a "}}
            end: dict[str, Any] = {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn"},
                "usage": {"output_tokens": output},
            }
            if usage in ("none", "early"):
                end["usage"] = {}
            message = {} if usage == "none" else {"usage": start}
            return [{"type": "message_start", "message": message}, *[delta] * made, end, {"type": "message_stop"}]
        counts = {"prompt_tokens": prompt, "completion_tokens": output}
        text = {"choices": [{"delta": {"content": "a "}}]}
        first = {"choices": [], "usage": {**counts, "completion_tokens": 1}} if usage == "early" else {"choices": []}
        stop = {"choices": [{"delta": {}, "finish_reason": "stop"}]}
        last = [] if usage in ("none", "early") else [{"choices": [], "usage": counts}]
        return [first, *[text] * made, stop, *last]


def _response(events: list[Any]) -> bytes:
    body = b"".join(b"data: %b\n\n" % json.dumps(event).encode() for event in events)
    return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def _outcome(answer: Answer) -> RequestOutcome:
    received = Received()
    if answer.data:
        received.parts.append(answer.data)
    return RequestOutcome(1, 2, received, answer.status, answer.error)


def _limiter(ledger: Ledger, *, counted: bool) -> SpendLimiter:
    return SpendLimiter(ledger, PRICES, LEAST, counted=counted)


def spend(folder: Path, seed: int) -> tuple[Decimal, Decimal, Decimal]:
    """Offer calls until nothing more fits; gives what the server billed, what the ledger says, and the cap."""
    rng = random.Random(seed)
    cap = Decimal(rng.randint(500, 20_000)) / 10**6
    dialect, counted = rng.choice(("claude", "openai", "vllm")), rng.random() < 0.5
    path = folder / f"ledger-{seed}"
    Ledger.open_account(path, cap)
    server = Server(dialect, rng)
    limiter = _limiter(Ledger(path), counted=counted)
    refused = 0
    for seq in range(400):
        if rng.random() < 0.01:  # killed: what it had in flight stays set aside, and a new process goes on
            limiter = _limiter(Ledger(path), counted=counted)
            if rng.random() < 0.5:
                Ledger.open_account(path, cap)
        call = Call(seq, None, 0, 0, None, (Message("user", "word " * WORDS),), MAX_TOKENS, 0, WORDS)
        limiter.plan(call)
        if limiter.reserve(seq) is not Admission.NOW:
            refused += 1
            if refused > 5:
                break
            continue
        answer = server.answer()
        if answer.status is None and rng.random() < 0.5 and limiter.reserve_again(seq):
            answer = server.answer()
        if rng.random() < 0.01:
            continue  # killed before it could settle
        Billing(limiter, BACKENDS[dialect].decode).settle(seq, _outcome(answer))
        assert not limiter.was_dearer
    statement = Ledger.spending(path)
    assert statement.spent_usd + statement.left_usd == cap
    return server.billed, statement.spent_usd, cap


@few_or_many("trials", 150, 1000)
def test_whatever_a_metering_server_does_its_bill_stays_under_the_cap(tmp_path: Path, trials: int) -> None:
    for seed in range(trials):
        billed, spent, cap = spend(tmp_path, seed)
        assert billed <= spent <= cap, f"seed {seed}"


@pytest.mark.parametrize("dialect", ["claude", "openai", "vllm"])
def test_an_honest_server_is_charged_to_the_micro_dollar_and_leaves_no_room_unused(
    tmp_path: Path, dialect: str
) -> None:
    Ledger.open_account(tmp_path / "ledger", Decimal("0.01"))
    limiter = _limiter(Ledger(tmp_path / "ledger"), counted=True)
    server, seq = Server(dialect, random.Random(1)), 0
    billed = Decimal(0)
    while True:
        limiter.plan(Call(seq, None, 0, 0, None, (Message("user", "word " * WORDS),), MAX_TOKENS, 0, WORDS))
        if limiter.reserve(seq) is not Admission.NOW:
            break
        made = server.rng.randint(1, MAX_TOKENS)
        billed += IN * WORDS + OUT * made
        answer = Answer(200, _response(server.events(made, "true")), None)
        Billing(limiter, BACKENDS[dialect].decode).settle(seq, _outcome(answer))
        seq += 1
    statement = Ledger.spending(tmp_path / "ledger")
    worst = PRICES.worst_usd(106, MAX_TOKENS)
    assert (statement.spent_usd, statement.assumed_usd) == (billed, Decimal(0))
    assert statement.left_usd < worst


def test_a_stream_that_is_cut_is_charged_by_the_prompt_that_the_messages_api_has_said(tmp_path: Path) -> None:
    Ledger.open_account(tmp_path / "ledger", Decimal(1))
    limiter = _limiter(Ledger(tmp_path / "ledger"), counted=False)
    limiter.plan(Call(0, None, 0, 0, None, (Message("user", "word " * WORDS),), MAX_TOKENS, 0, None))
    limiter.reserve(0)
    events = Server("claude", random.Random(1)).events(8, "true")
    Billing(limiter, BACKENDS["claude"].decode).settle(
        0, _outcome(Answer(200, _response(events[:4]), ("cut_stream", "")))
    )
    statement = Ledger.spending(tmp_path / "ledger")
    assert (
        statement.spent_usd == statement.assumed_usd == IN * WORDS + OUT * MAX_TOKENS
    )  # not of 5 bytes a word and 512 more
