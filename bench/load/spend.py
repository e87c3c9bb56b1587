"""A hard cap on what runs may spend, held by all their load processes together.

A request is let through only if what is spent, the worst that everything in flight can cost, and the worst that it can
cost itself stay within the cap. The sums lie in one small file that every process locks for a moment, and that the runs
of one question share; what a killed process had set aside stays so. An answer is charged by its own account only as
far as that account can be believed; for the rest the worst case stands.
"""

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from enum import Enum
from pathlib import Path
from typing import Literal, NamedTuple

from bench.runs.manifest import Spending
from bench.types import Call, Message, Reply, Usage, UserError

# Amounts are whole numbers, so that processes that add in any order agree to the last digit.
_PICO = 10**12  # the finest price of today, $0.01 for a million tokens, is 10,000 of these a token
# A server's count of a prompt is an estimate where it is asked beforehand; nobody's is off by more.
_COUNT_MARGIN, _COUNT_MARGIN_TOKENS = 1.05, 64
_TEMPLATE_TOKENS = 512
# A gateway that answers by one of these may have passed the request on, to somebody who bills it.
_MAYBE_BILLED = frozenset({408, 499})
_NOT_BILLED_5XX = frozenset({503, 529})


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent, and at whose prices: those of `provider` for `model` on the day `at`.

    `cache_ttl` is the lifetime for which prompts are written to the API's cache, None where they are not. `account` is
    the file that the runs of one question share, None where a run has its own. `image_tokens` is the most that the
    image of a request can have, 0 where none is sent.
    """

    cap_usd: Decimal
    provider: str | None
    model: str
    at: datetime
    cache_ttl: Literal["5m", "1h"] | None
    account: Path | None = None
    image_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices as functions in dollars: of the worst that so many prompt and output tokens can cost, and of a usage.

    The second raises ValueError for a usage that cannot be priced.
    """

    worst_usd: Callable[[int, int], Decimal]
    charge_usd: Callable[[Usage], Decimal]


class Admission(Enum):
    """Whether a call fits under the cap: now, once what is in flight has turned out cheaper, or never."""

    NOW = "now"
    LATER = "later"
    NEVER = "never"


class Sums(NamedTuple):
    """An account in pico-dollars: of `spent`, `assumed` is what nobody accounted for and was charged at its worst.

    `reserved` is set aside for calls in flight. `dearer` is by how much answers have cost more than their worst case.
    """

    cap: int
    spent: int = 0
    reserved: int = 0
    assumed: int = 0
    dearer: int = 0


_SUMS = struct.Struct("<5q")


class Ledger:
    """An account in a file that several processes share."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR)

    @staticmethod
    def open_account(path: Path, cap_usd: Decimal) -> None:
        """Make the file, or go on with one whose processes are gone: what they had set aside counts as spent.

        It is written in its place, by one write under the lock: who still holds it open goes on with the same account,
        and a kill leaves the old sums or the new. In an empty file the first write never came.
        """
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            # A lock of the kernel's: it is gone with the process that held it, however that ended.
            fcntl.lockf(fd, fcntl.LOCK_EX)
            data = os.pread(fd, 2 * _SUMS.size, 0)
            old = _sums_of(data, path) if data else Sums(0)
            spent, assumed = old.spent + old.reserved, old.assumed + old.reserved
            kept = old._replace(cap=int(cap_usd * _PICO), spent=spent, reserved=0, assumed=assumed)
            os.pwrite(fd, _SUMS.pack(*kept), 0)
        finally:
            os.close(fd)

    @staticmethod
    def spending(path: Path) -> Spending:
        """Give the account of processes that are gone; a UserError where the file is none."""
        sums = _sums_of(path.read_bytes(), path)
        cap, spent, reserved, assumed, dearer = (Decimal(amount) / _PICO for amount in sums)
        return Spending(cap, spent + reserved, assumed + reserved, cap - spent - reserved, dearer)

    def reserve(self, worst: int) -> Admission:
        """Set `worst` aside if there is room for it now."""
        with self._locked() as sums:
            # For good, as what is spent never gets less; what is set aside may.
            if sums.spent + worst > sums.cap:
                return Admission.NEVER
            if sums.spent + sums.reserved + worst > sums.cap:
                return Admission.LATER
            self._write(sums._replace(reserved=sums.reserved + worst))
            return Admission.NOW

    def settle(self, worst: int, charged: int, assumed: int = 0) -> None:
        """Turn what was set aside into what was charged, of which `assumed` has no account."""
        with self._locked() as sums:
            self._write(
                sums._replace(
                    spent=sums.spent + charged,
                    reserved=sums.reserved - worst,
                    assumed=sums.assumed + assumed,
                    dearer=sums.dearer + max(0, charged - worst),
                )
            )

    def left(self) -> int:
        """Give what is not spent yet."""
        with self._locked() as sums:
            return sums.cap - sums.spent

    @contextmanager
    def _locked(self) -> Iterator[Sums]:
        # The lock is the process's, not the greenlet's: nothing within the block may switch to another.
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            yield Sums._make(_SUMS.unpack(os.pread(self._fd, _SUMS.size, 0)))
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def _write(self, sums: Sums) -> None:
        os.pwrite(self._fd, _SUMS.pack(*sums), 0)


def in_words(account: Spending) -> str:
    """An account as a line for the user."""
    text = f"spent at most {_usd(account.spent_usd)} of --max-usd {account.cap_usd:f}"
    if account.assumed_usd:
        text += f", of which {_usd(account.assumed_usd)} is the worst case of requests that nobody accounted for"
    if account.left_usd < 0:
        return f"{text}: {_usd(-account.left_usd)} more than allowed"
    return f"{text}; {_usd(account.left_usd)} left"


def _sums_of(data: bytes, path: Path) -> Sums:
    if len(data) != _SUMS.size:
        raise UserError(f"{path}: expected {_SUMS.size} bytes, the account of a run's spending; give another --out")
    return Sums._make(_SUMS.unpack(data))


class _Allowance(NamedTuple):
    """What a call may cost: its worst in pico-dollars, and the tokens behind that.

    A usage with less than `least_prompt_tokens` is of another prompt; `counted_tokens` is None where nobody counted.
    """

    worst: int
    least_prompt_tokens: int
    counted_tokens: int | None
    max_tokens: int


class SpendLimiter:
    """Lets this process's calls through while they fit into the budget.

    No call has less than the `least` tokens of prompt and answer. `counted` says that the plan's prompts were counted
    by the API's own tokenizer, `bills_errors` that it may bill what it answers by a status of 5xx.
    """

    def __init__(
        self, ledger: Ledger, prices: Prices, least: tuple[int, int], *, counted: bool, bills_errors: bool = True
    ) -> None:
        self._ledger = ledger
        self._prices = prices
        self._counted = counted
        self._bills_errors = bills_errors
        prompt_tokens, output_tokens = least
        least_tokens = _with_margin(prompt_tokens) if counted else prompt_tokens
        self._least = _pico(prices.worst_usd(least_tokens, output_tokens))
        self._allowed: dict[int, _Allowance] = {}
        self.was_dearer = False

    def plan(self, call: Call) -> None:
        """Note the worst that a call, whose messages are the whole conversation, can cost, ahead of its time."""
        counted_tokens = call.prompt_tokens if self._counted else None
        most = most_prompt_tokens(call.messages, counted_tokens)
        worst = _pico(self._prices.worst_usd(most, call.max_tokens))
        # A later turn was counted with answers as long as they may be: where one ended early, it has fewer.
        exact_tokens = None if call.turn else counted_tokens
        least = least_prompt_tokens(call.messages, exact_tokens)
        self._allowed[call.seq] = _Allowance(worst, least, exact_tokens, call.max_tokens)

    def reserve(self, seq: int) -> Admission:
        """Set the call's worst case aside if there is room for it now."""
        return self._ledger.reserve(self._allowed[seq].worst)

    def reserve_again(self, seq: int) -> bool:
        """Whether the call may be sent once more: whoever lost its answer may have billed it, so that stays charged."""
        worst = self._allowed[seq].worst
        if self._ledger.reserve(worst) is not Admission.NOW:
            return False
        self._ledger.settle(worst, worst, worst)
        return True

    def is_exhausted(self) -> bool:
        """Say whether not even the smallest call that the scenario can ask for would fit."""
        return self._ledger.left() < self._least

    def settle(self, seq: int, *, sent: bool, status: int | None, reply: Reply | None) -> None:
        """Charge what the call has cost: nothing where it was refused, its worst case where nobody can be believed.

        `was_dearer` tells from then on that a call has cost more than its worst case: the prices, or what is known of
        them, are not the server's.
        """
        allowed = self._allowed.pop(seq)
        if not sent or self._is_free(status):
            charged, is_known = 0, True
        else:
            charged, is_known = self._charge(allowed, reply)
        self._ledger.settle(allowed.worst, charged, 0 if is_known else charged)
        self.was_dearer |= charged > allowed.worst

    def _is_free(self, status: int | None) -> bool:
        if status is None or status < 400:
            return False
        if not self._bills_errors or status in _NOT_BILLED_5XX:
            return True
        return status < 500 and status not in _MAYBE_BILLED

    def _charge(self, allowed: _Allowance, reply: Reply | None) -> tuple[int, bool]:
        """The charge in pico-dollars, and whether the answer itself accounts for all of it."""
        usage = reply.usage if reply else None
        if reply is None or usage is None or (usage.prompt_tokens or 0) < allowed.least_prompt_tokens:
            return allowed.worst, False
        usage = usage._replace(prompt_tokens=max(usage.prompt_tokens or 0, allowed.counted_tokens or 0))
        try:
            if reply.usage_settles == "all" and not reply.error and (usage.output_tokens or 0) >= len(reply.deltas):
                return _pico(self._prices.charge_usd(usage)), True
            if reply.usage_settles == "prompt":
                at_most = usage._replace(output_tokens=allowed.max_tokens, reasoning_tokens=None)
                return _pico(self._prices.charge_usd(at_most)), False
        except ValueError:
            pass  # a usage that says too little, or what cannot be
        return allowed.worst, False


def most_prompt_tokens(messages: tuple[Message, ...], counted_tokens: int | None) -> int:
    """Give as many tokens as a prompt can have: by its count, or by its bytes, of which no token has less than one."""
    if counted_tokens is not None:
        return _with_margin(counted_tokens)
    return sum(len(message.text.encode()) for message in messages) + _TEMPLATE_TOKENS


def least_prompt_tokens(messages: tuple[Message, ...], counted_tokens: int | None) -> int:
    """Give as few tokens as a prompt can have: by its count, or by its words, of which each is a token or more."""
    if counted_tokens is not None:
        return max(1, int((counted_tokens - _COUNT_MARGIN_TOKENS) / _COUNT_MARGIN))
    return max(1, sum(len(message.text.split()) for message in messages))


def _with_margin(counted_tokens: int) -> int:
    return int(counted_tokens * _COUNT_MARGIN) + _COUNT_MARGIN_TOKENS


def _usd(amount: Decimal) -> str:
    return f"${amount.quantize(Decimal('0.000001'), ROUND_CEILING).normalize():f}"


def _pico(usd: Decimal) -> int:
    return int((usd * _PICO).to_integral_value(ROUND_CEILING))
