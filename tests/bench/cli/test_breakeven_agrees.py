"""All that `breakeven` shows says one thing: generated runs, prices and volumes, exact fractions beside it."""

import json
import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from analysis.breakeven import written
from analysis.breakeven.pairing import Pairing
from analysis.breakeven.states import States
from analysis.present.of_breakeven import CHOICES
from bench.app.breakeven import comparison
from bench.cli.root import cli
from bench.runs import folder
from tests.analysis.breakeven import brute_force
from tests.analysis.breakeven.brute_force import Servers, State
from tests.fixtures.pinned_prices import pinned


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, ...]:
    """A question whose answer is near enough to call neither way, now and then."""
    capacity = draw(st.floats(0.05, 4)) // 0.01 / 100
    spread = draw(st.sampled_from([0.0, 0.1, 0.3]))
    ends = (f"{capacity * (1 - spread):.4f}", f"{capacity * (1 + spread):.4f}")
    hour = draw(st.sampled_from(["0.34", "0.79", "0"]))
    ops, peak, share = (draw(st.sampled_from(values)) for values in (["0", "50"], ["1", "1.5", "3"], ["1", "0.7"]))
    full = capacity * 0.7 * 2_628_000 / float(peak)
    # Around the price at which a full replica meets the API, and around the steps of the staircase.
    near = float(hour) * 730 / full * draw(st.floats(0.5, 3)) if float(hour) else 0.0001
    price = f"{max(1e-7, near):.9f}" if draw(st.integers(0, 9)) else "0"
    volume = max(1, int(full / float(share) * draw(st.sampled_from([0.2, 0.5, 0.9, 1.0, 1.05, 1.5, 2.0, 3.7]))))
    return (
        "--self", "..".join(ends) if spread else ends[0], "--usd-per-hour", hour, "--ops-usd-per-month", ops,
        "--peak-to-mean", peak, "--hybrid-share", share, "--versus", price, "--requests-per-month", str(volume),
    )  # fmt: skip


def exactly(question: tuple[str, ...], pairing: Pairing, states: States) -> tuple[Servers, list[State], int]:
    """The same question in fractions, with the states that the command drew."""
    given_as = dict(zip(question[::2], question[1::2], strict=True))
    servers = Servers(
        Fraction(given_as["--usd-per-hour"]) * 730, Fraction(given_as["--ops-usd-per-month"]), Fraction(7, 10),
        Fraction(given_as["--peak-to-mean"]), offered=Fraction(given_as["--hybrid-share"]),
    )  # fmt: skip
    price = Fraction(pairing.usd_per_request)
    stated = [Fraction(str(pairing.host.capacity_rps))] if len(states) == 1 else map(Fraction, states.capacity_rps)
    factors = map(Fraction, states.price_factor)
    all_states = [State(price * factor, rps) for factor, rps in zip(factors, stated, strict=True)]
    return servers, all_states, int(given_as["--requests-per-month"])


@settings(
    deadline=None,
    max_examples=12,
    # Each example takes a second: a failing one is not made smaller.
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(question=questions())
def test_sentence_probability_spans_month_curves_table_page_and_exit_code_agree(
    question: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    seen: list[Any] = []
    compare = comparison.compare
    out = tmp_path_factory.mktemp("out")

    def watched(*asked: Any) -> Any:
        seen.append(compare(*asked))
        return seen[-1]

    with monkeypatch.context() as patch, pinned():
        patch.setattr(comparison, "compare", watched)
        code = cli.main(["breakeven", *question, "--out", str(out), "--inconclusive", "fail"], standalone_mode=False)
    text = " ".join(capsys.readouterr().out.split())
    document = json.loads((out / "breakeven.json").read_text())
    page = (out / "breakeven.html").read_text()
    (alternative,) = document["rivals"]
    servers, states, volume = exactly(question, seen[0].alternatives[0].pairing, seen[0].alternatives[0].states)
    count, close = brute_force.wins(servers, states, volume)
    if not close:
        assert alternative["p_cheaper"] == count / len(states)
        rule = brute_force.choice(count, len(states))
        assert alternative["choice"] in (rule, "same")
    choice, chance = alternative["choice"], alternative["p_cheaper"]
    month = alternative["month"]
    mean = sum((brute_force.saving_usd(servers, state, volume) for state in states), Fraction(0)) / len(states)
    assert float(month["saving_usd"]) == pytest.approx(float(mean), rel=1e-6, abs=1e-6)
    assert float(month["api_usd"]) - float(month["self_usd"]) == pytest.approx(float(mean), rel=1e-6, abs=1e-6)
    # The words.
    assert ("Self-host: " in text) == ("Self-host: " in page) == (choice == "self-host")
    assert ("Pay the API: " in text) == ("Pay the API: " in page) == (choice == "api")
    assert ("Too close to call" in text) == (choice == "undecided") == (alternative["answer"]["kind"] == "undecided")
    assert f" {CHOICES[choice]} " in text and code == (1 if choice == "undecided" else 0)
    # The spans, and the curves through the volumes that are drawn.
    for at, p in zip(document["volumes"], alternative["curves"]["p_cheaper"], strict=True):
        known = alternative["answer"]["known_to"]
        if known is None or at <= known:
            assert within(alternative["answer"]["spans"], at) == (p >= 0.95), at
            assert within(alternative["answer"]["open_spans"], at) == (0.05 + 1e-9 < p < 0.95), at
    assert (
        within(alternative["answer"]["spans"], volume) == (chance >= 0.95)
        or alternative["answer"]["known_to"] is not None
    )
    # The probability, where something was measured.
    assert (f" {chance:.1%} " in text) == alternative["measured"] or choice in ("same", "undecided")
    assert (f">{chance:.1%}</td>" in page) == alternative["measured"]


def within(spans: list[dict[str, int | None]], volume: float) -> bool:
    return any(span["first"] <= volume and (span["last"] is None or volume <= span["last"]) for span in spans)  # type: ignore[operator]


@pytest.mark.parametrize("seed", range(2))
def test_so_they_do_for_measured_runs(
    seed: int, synthetic_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, folders = np.random.default_rng(seed), []
    for i in range(5):
        run, requests, telemetry = synthetic_run(seed=10 * seed + i, rate_per_s=2.0)
        path = tmp_path / f"own-{i}"
        path.mkdir()
        folder.write_json(path / folder.RUN, run | {"pricing": None})
        pq.write_table(requests, path / folder.REQUESTS)
        from tests.summaries import summarize

        folder.write_json(path / folder.SUMMARY, summarize(run | {"pricing": None}, requests, telemetry))
        folders += ["--self", str(path)]
    volume = int(rng.integers(10_000, 9_000_000))
    with pinned():
        cli.main(
            ["breakeven", *folders, "--usd-per-hour", "0.34", "--versus", "claude-haiku-5-5", "--requests-per-month",
             str(volume), "--json"], standalone_mode=False,
        )  # fmt: skip
    (alternative,) = json.loads(capsys.readouterr().out)["rivals"]
    chance, advice = alternative["p_cheaper"], " ".join(alternative["advice"])
    assert alternative["measured"]
    assert ("Self-host: " in advice) == (alternative["choice"] == "self-host") == (chance >= 0.95)
    assert ("Pay the API: " in advice) == (alternative["choice"] == "api") == (chance <= 0.05 + 1e-9)
    for told in re.findall(r"probability of ([\d.]+)%", advice):
        assert Decimal(told) == round(Decimal(str(100 * (1 - chance if alternative["choice"] == "api" else chance))), 1)


@st.composite
def fields(draw: st.DrawFn) -> tuple[str, ...]:
    """Two or three ways or more, their bills near each other, capacities known well or hardly at all."""
    volume = draw(st.sampled_from([1, 3_000, 300_000, 4_000_000]))
    sides, apis = draw(st.integers(0, 2)), draw(st.integers(1, 2))
    asked = ["--requests-per-month", str(volume), "--usd-per-hour", draw(st.sampled_from(["0.5", "0.05"]))]
    for _ in range(sides):
        high = draw(st.sampled_from([0.4, 1.3, 4.0]))
        asked += [
            "--self",
            draw(st.sampled_from([f"{high}", f"{high * 0.8:.3f}..{high}", f"0.02..{high}", f"0..{high}"])),
        ]
    for _ in range(apis):
        # About what the cheaper servers cost, never just that: a tie of two is won by servers of one's own.
        asked += ["--versus", f"{36.5 / volume * draw(st.sampled_from([0.9, 1.003, 1.02, 10.03, 10.3, 11.03])):.9f}"]
    return tuple(asked if sides else asked[:2] + asked[4:])


@settings(
    deadline=None,
    max_examples=25,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example(question=("--self", "0.02..4", "--usd-per-hour", "0.5", "--versus", "0.00124", "--versus", "0.1",
          "--requests-per-month", "300000"))  # fmt: skip
@given(question=fields())
def test_the_verdict_its_bills_each_pair_and_the_exit_code_agree_on_which_way_is_the_cheapest(
    question: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Any] = []
    compare = comparison.compare

    def watched(*asked: Any) -> Any:
        seen.append(compare(*asked))
        return seen[-1]

    with monkeypatch.context() as patch, pinned():
        patch.setattr(comparison, "compare", watched)
        code = cli.main(["breakeven", *question, "--inconclusive", "fail"], standalone_mode=False)
    text = " ".join(capsys.readouterr().out.split())
    document = written.plain(seen[0])
    ranking, rivals = document["ranking"], document["rivals"]
    bills = {bill["name"]: bill for bill in ranking["month"]}
    sure = [name for name, bill in bills.items() if bill["p_cheapest"] >= 0.95]
    assert ranking["cheapest"] in (sure or [None]) and ranking["undecided"] == (not sure)
    if len(rivals) != 1 and len(bills) > 1:
        assert ("the measurements do not decide" in text) == (not sure)
        assert not sure or f"the cheapest is {ranking['cheapest']}" in text or "cost the same" in text
    assert all(turn["to"] != ranking["cheapest"] or turn["way"] for turn in ranking["turns"])
    for rival in rivals:
        ours = bills[rival["servers"] or "self-hosting"]
        for bill, usd in ((ours, rival["month"]["self_usd"]), (bills[rival["name"]], rival["month"]["api_usd"])):
            assert bill["usd"] is None if usd is None else bill["usd"] == pytest.approx(float(usd), rel=1e-6)
        # Whoever is surely the cheapest of all surely is of two.
        if ranking["cheapest"] == ours["name"]:
            assert rival["choice"] in ("self-host", "same")
        if ranking["cheapest"] == rival["name"] and len(sure) == 1:
            assert rival["choice"] in ("api", "same")
    any_open = any(rival["answer"]["kind"] == "undecided" for rival in rivals)
    headline_open = len(rivals) != 1 and ranking["undecided"]
    assert code == (1 if headline_open or (any_open and len(document["sides"]) == 1) else 0)
