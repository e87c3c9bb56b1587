"""A hard cap on what a run may spend, held by all its load processes together.

A request is let through only if what is spent, the worst that everything in flight can cost, and the worst that it can
cost itself stay within the cap. The sums lie in one small file that every process locks for a moment; what a killed
process had reserved stays reserved.
"""

import fcntl
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import ROUND_CEILING, Decimal
from enum import Enum
from pathlib import Path
from typing import Literal

from bench.types import Call, Message, Scenario, Usage

_PICO = 10**12  # the finest price of today, $0.01 for a million tokens, is 10,000 of these a token
_SUMS = struct.Struct("<qqq")  # cap, spent, reserved; in pico-dollars
# A server's count of a prompt is an estimate where it is asked beforehand; nobody's is off by more.
_COUNT_MARGIN, _COUNT_MARGIN_TOKENS = 1.05, 64
_TEMPLATE_TOKENS = 512


@dataclass(frozen=True, slots=True)
class Budget:
    """What a run may spend, and at whose prices: those of `provider` for `model` on the day `at`.

    `cache_ttl` is the lifetime for which prompts are written to the API's cache, None where they are not.
    """

    cap_usd: Decimal
    provider: str | None
    model: str
    at: datetime
    cache_ttl: Literal["5m", "1h"] | None


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices as functions in dollars: of the worst that so many prompt and output tokens can cost, and of a usage.

    The second raises ValueError for a usage that cannot be priced.
    """

    worst_usd: Callable[[int, int], Decimal]
    charge_usd: Callable[[Usage], Decimal]


class Room(Enum):
    """Whether a call fits under the cap: now, once what is in flight has turned out cheaper, or never."""

    NOW = "now"
    LATER = "later"
    NEVER = "never"


class Ledger:
    """The sums of a run in pico-dollars, in a file that several processes share."""

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_RDWR)

    @staticmethod
    def open_account(path: Path, cap_usd: Decimal) -> None:
        """Make the file, with nothing spent yet."""
        path.write_bytes(_SUMS.pack(int(cap_usd * _PICO), 0, 0))

    @staticmethod
    def spent_usd(path: Path) -> Decimal:
        """Give what a run that has ended spent, and what was set aside by processes that are gone."""
        _, spent, reserved = _SUMS.unpack(path.read_bytes())
        return Decimal(spent + reserved) / _PICO

    def reserve(self, worst: int) -> Room:
        """Set `worst` aside if there is room for it now."""
        with self._locked() as (cap, spent, reserved):
            if spent + worst > cap:
                return Room.NEVER
            if spent + reserved + worst > cap:
                return Room.LATER
            self._write(cap, spent, reserved + worst)
            return Room.NOW

    def settle(self, worst: int, charged: int) -> None:
        """Turn what was set aside into what was charged."""
        with self._locked() as (cap, spent, reserved):
            self._write(cap, spent + charged, reserved - worst)

    def left(self) -> int:
        """Give what is not spent yet."""
        with self._locked() as (cap, spent, _):
            return cap - spent

    @contextmanager
    def _locked(self) -> Iterator[tuple[int, int, int]]:
        fcntl.lockf(self._fd, fcntl.LOCK_EX)
        try:
            cap, spent, reserved = _SUMS.unpack(os.pread(self._fd, _SUMS.size, 0))
            yield cap, spent, reserved
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN)

    def _write(self, cap: int, spent: int, reserved: int) -> None:
        os.pwrite(self._fd, _SUMS.pack(cap, spent, reserved), 0)


class Guard:
    """Lets this process's calls through while they fit into the run's budget.

    `counted` says that the plan's prompts were counted by the API's own tokenizer.
    """

    def __init__(self, ledger: Ledger, prices: Prices, scenario: Scenario, *, counted: bool) -> None:
        self._ledger = ledger
        self._prices = prices
        self._counted = counted
        least_tokens = _with_margin(scenario.prompt_tokens.low) if counted else scenario.prompt_tokens.low
        self._least = _pico(prices.worst_usd(least_tokens, scenario.output_tokens.low))
        self._worst: dict[int, int] = {}

    def plan(self, call: Call) -> None:
        """Note the worst that a call can cost, ahead of its time."""
        prompt_tokens = most_prompt_tokens(call.messages, call.prompt_tokens if self._counted else None)
        self._worst[call.seq] = _pico(self._prices.worst_usd(prompt_tokens, call.max_tokens))

    def reserve(self, seq: int) -> Room:
        """Set the call's worst case aside if there is room for it now."""
        return self._ledger.reserve(self._worst[seq])

    def is_exhausted(self) -> bool:
        """Say whether not even the smallest call that the scenario can ask for would fit."""
        return self._ledger.left() < self._least

    def settle(self, seq: int, *, sent: bool, status: int | None, usage: Usage | None) -> None:
        """Charge what the call has cost: nothing where it was refused, its worst case where nobody said."""
        charged = worst = self._worst.pop(seq)
        if not sent or (status is not None and status >= 400):
            charged = 0
        elif usage is not None:
            with suppress(ValueError):  # a usage that says too little, or what cannot be
                charged = _pico(self._prices.charge_usd(usage))
        self._ledger.settle(worst, charged)


def most_prompt_tokens(messages: tuple[Message, ...], counted_tokens: int | None) -> int:
    """Give as many tokens as a prompt can have: by its count, or by its bytes, of which no token has less than one."""
    if counted_tokens is not None:
        return _with_margin(counted_tokens)
    return sum(len(message.text.encode()) for message in messages) + _TEMPLATE_TOKENS


def _with_margin(counted_tokens: int) -> int:
    return int(counted_tokens * _COUNT_MARGIN) + _COUNT_MARGIN_TOKENS


def _pico(usd: Decimal) -> int:
    return int((usd * _PICO).to_integral_value(ROUND_CEILING))
