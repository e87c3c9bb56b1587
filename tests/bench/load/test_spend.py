from collections.abc import Sequence
from decimal import Decimal
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.load.spend import Admission, Ledger, Prices, SpendLimiter, in_words, least_prompt_tokens, most_prompt_tokens
from bench.runs.manifest import Spending
from bench.types import Call, Message, Reply, Usage, UserError

PICO = 10**12


def _charge(usage: Usage) -> Decimal:
    if usage.prompt_tokens is None or usage.output_tokens is None:
        raise ValueError("says too little")
    return Decimal(usage.prompt_tokens + 5 * usage.output_tokens) / 1_000_000


# A dollar a million prompt tokens, five a million output tokens.
PRICES = Prices(
    worst_usd=lambda prompt, output: Decimal(prompt + 5 * output) / 1_000_000,
    charge_usd=lambda usage: _charge(usage),
)
LEAST = 100, 20
WORST = 169 + 5 * 20  # micro-dollars of a call of LEAST with its prompt counted: 100 tokens, and the margin


def account(path: Path, cap_usd: str) -> Ledger:
    Ledger.open_account(path / "ledger", Decimal(cap_usd))
    return Ledger(path / "ledger")


def call(seq: int, prompt_tokens: int | None = 100, max_tokens: int = 20) -> Call:
    return Call(seq, None, 0, 0, None, (Message("user", "café"),), max_tokens, 0, prompt_tokens)


def reply(
    usage: Usage | None,
    *,
    settles: Literal["nothing", "prompt", "all"] = "all",
    error: tuple[str, str] | None = None,
    arrivals: int = 0,
) -> Reply:
    return Reply("", [(0, None, "text")] * arrivals, usage, "stop", error, usage_settles=settles)


def limiter(ledger: Ledger, *calls: Call, counted: bool = True) -> SpendLimiter:
    keeper = SpendLimiter(ledger, PRICES, LEAST, counted=counted)
    for each in calls:
        keeper.plan(each)
    return keeper


# --- the ledger --------------------------------------------------------------------------------------------------


def test_there_is_room_until_the_worst_of_all_in_flight_reaches_the_cap(tmp_path: Path) -> None:
    ledger = account(tmp_path, "10")
    assert [ledger.reserve(4 * PICO) for _ in range(3)] == [Admission.NOW, Admission.NOW, Admission.LATER]
    ledger.settle(4 * PICO, 1 * PICO)
    assert ledger.reserve(5 * PICO) is Admission.NOW  # 1 spent, 4 and 5 set aside: the cap itself may be reached
    assert ledger.reserve(1) is Admission.LATER
    ledger.settle(4 * PICO, 4 * PICO)
    ledger.settle(5 * PICO, 5 * PICO)
    assert (ledger.left(), ledger.reserve(1)) == (0, Admission.NEVER)


def test_what_could_only_fit_if_nothing_were_spent_never_will(tmp_path: Path) -> None:
    ledger = account(tmp_path, "1")
    ledger.reserve(PICO // 2)
    assert ledger.reserve(PICO) is Admission.LATER
    ledger.settle(PICO // 2, 1)
    assert ledger.reserve(PICO) is Admission.NEVER


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 50), st.floats(0, 1)), max_size=200))
def test_processes_that_share_a_ledger_never_spend_above_the_cap(
    tmp_path_factory: pytest.TempPathFactory, steps: Sequence[tuple[int, int, float]]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger"
    Ledger.open_account(path, Decimal(100) / PICO)
    ledgers = [Ledger(path) for _ in range(4)]
    in_flight: list[list[tuple[int, int]]] = [[] for _ in ledgers]
    spent = 0
    for n, worst, share in steps:
        if in_flight[n] and share < 0.5:
            held, charged = in_flight[n].pop()
            ledgers[n].settle(held, charged)
            spent += charged
        elif ledgers[n].reserve(worst) is Admission.NOW:
            in_flight[n].append((worst, round(worst * share)))
        assert spent + sum(held for own in in_flight for held, _ in own) <= 100
    assert ledgers[0].left() == 100 - spent


def _reserve_all(path: Path, n: int) -> int:
    ledger = Ledger(path)
    return sum(ledger.reserve(1) is Admission.NOW for _ in range(n))


@pytest.mark.slow
def test_no_reservation_of_another_process_is_lost(tmp_path: Path) -> None:
    Ledger.open_account(tmp_path / "ledger", Decimal(3000) / PICO)
    with get_context("spawn").Pool(2) as pool:
        granted = pool.starmap(_reserve_all, [(tmp_path / "ledger", 2000)] * 2)
    assert sum(granted) == 3000


# --- the limiter ---------------------------------------------------------------------------------------------------


def test_a_call_is_charged_by_its_own_usage_and_the_rest_is_free_again(tmp_path: Path) -> None:
    ledger = account(tmp_path, "0.000400")
    keeper = limiter(ledger, call(0), call(1))
    assert (keeper.reserve(0), keeper.reserve(1)) == (Admission.NOW, Admission.LATER)
    keeper.settle(0, sent=True, status=200, reply=reply(Usage(prompt_tokens=101, output_tokens=4)))
    assert ledger.left() == (400 - 121) * PICO // 1_000_000
    assert keeper.reserve(1) is Admission.NOW


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(5, 60), st.integers(1, 20)), min_size=1, max_size=8))
def test_a_session_is_charged_by_what_came_back_and_bounded_by_what_could(
    tmp_path_factory: pytest.TempPathFactory, turns: list[tuple[int, int]]
) -> None:
    """Turns of so many words each, a token a word, whose answers may have 20 tokens and come to so many."""
    ledger = account(tmp_path_factory.mktemp("account"), "1")
    said, planned, billed = list[Message](), 0, 0
    for seq, (words, came) in enumerate(turns):
        said.append(Message("user", "a " * words))
        planned += words
        prompt = sum(len(message.text.split()) for message in said)
        turn = Call(seq, None, 0, seq, None, tuple(said), 20, 0, planned)
        keeper = limiter(ledger, turn)
        before = ledger.left()
        assert keeper.reserve(seq) is Admission.NOW
        keeper.settle(seq, sent=True, status=200, reply=reply(Usage(prompt_tokens=prompt, output_tokens=came)))
        billed += prompt + 5 * came
        assert before - ledger.left() == (prompt + 5 * came) * PICO // 1_000_000
        assert not keeper.was_dearer
        said.append(Message("assistant", "b " * came))
        planned += 20
    assert PICO - ledger.left() == billed * PICO // 1_000_000


@pytest.mark.parametrize(
    ("sent", "status", "answer", "charged"),
    [
        (False, None, None, 0),
        (True, 400, None, 0),
        (True, 429, None, 0),
        (True, 503, None, 0),
        (True, 529, None, 0),
        (True, 408, None, WORST),  # whoever waited for it in vain may have passed it on
        (True, 500, None, WORST),
        (True, 502, None, WORST),
        (True, 504, None, WORST),
        (True, None, None, WORST),  # the connection broke: nobody knows
        (True, 200, None, WORST),
        (True, 200, reply(None), WORST),
        (True, 200, reply(Usage(prompt_tokens=100)), WORST),
        (True, 200, reply(Usage(output_tokens=5)), WORST),
        (True, 200, reply(Usage(prompt_tokens=0, output_tokens=5)), WORST),
        (True, 200, reply(Usage(prompt_tokens=30, output_tokens=5)), WORST),  # of another prompt
        (True, 200, reply(Usage(prompt_tokens=90, output_tokens=5)), 125),  # off by what a count may be
        (True, 200, reply(Usage(prompt_tokens=100, output_tokens=5), arrivals=6), WORST),  # more came than it says
        (True, 200, reply(Usage(prompt_tokens=100, output_tokens=5), settles="nothing"), WORST),  # and more may come
        (True, 200, reply(Usage(prompt_tokens=100, output_tokens=5), error=("cut_stream", "")), WORST),
        (True, 200, reply(Usage(prompt_tokens=110, output_tokens=1), settles="prompt"), 210),
        (True, 200, reply(Usage(prompt_tokens=9, output_tokens=1), settles="prompt"), WORST),
        (True, 200, reply(Usage(prompt_tokens=200, output_tokens=20)), 300),  # dearer than its worst case: charged
    ],
)
def test_what_was_refused_is_free_and_what_nobody_can_be_believed_on_costs_the_worst(
    tmp_path: Path, sent: bool, status: int | None, answer: Reply | None, charged: int
) -> None:
    ledger = account(tmp_path, "1")
    keeper = limiter(ledger, call(0))
    keeper.reserve(0)
    keeper.settle(0, sent=sent, status=status, reply=answer)
    assert ledger.left() == PICO - charged * PICO // 1_000_000
    assert keeper.was_dearer is (charged > WORST)


def test_an_api_that_bills_no_errors_is_believed_on_that(tmp_path: Path) -> None:
    ledger = account(tmp_path, "1")
    keeper = SpendLimiter(ledger, PRICES, LEAST, counted=True, bills_errors=False)
    keeper.plan(call(0))
    keeper.reserve(0)
    keeper.settle(0, sent=True, status=500, reply=None)
    assert ledger.left() == PICO


def test_a_call_that_is_sent_again_is_charged_twice_and_not_sent_where_that_does_not_fit(tmp_path: Path) -> None:
    ledger = account(tmp_path, "0.000600")
    keeper = limiter(ledger, call(0), call(1))
    keeper.reserve(0)
    assert keeper.reserve_again(0)
    assert not keeper.reserve_again(0)
    keeper.settle(0, sent=True, status=200, reply=reply(Usage(prompt_tokens=100, output_tokens=0)))
    assert ledger.left() == (600 - WORST - 100) * PICO // 1_000_000


def test_the_budget_is_exhausted_when_not_even_the_smallest_call_fits(tmp_path: Path) -> None:
    ledger = account(tmp_path, "0.000538")
    keeper = limiter(ledger, call(0), call(1))
    keeper.reserve(0)
    keeper.settle(0, sent=True, status=200, reply=None)
    assert not keeper.is_exhausted()  # as much is left as a call costs
    keeper.plan(call(2, prompt_tokens=1, max_tokens=0))
    keeper.reserve(2)
    keeper.settle(2, sent=True, status=200, reply=None)
    assert keeper.is_exhausted()


def test_a_prompt_has_at_most_its_count_and_a_margin_or_a_token_for_each_byte() -> None:
    assert most_prompt_tokens((Message("user", "x"),), 1000) == 1114
    assert most_prompt_tokens((Message("system", "ab"), Message("user", "café")), None) == 2 + 5 + 512


def test_a_prompt_without_a_count_has_at_least_a_token_a_word() -> None:
    assert least_prompt_tokens((Message("system", "one two"), Message("user", "three")), None) == 3
    assert least_prompt_tokens((Message("user", ""),), None) == 1
    assert least_prompt_tokens((Message("user", "x"),), 1114) == 1000


# --- what is said of it ------------------------------------------------------------------------------------------


def test_an_account_goes_on_where_processes_left_it_with_what_they_had_set_aside(tmp_path: Path) -> None:
    ledger = account(tmp_path, "1")
    ledger.reserve(PICO // 4)
    ledger.reserve(PICO // 2)
    ledger.settle(PICO // 4, PICO // 8)
    assert Ledger.spending(tmp_path / "ledger").spent_usd == Decimal("0.625")
    Ledger.open_account(tmp_path / "ledger", Decimal(2))
    assert Ledger.spending(tmp_path / "ledger") == Spending(*map(Decimal, ("2", "0.625", "0.5", "1.375", "0")))


@pytest.mark.parametrize(
    ("sums", "said"),
    [
        ((50, 20, 0, 30, 0), "spent at most $0.02 of --max-usd 0.05; $0.03 left"),
        (
            (50, 30, 15, 20, 0),
            "spent at most $0.03 of --max-usd 0.05, of which $0.015 is the worst case of requests that nobody "
            "accounted for; $0.02 left",
        ),
        ((50, 60, 0, -10, 10), "spent at most $0.06 of --max-usd 0.05: $0.01 more than allowed"),
    ],
)
def test_the_statement_says_what_was_spent_and_left_or_that_it_was_more(sums: tuple[int, ...], said: str) -> None:
    assert in_words(Spending(*(Decimal(amount) / 1000 for amount in sums))) == said


def test_a_file_that_is_no_account_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "ledger").write_bytes(b"x" * 24)
    with pytest.raises(UserError, match="expected 40 bytes, the account of a run's spending"):
        Ledger.open_account(tmp_path / "ledger", Decimal(1))
