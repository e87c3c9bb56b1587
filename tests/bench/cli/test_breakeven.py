"""`bench.py breakeven` as its user meets it: the worked examples, what it reads, what it says and what it refuses."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import fields
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from genai_prices.data_snapshot import set_custom_snapshot

from analysis.money.api_rules import cache_minimum
from analysis.money.prices import find
from analysis.present.of_breakeven import document
from bench.app.breakeven.comparison import compare
from bench.app.breakeven.measured import MeasuredRun
from bench.app.breakeven.options import BreakEvenOptions
from bench.cli import breakeven
from bench.cli.root import cli
from bench.runs import folder
from bench.runs.folder import CAPACITY
from bench.types import UserError
from tests.fixtures.pinned_prices import DAY, pinned
from tests.golden import on_terminal
from tests.summaries import manifest_of, summarize, summary_of
from tests.test_docs import DOCS, PYTHON, shell_commands

Ask = Callable[..., str]
Shown = Callable[..., Any]
WriteRun = Callable[..., Path]

RTX_4090 = ("--usd-per-hour", "0.34", "--ops-usd-per-month", "50")
W = ("--prompt-tokens", "500", "--output-tokens", "200")
# Priced although the runs beside it were measured with other requests.
OTHER = (*W, "--different-plans")


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Ask]:
    """`ask(*arguments) -> standard output` of `breakeven`, in an empty folder, with the pinned prices of their day."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(breakeven, "now", lambda: DAY)

    def call(*arguments: str) -> str:
        cli.main(["breakeven", *arguments], standalone_mode=False)
        return capsys.readouterr().out

    with pinned():
        yield call


@pytest.fixture
def shown(ask: Ask) -> Shown:
    """`shown(*arguments)`: the document that `--json` prints."""
    return lambda *arguments: json.loads(ask(*arguments, "--json"))


@pytest.fixture
def write_run(tmp_path: Path, synthetic_run: Callable[..., Any]) -> WriteRun:
    """`write_run(name, columns, **options) -> folder` of a synthetic run; keys of run.json are given by `manifest`."""

    def write(
        name: str, columns: dict[str, Any] | None = None, manifest: dict[str, Any] | None = None, **options: Any
    ) -> Path:
        run, requests, telemetry = synthetic_run(**options)
        run |= {"pricing": None} | (manifest or {})
        for column, values in (columns or {}).items():
            at = requests.schema.get_field_index(column)
            requests = requests.set_column(at, requests.schema.field(at), pa.array(values, requests.schema.types[at]))
        path = tmp_path / name
        path.mkdir(parents=True)
        folder.write_json(path / folder.RUN, run)
        pq.write_table(requests, path / folder.REQUESTS)
        folder.write_json(path / folder.SUMMARY, summarize(run, requests, telemetry))
        return path

    return write


def only(document: Any) -> Any:
    (rival,) = document["rivals"]
    return rival


def first_and_permanent(rival: Any) -> tuple[str, int | None, int | None]:
    return rival["answer"]["kind"], rival["answer"]["first"], rival["answer"]["permanent"]


# --- worked examples --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("ops", "first"), [("49.80", 66_223), ("50", 66_267)], ids=["G2", "G3"])
def test_one_server_breaks_even_where_its_cost_is_paid_whatever_its_capacity(
    ops: str, first: int, shown: Shown
) -> None:
    for capacity in ("2", "7.5"):
        found = shown("--self", capacity, "--usd-per-hour", "0.34", "--ops-usd-per-month", ops, *W,
                      "--versus", "claude-sonnet-4-5")  # fmt: skip
        assert first_and_permanent(only(found)) == ("point", first, first)
        assert only(found)["usd_per_request"] == "0.0045"


def test_g10_a_hybrid_moves_the_break_even_out(shown: Shown) -> None:
    for volume, mixed, api in ((100_000, "433.2", "450"), (150_000, "500.7", "675"), (500_000, "973.2", "2250")):
        rival = only(
            shown("--self", "2", *RTX_4090, *W, "--versus", "claude-sonnet-4-5", "--hybrid-share", "0.7",
                  "--requests-per-month", str(volume))
        )  # fmt: skip
        assert first_and_permanent(rival) == ("point", 94_667, 94_667)
        assert (Decimal(rival["month"]["self_usd"]), Decimal(rival["month"]["api_usd"])) == (
            Decimal(mixed), Decimal(api)
        )  # fmt: skip


@pytest.mark.parametrize(
    ("volume", "replicas", "usd"), [(1_226_400, 1, "298.2"), (1_226_401, 2, "546.4"), (3_000_000, 3, "794.6")]
)
def test_g19_and_g20_servers_come_in_whole_numbers_and_never_pay_against_a_cheap_api(
    volume: int, replicas: int, usd: str, shown: Shown
) -> None:
    found = shown("--self", "2.0", "--utilization", "0.7", "--peak-to-mean", "3", *RTX_4090, *W,
                  "--versus", "claude-haiku-5-5", "--requests-per-month", str(volume))  # fmt: skip
    month = only(found)["month"]
    assert (month["replicas"], Decimal(month["self_usd"])) == (replicas, Decimal(usd))
    assert found["servers"]["requests_per_replica"] == 1_226_400
    assert only(found)["usd_per_request"] == "0.00015"
    assert first_and_permanent(only(found)) == ("never", None, None)
    assert "$0.000202" in only(found)["answer"]["reasons"][0]


def test_g13_batches_double_the_break_even(shown: Shown) -> None:
    for model, first in {"claude-haiku-4-5": 198_800, "claude-sonnet-5-5": 99_400, "claude-opus-5-5": 49_700}.items():
        live, batched = (
            only(shown("--self", "2", *RTX_4090, *W, "--versus", model, *more))["answer"]["first"]
            for more in ([], ["--batch"])
        )
        assert (live, batched) == (first, 2 * first)


# --- the page ---------------------------------------------------------------------------------------------------


def test_the_commands_of_the_page_run_and_print_the_figures_it_quotes(ask: Ask) -> None:
    page = DOCS["break-even.md"]
    set_custom_snapshot(None)  # the list that is installed, as the reader has it
    assert f"genai-prices {version('genai-prices')}" in page
    said = []
    for python, script, name, *arguments in shell_commands(page, tested=True):
        assert (python, script, name) == (PYTHON, "bench.py", "breakeven")
        said.append(ask(*arguments))
    figures = [
        ("94,604", "$315.00", "$298.00"),
        ("66,223", "$0.00450", "$135.00", "1,024 tokens", "on 2026-11-30"),
        ("3,679,200", "11,093,618", "100,000"),
        ("$9.40", "$15.00"),
        ("never", "1,226,400", "$0.000202", "$794.60", "$450.00"),
        ("7,329,524", "7,358,400", "8,511,429", "8,584,800", "38,059,048"),
        ("94,667", "$433.20", "$450.00"),
        ("undecided", "92.4%", "1,988,000", "3,642,667", "$16.80", "$231.40", "2,046,859", "10,261,334"),
    ]
    for output, quoted in zip(said, figures, strict=True):
        for figure in quoted:
            assert figure in output
            assert figure in page or figure == "on 2026-11-30"
    table = re.findall(r"^\| (\w[^|]*) \| (\$[\d.]+) \| ([\d,]+) \| (\$[\d,.]+) \|$", page, re.MULTILINE)
    assert len(table) == 6
    for name, usd, first, bill in table:
        words = name.partition(",")[0].lower().replace(".", "-").split()
        rows = [
            line.split() for line in said[2].splitlines() if all(word in line for word in "-".join(words).split("-"))
        ]
        assert any(usd in row and first in row for row in rows), name
        assert any(bill in row for row in rows), name
    (hosted,) = re.findall(r"hosted, at \$([\d.]+) and \$([\d.]+) a million", page)
    price = find("openrouter/qwen/qwen3-14b", None, DAY)
    assert (price.rates[0].input, price.rates[0].output) == tuple(map(Decimal, hosted))


@pytest.mark.parametrize("width", [60, 80])
def test_nothing_is_wider_than_the_terminal(width: int) -> None:
    arguments = shell_commands(DOCS["break-even.md"], tested=True)[0][3:]
    options = breakeven.breakeven.make_context("breakeven", list(arguments)).params
    given = BreakEvenOptions(**{each.name: options[each.name] for each in fields(BreakEvenOptions)})
    with pinned():
        lines = on_terminal(document(compare(given, DAY)), width).splitlines()
    assert max(map(len, lines)) <= width


def test_the_terminal_says_what_is_compared_what_comes_out_and_what_to_do(ask: Ask) -> None:
    out = ask("--self", "2", *RTX_4090, *W, "--versus", "claude-sonnet-4-6", "--requests-per-month", "100000")
    for fact in (
        "servers     replicas at $0.34 per hour, $248.20 per month each (given by the user), and $50.00 per month "
        "for operations\n",
        "capacity    2 requests/s per replica, used up to 70%, peak 1 times the mean: 3,679,200 requests/month",
        "volume      100,000 requests/month\n",
        "Against anthropic/claude-sonnet-4-6: self-host\n",
        "At 100,000 requests/month the API costs $450.00; self-hosting costs $298.20, with 1 replica.\n",
        "Self-host: it saves $151.80 a month.\n",
        "sensitive   API's price, $0.00360 to $0.00540 a request: saves $61.80 to $241.80 a month\n",
    ):
        assert fact in out


def test_without_a_volume_the_break_even_is_shown_and_what_moves_it(ask: Ask) -> None:
    out = ask("--self", "2", *RTX_4090, *W, "--versus", "claude-sonnet-4-6")
    assert "\nvolume " not in out
    assert "Self-hosting pays from 66,267 on (requests/month).\n" in out
    assert "API's price, $0.00360 to $0.00540 a request: first break-even 82,834 to 55,223\n" in out


# --- caching ----------------------------------------------------------------------------------------------------

LONG = ("--prompt-tokens", "3000", "--prefix-tokens", "2500", "--output-tokens", "200")
HIT, MISS = Decimal("0.000175"), Decimal("0.0004625")


def test_a_cached_prefix_makes_requests_cheaper_as_volume_grows(shown: Shown) -> None:
    few, many = (
        only(shown("--self", "2", *RTX_4090, *LONG, "--versus", "claude-haiku-5-5", "--requests-per-month", volume))
        for volume in ("10", "9000000")
    )
    assert Decimal(few["usd_per_request"]) == pytest.approx(MISS, rel=Decimal("0.01"))
    assert Decimal(many["usd_per_request"]) == HIT
    assert few["answer"]["first"] == pytest.approx(298.20 / float(HIT), abs=1)
    assert few["curves"]["api_usd"][0] / 1 > float(HIT)


def test_without_caching_each_token_of_the_prefix_is_input(shown: Shown) -> None:
    rival = only(shown("--self", "2", *RTX_4090, *LONG, "--versus", "claude-haiku-5-5", "--cache-ttl", "off"))
    assert Decimal(rival["usd_per_request"]) == Decimal("0.0004")


@pytest.mark.parametrize(
    ("model", "more", "warning"),
    [
        ("claude-sonnet-4-5", (*W, "--prefix-tokens", "500"), "caches no prompt below 1,024 tokens: 500 are billed as"),
        ("openrouter/qwen/qwen3-14b", LONG, "qwen/qwen3-14b has no price for cached input"),
        ("claude-haiku-5-5", (*W, "--cache-delay", "1"), "the requests share no prefix"),
        ("claude-haiku-5-5", ("--prompt-tokens", "100001", "--output-tokens", "100"), "longer than 100,000 tokens"),
    ],
)
def test_what_is_not_cached_or_costs_more_is_said(
    model: str, more: tuple[str, ...], warning: str, shown: Shown
) -> None:
    rival = only(shown("--self", "2", *RTX_4090, "--versus", model, *more))
    assert warning in " ".join(rival["warnings"])


def test_g14_the_dearer_tier_is_taken_by_the_length_of_the_prompt(shown: Shown) -> None:
    usd = [
        only(shown("--self", "2", *RTX_4090, "--versus", "claude-haiku-5-5", "--output-tokens", "100",
                   "--prompt-tokens", tokens))["usd_per_request"]
        for tokens in ("100000", "100001")
    ]  # fmt: skip
    assert usd == ["0.01005", "0.0502505"]


def test_recorded_traffic_gives_the_volume_the_hours_and_the_hit_rate(shown: Shown) -> None:
    # Two hours: in the first a request a minute on each of two prefixes, in the second every ten minutes.
    times = [60.0 * i for i in range(60)] + [3600.0 + 600 * i for i in range(6)] + [7200.0]
    rows = [f"{1763683200 + t:.0f},{name}" for t in times for name in ("a", "b")]
    Path("trace.csv").write_text("\n".join(["timestamp,prefix", *rows]))
    found = shown("--self", "2", *RTX_4090, *LONG, "--traffic", "trace.csv", "--versus", "claude-haiku-5-5")
    assert found["requests_per_month"] == 132 * 365
    assert found["servers"]["peak_to_mean"] == pytest.approx(120 / 66)
    hits = (2 * 60) / (2 * 67)  # all but the first and those after ten minutes
    expected = hits * float(HIT) + (1 - hits) * float(MISS)
    assert float(only(found)["usd_per_request"]) == pytest.approx(expected)
    assert "89.6%" in " ".join(only(found)["warnings"])


def test_a_published_trace_is_traffic_and_says_what_it_is_like(shown: Shown) -> None:
    rows = [
        {"timestamp": 60_000 * i, "input_length": 1000, "output_length": 20, "hash_ids": [0, i + 1]} for i in range(121)
    ]
    Path("mooncake.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = shown("--self", "2", *RTX_4090, *LONG, "--traffic", "mooncake.jsonl", "--versus", "claude-haiku-5-5")
    assert found["requests_per_month"] == 60 * 730
    said = "mooncake.jsonl has 121 requests, 1 in its busiest minute, 1,000 prompt tokens on average, 20 output tokens"
    assert f"{said}, {100 * 120 * 512 / 121_000:.1f}% of prompt tokens seen before" in found["warnings"]


def test_a_profile_of_the_week_is_scaled_with_by_the_hour(shown: Shown) -> None:
    Path("week.txt").write_text(" ".join(["1"] * 84 + ["3"] * 84))
    fixed, scaled = (
        only(shown("--self", "2", *RTX_4090, *W, "--traffic-profile", "week.txt", "--versus", "claude-haiku-5-5",
                   "--requests-per-month", "4000000", *more))
        for more in ([], ["--autoscale"])
    )  # fmt: skip
    assert Decimal(fixed["month"]["self_usd"]) == Decimal("546.4")
    assert Decimal(scaled["month"]["self_usd"]) == Decimal("422.3")


# --- measured runs ----------------------------------------------------------------------------------------------

CLAUDE: dict[str, Any] = {
    "pricing": {"provider": "anthropic", "model": "claude-haiku-4-5"},
    "created_at": DAY.isoformat(),
}


def test_the_requests_of_a_run_are_priced_each_and_give_an_interval(shown: Shown, write_run: WriteRun) -> None:
    prompts = np.tile([400, 600], 100)
    run = write_run("own", {"prompt_tokens": prompts}, requests=200, tokens=32, slo=("ttft_ms:p90<1000",))
    found = shown("--self", str(run), "--usd-per-hour", "0.34", "--versus", "claude-haiku-4-5",
                  "--requests-per-month", "100000")  # fmt: skip
    rival = only(found)
    assert Decimal(rival["usd_per_request"]) == (500 + 5 * 32) / Decimal(1_000_000)
    low, high = rival["usd_per_request_ci95"]
    assert low < 0.00066 < high
    assert high - low == pytest.approx(2 * 1.96 * 0.0001 / 200**0.5, rel=0.1)
    served = json.loads((run / folder.SUMMARY).read_text())["throughput"]
    assert found["servers"]["capacity_rps"] == pytest.approx(served["goodput_rps"])
    assert "--self is one run" in " ".join(found["warnings"])
    assert "tokens were counted by tiny" in " ".join(rival["warnings"])
    first = rival["first_break_even"]
    assert first["ci95"][0] < rival["answer"]["first"] < first["ci95"][1]
    assert [point["name"] for point in found["points"]] == ["llamacpp tiny"]


def test_a_run_knows_what_its_hour_costs(shown: Shown, write_run: WriteRun) -> None:
    run = write_run("own", manifest={"pricing": {"usd_per_hour": "0.5", "source": "l4@mine"}})
    found = shown("--self", str(run), "--versus", "0.01")
    assert found["servers"]["usd_per_replica_month"] == "365.0"
    assert "(l4@mine)" in found["servers"]["description"]


H100 = {"hardware": {"cpu": "a CPU", "cores": 8, "os": "Linux", "gpus": [{"name": "NVIDIA H100 80GB HBM3"}]}}


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({"launched": True}, "no GPU was seen) but is priced as rtx-4090 here"),
        ({"launched": True, **H100}, "own was measured on NVIDIA H100 80GB HBM3 but is priced as rtx-4090 here"),
        ({"launched": False, "pricing": {"usd_per_hour": "0.5", "gpu": "l4@aws"}}, "priced as l4@aws then"),
        ({"launched": False}, None),
        ({"launched": False, "pricing": {"usd_per_hour": "0.5", "gpu": "rtx-4090"}}, None),
    ],
)
def test_a_run_that_is_priced_on_what_it_was_not_measured_on_says_so(
    ask: Ask, write_run: WriteRun, manifest: dict[str, Any], said: str | None
) -> None:
    run = write_run("own", gpus=0, manifest=manifest)
    text = ask("--self", str(run), "--gpu", "rtx-4090", "--versus", "claude-haiku-5-5")
    assert ("was not measured" in text) is (said is not None)
    assert said is None or said in text


def test_a_measured_api_costs_what_its_own_usage_says(shown: Shown, write_run: WriteRun) -> None:
    own, api = write_run("own"), write_run("api", backend="claude", model="claude-haiku-4-5", manifest=CLAUDE)
    found = shown("--self", str(own), "--usd-per-hour", "0.34", "--versus", str(api), "--requests-per-month", "1000")
    rival = only(found)
    assert (rival["name"], Decimal(rival["usd_per_request"])) == ("claude-haiku-4-5 (measured)", Decimal("0.00026"))
    assert [point["name"] for point in found["points"]] == ["llamacpp tiny", "claude claude-haiku-4-5"]
    assert found["points"][1]["usd_per_request"] == pytest.approx(0.00026)


def write_search(path: Path, write_run: WriteRun, rate: float, low: float, high: float | None) -> Path:
    write_run(f"{path.name}/rate-2-0", rate_per_s=2.0)
    folder.write_json(
        path / CAPACITY,
        {
            "schema": 1,
            "capacity": {"rate_per_s": rate, "low_per_s": low, "high_per_s": high, "reason": "missed above it"},
            "probes": [{"rate_per_s": 2.0, "folder": "rate-2-0"}],
        },
    )
    return path


def test_a_search_gives_the_lower_end_of_its_interval_and_its_draws(
    shown: Shown, write_run: WriteRun, tmp_path: Path
) -> None:
    search = write_search(tmp_path / "search", write_run, 2.0, 1.6, 2.4)
    found = shown("--self", str(search), *RTX_4090, *OTHER, "--peak-to-mean", "1.5", "--versus", "claude-haiku-5-5",
                  "--requests-per-month", "2100000")  # fmt: skip
    assert (found["servers"]["capacity_rps"], found["servers"]["capacity_rps_ci95"]) == (2.0, [1.6, 2.4])
    assert (only(found)["answer"]["kind"], only(found)["choice"]) == ("undecided", "undecided")
    assert 0.9 < only(found)["p_cheaper"] < 0.95
    assert len(found["points"]) == 1


@pytest.mark.parametrize(
    ("low", "high", "capacity", "warned"), [(0.0, 2.4, 2.0, True), (1.6, None, 1.8, False)], ids=["not-sure", "open"]
)
def test_a_search_whose_interval_has_one_end_is_taken_as_far_as_it_goes(
    low: float, high: float | None, capacity: float, warned: bool, shown: Shown, write_run: WriteRun, tmp_path: Path
) -> None:
    search = write_search(tmp_path / "search", write_run, 2.0, low, high)
    found = shown("--self", str(search), *RTX_4090, *OTHER, "--versus", "claude-haiku-5-5")
    assert found["servers"]["capacity_rps"] == capacity
    assert ("no rate meets the objectives for certain" in " ".join(found["warnings"])) == warned
    assert ("the capacity may be above 2 requests/s" in " ".join(found["warnings"])) == (high is None)


def test_searches_that_repeat_each_other_give_an_interval_and_do_not_mix_with_runs(
    shown: Shown, write_run: WriteRun, tmp_path: Path
) -> None:
    searches = [write_search(tmp_path / f"search-{i}", write_run, 2.0 + i / 10, 1.9, 2.9) for i in range(5)]
    flags = [word for search in searches for word in ("--self", str(search))]
    found = shown(*flags, *RTX_4090, *OTHER, "--versus", "claude-haiku-5-5")
    assert found["servers"]["capacity_rps"] == pytest.approx(2.2, abs=0.01)
    assert 1.9 < found["servers"]["capacity_rps_ci95"][0] < 2.2 < found["servers"]["capacity_rps_ci95"][1] < 2.5
    with pytest.raises(UserError, match="expected runs or capacity folders, not both"):
        shown(*flags, "--self", str(write_run("own")), *RTX_4090, *OTHER, "--versus", "claude-haiku-5-5")


def test_a_search_that_is_unfinished_is_refused(ask: Ask, tmp_path: Path) -> None:
    folder.write_json(tmp_path / CAPACITY, {"schema": 1, "asked": {}})
    with pytest.raises(UserError, match=r"unfinished; continue it with bench\.py capacity --out"):
        ask("--self", str(tmp_path), *RTX_4090, *OTHER, "--versus", "claude-haiku-5-5")


def test_a_search_that_found_nothing_never_pays(ask: Ask, write_run: WriteRun, tmp_path: Path) -> None:
    search = write_search(tmp_path / "search", write_run, 0.0, 0.0, 2.0)
    out = ask(
        "--self", str(search), *RTX_4090, *OTHER, "--versus", "claude-haiku-5-5", "--requests-per-month", "2100000"
    )
    assert "capacity    none: no rate meets the objectives\n" in out
    assert "the objectives are met at no rate (capacity 0)" in out


def test_runs_that_repeat_each_other_give_an_interval(shown: Shown, write_run: WriteRun) -> None:
    runs = [write_run(f"own-{seed}", seed=seed) for seed in range(5)]
    flags = [word for run in runs for word in ("--self", str(run))]
    found = shown(*flags, "--usd-per-hour", "0.34", "--versus", "claude-haiku-4-5", "--requests-per-month", "1000")
    rates = [json.loads((run / folder.SUMMARY).read_text())["throughput"]["requests_per_s"] for run in runs]
    assert found["servers"]["capacity_rps"] == pytest.approx(float(np.mean(rates)), rel=0.01)
    assert found["warnings"] == []
    few = shown(*flags[:4], "--usd-per-hour", "0.34", "--versus", "claude-haiku-4-5")
    assert "2 measurements say little about their spread" in few["warnings"][0]


def test_runs_of_different_loads_are_compared_only_when_asked(shown: Shown, write_run: WriteRun) -> None:
    own = write_run("own")
    api = write_run("api", backend="claude", model="claude-haiku-4-5", manifest=CLAUDE | {"plan_hash": "1" * 64})
    arguments = ("--self", str(own), "--usd-per-hour", "0.34", "--versus", str(api))
    with pytest.raises(UserError, match=r"its plan differs from that of .*own.*--different-plans"):
        shown(*arguments)
    assert "the measured and the priced requests may differ" in shown(*arguments, "--different-plans")["warnings"][-1]


@pytest.mark.parametrize(
    "priced",
    [
        ("--prompt-tokens", "10000", "--output-tokens", "2000"), ("--prompt-tokens", "100", "--output-tokens", "64"),
        ("--prompt-tokens", "120", "--output-tokens", "32"), ("--prefix-tokens", "60"),
    ],
)  # fmt: skip
def test_requests_other_than_those_that_were_measured_are_priced_only_when_asked(
    priced: tuple[str, ...], shown: Shown, write_run: WriteRun
) -> None:
    arguments = ("--self", str(write_run("own")), "--usd-per-hour", "0.34", "--versus", "claude-haiku-5-5")
    with pytest.raises(UserError, match=r"own was measured with 100 prompt \(0 shared\) and 32 output tokens"):
        shown(*arguments, *priced)
    assert shown(*arguments, *priced, "--different-plans")["rivals"]
    assert shown(*arguments, "--prompt-tokens", "100", "--output-tokens", "33")["rivals"]


@pytest.mark.parametrize(
    ("provider", "model", "prefix", "cached"),
    [("openai", "gpt-5", 1000, 0), ("openai", "gpt-5", 1024, 1024), ("openai", "gpt-5", 1200, 1152)],
)
def test_openai_caches_from_1024_tokens_on_in_steps_of_128(provider: str, model: str, prefix: int, cached: int) -> None:
    minimum = cache_minimum(model, provider)
    assert minimum is not None and minimum.cached_tokens(prefix) == cached


def test_an_api_run_without_usage_is_refused_with_the_reason(ask: Ask, write_run: WriteRun) -> None:
    untold = {"token_source": ["chunk count"] * 200}
    api = write_run("api", untold, backend="claude", model="claude-haiku-4-5", manifest=CLAUDE)
    with pytest.raises(
        UserError, match=r"the cost of a request is not known: .*the server reported no usage \(200 of 200"
    ):
        ask("--self", "2", *RTX_4090, "--versus", str(api))
    own = write_run("own")
    with pytest.raises(UserError, match="it was made on a server that bills nobody"):
        ask("--self", "2", *RTX_4090, "--versus", str(own))


# --- roofline ---------------------------------------------------------------------------------------------------


def test_a_capacity_above_the_roofline_is_refused_and_one_below_it_said_to_be_possible(shown: Shown) -> None:
    gpu = ("--gpu", "rtx-4090@runpod-community", *W, "--versus", "0.01", "--model", "mistral-7b")
    assert "2 requests/s are below the roofline of" in shown("--self", "2", *gpu)["warnings"][-1]
    # 2 x 7.24e9 operations a token, 700 tokens a request: at 165 TFLOPS not 17 a second.
    with pytest.raises(
        UserError, match=r"17 requests/s of 500 \+ 200 tokens are impossible: the roofline of mistral-7b"
    ):
        shown("--self", "17", *gpu)
    with pytest.raises(UserError, match="--model: needs --gpu"):
        shown("--self", "2", *RTX_4090, *W, "--versus", "0.01", "--model", "mistral-7b")


def test_a_model_that_does_not_fit_is_refused_however_low_the_capacity(shown: Shown) -> None:
    gpu = ("--gpu", "rtx-4090@runpod-community", *W, "--versus", "0.01", "--self", "0.1")
    with pytest.raises(UserError, match=r"mixtral-8x7b in awq on 1 x rtx-4090 does not fit: 22\.96 GiB of weights"):
        shown(*gpu, "--model", "mixtral-8x7b-awq")
    assert shown(*gpu, "--model", "mixtral-8x7b-awq", "--gpus", "2")["rivals"]


def test_a_prefix_that_is_cached_is_not_computed_again(shown: Shown) -> None:
    gpu = ("--gpu", "rtx-4090@runpod-community", "--versus", "0.01", "--model", "mistral-7b", "--output-tokens", "8")
    long = (*gpu, "--prompt-tokens", "8000", "--self", "4")
    with pytest.raises(UserError, match="are impossible: the roofline"):
        shown(*long)
    assert shown(*long, "--prefix-tokens", "7900")["rivals"]


# --- files ------------------------------------------------------------------------------------------------------


def test_out_gets_the_document_a_page_and_its_figures(ask: Ask, tmp_path: Path) -> None:
    out = tmp_path / "answer"
    printed = ask("--self", "1.6..2.4", *RTX_4090, *W, "--versus", "claude-haiku-5-5",
                  "--requests-per-month", "2000000", "--out", str(out))  # fmt: skip
    assert printed.splitlines()[-1] == f"page        {out / 'breakeven.html'}"
    document = json.loads((out / "breakeven.json").read_text())
    assert len(document["volumes"]) == len(only(document)["curves"]["self_usd"]) > 100
    assert "anthropic/claude-haiku-5-5" in (out / "breakeven.html").read_text()
    assert (out / "figures" / "cost.html").stat().st_size > 1000


def test_several_servers_and_several_apis_are_ordered_at_the_users_volume(ask: Ask, shown: Shown) -> None:
    asked = (
        *("--self", "2@l4", "--self", "9@h100-sxm", "--versus", "0.0015", "--versus", "0.0005"),
        *("--requests-per-month", "2m"),
    )
    found = shown(*asked)
    ranking = found["ranking"]
    assert ranking["cheapest"] == ranking["month"][0]["name"] == "2 requests/s, l4"
    assert [side["name"] for side in found["sides"]] == ["2 requests/s, l4", "9 requests/s, h100-sxm"]
    assert len(found["rivals"]) == 4
    months = {(rival["servers"], rival["name"]): rival["month"] for rival in found["rivals"]}
    bills = {bill["name"]: bill["usd"] for bill in ranking["month"]}
    for (servers, api), month in months.items():
        assert (bills[servers], bills[api]) == pytest.approx((float(month["self_usd"]), float(month["api_usd"])))
    out = ask(*asked)
    assert f"verdict     At 2,000,000 requests a month the cheapest is {ranking['cheapest']}" in out
    first = ranking["spans"][0]
    assert f"1 to {first['last']:,}" in out
    rival = next(
        rival for rival in found["rivals"] if (rival["servers"], rival["name"]) == ("2 requests/s, l4", first["name"])
    )
    assert rival["answer"]["first"] == first["last"] + 1


def test_runs_of_other_models_are_other_servers_and_repeats_of_one_are_one(shown: Shown, write_run: WriteRun) -> None:
    models = {"run0": "a", "run1": "a", "run2": "b"}
    runs = [str(write_run(name, manifest={"model": model})) for name, model in models.items()]
    servers = [part for run in runs for part in ("--self", run)]
    found = shown(*servers, "--versus", "0.004", "--usd-per-hour", "0.5")
    assert [side["name"] for side in found["sides"]] == ["a on llamacpp", "b on llamacpp"]


def test_an_api_has_one_bill_beside_all_servers_however_they_counted(shown: Shown, write_run: WriteRun) -> None:
    runs = [str(write_run(model, manifest={"model": model}, tokens=tokens)) for model, tokens in (("a", 30), ("b", 34))]
    asked = ("--self", runs[0], "--self", runs[1], "--usd-per-hour", "0.5", "--versus", "claude-haiku-5-5",
             "--requests-per-month", "20m")  # fmt: skip
    with pytest.raises(UserError, match=r"b: its scenario differs from that of .*a; make both runs alike"):
        shown(*asked)
    found = shown(*asked, "--different-plans")
    (bill,) = (bill["usd"] for bill in found["ranking"]["month"] if bill["name"] == "anthropic/claude-haiku-5-5")
    assert [float(rival["month"]["api_usd"]) for rival in found["rivals"]] == pytest.approx([bill, bill])
    # 100 and 30 or 34 tokens.
    assert bill == pytest.approx(20e6 * (100 * 0.1 + 32 * 0.5) * 1e-6)
    assert any("counted by a and b;" in warning for warning in found["rivals"][0]["warnings"])


def test_an_interval_without_width_was_not_measured(shown: Shown) -> None:
    asked = ("--usd-per-hour", "0.34", "--versus", "0.0045", "--requests-per-month", "100000")
    found = shown("--self", "2..2", *asked)
    assert found["servers"]["capacity_rps_ci95"] == [None, None]
    assert not only(found)["measured"] and only(found) == only(shown("--self", "2", *asked))


def test_each_side_s_roofline_is_that_of_its_own_gpu(shown: Shown) -> None:
    asked = ("--model", "mistral-7b", *W, "--versus", "claude-haiku-5-5")
    said = " ".join(shown("--self", "1@l4", "--self", "2@h100-sxm", *asked)["warnings"])
    assert "on 1 x l4" in said and "on 1 x h100-sxm" in said
    with pytest.raises(UserError, match=r"roofline of .* on 1 x l4"):
        shown("--self", "1000@l4", "--self", "2@h100-sxm", *asked)


def test_the_same_seed_gives_the_same_answer(shown: Shown) -> None:
    arguments = ("--self", "1.6..2.4", *RTX_4090, *W, "--peak-to-mean", "1.5", "--versus", "claude-haiku-5-5",
                 "--requests-per-month", "2100000")  # fmt: skip
    assert shown(*arguments, "--seed", "3") == shown(*arguments, "--seed", "3")
    chances = {only(shown(*arguments, "--seed", seed))["p_cheaper"] for seed in "123"}
    assert len(chances) > 1


# --- small calculators ------------------------------------------------------------------------------------------


def test_a_fine_tuned_model_is_repaid_after_so_many_requests(ask: Ask, shown: Shown) -> None:
    arguments = ("fine-tune", "--train-usd", "120", "--prompted-usd", "0.0045", "--tuned-usd", "0.0030")
    assert ask(*arguments) == (
        "answer      point\n            the fine-tuned model pays from 80,000 requests\n"
    )  # fmt: skip
    assert shown(*arguments)["answer"]["first"] == 80_000


def test_caching_pays_from_the_volume_at_which_hits_are_frequent_enough(ask: Ask, shown: Shown) -> None:
    arguments = ("caching", "--versus", "claude-haiku-5-5", *LONG)
    five = shown(*arguments)["answer"]
    # A hit rate of 21.74% with a lifetime of 300 s.
    assert five["first"] == pytest.approx(-np.log(1 - 0.217391) / 300 * 730 * 3600, abs=1)
    assert "21.74%" in five["reasons"][0]
    assert "52.63%" in shown(*arguments, "--cache-ttl", "1h")["answer"]["reasons"][0]
    assert ask(*arguments, "--requests-per-month", "100").endswith("at 100 requests/month it does not pay\n")
    short = shown("caching", "--versus", "claude-sonnet-4-5", *W, "--prefix-tokens", "500")["answer"]
    assert (short["kind"], short["reasons"]) == (
        "never", ["nothing is cached: the prefix has 500 tokens, below the model's minimum of 1024"]
    )  # fmt: skip


def test_a_batch_pays_where_its_answers_may_wait(ask: Ask, shown: Shown) -> None:
    arguments = ("batch", "--versus", "claude-haiku-5-5", *W, "--deadline-h")
    assert shown(*arguments, "48")["answer"]["kind"] == "always"
    assert "$0.000075 in a batch and $0.00015 live" in ask(*arguments, "48")
    assert "a batch may take 24 h" in ask(*arguments, "4")
    own = ("batch", "--live-usd", "0.01", "--batch-usd", "0.005", "--deadline-h", "1", "--window-h", "0.5")
    assert shown(*own)["answer"]["kind"] == "always"


# --- without an API -----------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    "volume", ["1234567", *(pytest.param(volume, marks=pytest.mark.slow) for volume in ("1", "30m"))]
)
@pytest.mark.parametrize("sides", [("2@l4",), ("2@l4", "9@h100-sxm"), ("1.5..2@l4", "7..9@h100-sxm", "0.5@l4")])
def test_servers_alone_cost_what_they_cost_beside_an_api(shown: Shown, sides: tuple[str, ...], volume: str) -> None:
    flags = [word for side in sides for word in ("--self", side)]
    flags += ["--requests-per-month", volume, "--ops-usd-per-month", "50"]
    alone, beside = shown(*flags), shown(*flags, *W, "--versus", "claude-haiku-5-5")
    own = {bill["name"]: bill["usd"] for bill in beside["ranking"]["month"] if "claude" not in bill["name"]}
    assert {bill["name"]: bill["usd"] for bill in alone["ranking"]["month"]} == own
    assert alone["sides"] == beside["sides"]
    assert (len(own), alone["rivals"]) == (len(sides), [])


def test_servers_alone_have_a_page_and_say_what_there_is_to_say(ask: Ask, tmp_path: Path) -> None:
    one = ask("--self", "2@l4", "--requests-per-month", "1m", "--out", "one")
    assert "At 1,000,000 requests a month self-hosting costs $" in one
    two = ask("--self", "small=2@l4", "--self", "big=9@h100-sxm", "--out", "two")
    assert "small is the cheapest up to " in two
    for said, name in ((one, "one"), (two, "two")):
        assert "API" not in said
        assert (tmp_path / name / "figures" / "ways.html").exists()


def test_servers_alone_are_measured_with_one_load(shown: Shown, write_run: WriteRun) -> None:
    hours = {"kind": "hour", "usd_per_hour": "1"}
    same, alike, other = (
        str(write_run(name, manifest={"pricing": hours}, backend=name, prompt_tokens=tokens))
        for name, tokens in (("vllm", 100), ("tgi", 100), ("llamacpp", 300))
    )
    asked = ("--usd-per-hour", "1", "--requests-per-month", "1m")
    assert len(shown("--self", same, "--self", alike, *asked)["ranking"]["month"]) == 2
    with pytest.raises(
        UserError, match=r"its scenario differs from that of .*; make both runs alike, or give --different-plans"
    ):
        shown("--self", same, "--self", other, *asked)
    assert len(shown("--self", same, "--self", other, *asked, "--different-plans")["ranking"]["month"]) == 2


# --- what it refuses --------------------------------------------------------------------------------------------

SERVERS = "--self 2 --usd-per-hour 0.34"
HAIKU = "--versus claude-haiku-5-5 --prompt-tokens 500 --output-tokens 200"
WRONG = [
    ("", "--self: expected a run"),
    ("--self 2", "give --gpu, --usd-per-hour or --owned"),
    (SERVERS, "--versus: nothing to compare with; give an API"),
    (f"{SERVERS} --requests-per-month 5 --overflow", "give --versus"),
    (f"{SERVERS} --versus claude-haiku-5-5", "give --prompt-tokens and --output-tokens"),
    (f"{SERVERS} --versus claude-haiku-5-5 --prompt-tokens 5", "--prompt-tokens and --output-tokens: expected both"),
    (f"{SERVERS} --versus claude-hauku-5-5 --prompt-tokens 5 --output-tokens 5", "did you mean"),
    (f"{SERVERS} {HAIKU} --prefix-tokens 600", "--prefix-tokens: must be from 0 to 500, got 600"),
    (f"{SERVERS} --versus -1", "--versus: price per request -1: expected 0, or a number from 1e-12 to 1,000,000"),
    (f"--self 2 --usd-per-hour -1 {HAIKU}", "--usd-per-hour -1: expected 0, or a number from 1e-12 to 1,000,000"),
    (f"--self -2 --usd-per-hour 1 {HAIKU}", "--capacity-rps -2: expected 0, or a number from 0.000001 to"),
    (f"--self 2..1 --usd-per-hour 1 {HAIKU}", "--capacity-rps 2.0..1.0: expected an interval, its lower end first"),
    (f"--self nowhere --usd-per-hour 1 {HAIKU}", "--self nowhere: expected a run, a capacity folder, or requests/s"),
    (f"--self . --usd-per-hour 1 {HAIKU}", "is not a run folder"),
    (f"{SERVERS} {HAIKU} --requests-per-month 0", "--requests-per-month 0: expected a whole number from 1 to"),
    (f"{SERVERS} {HAIKU} --utilization 0", "--utilization 0: expected a number from 0.000001 to 1"),
    (f"{SERVERS} {HAIKU} --peak-to-mean 0.5", "--peak-to-mean 0.5: expected a number from 1 to 1,000,000"),
    (f"{SERVERS} {HAIKU} --ops-usd-per-month -1", "--ops-usd-per-month -1: expected 0, or a number from"),
    (f"{SERVERS} {HAIKU} --hybrid-share 1.5", "--hybrid-share 1.5: expected a number from 0.000001 to 1"),
    (f"{SERVERS} {HAIKU} --overflow --hybrid-share 0.5", "--overflow chooses the share that we serve"),
    (f"{SERVERS} {HAIKU} --commit-replicas 1", "--commit-replicas: needs --commit-usd-per-hour"),
    (f"{SERVERS} {HAIKU} --spot-reload-s 1", "--spot-reload-s: needs --spot-interruptions-per-hour"),
    (f"{SERVERS} {HAIKU} --autoscale", "--autoscale needs the hours of the traffic"),
    (f"{SERVERS} {HAIKU} --traffic-profile none.txt", "--traffic-profile none.txt: cannot be read: No such file or "),
    (f"{SERVERS} {HAIKU} --traffic-profile week.txt", "--traffic-profile has 2 weights: expected 168"),
    (f"{SERVERS} {HAIKU} --traffic-profile words.txt", "--traffic-profile: expected numbers such as 3 or 0.5, got 'bu"),
    (f"{SERVERS} {HAIKU} --profile week.txt", "--profile: names a profile in a settings file; give --config as well"),
    ("--self 2 caching --versus claude-haiku-4-5", "--self: belongs to caching; give it after that name"),
    (f"{SERVERS} {HAIKU} --traffic empty.csv", "no requests in it (read as times); expected one per line"),
    (f"{SERVERS} {HAIKU} --traffic week.txt --peak-to-mean 2", "--peak-to-mean and --traffic exclude each other"),
    (f"{SERVERS} {HAIKU} --traffic ms.csv", "--traffic holds less than an hour"),
    (f"{SERVERS} {HAIKU} --traffic torn.csv", "torn.csv:3: time: expected a time in ISO 8601 or Unix"),
    (
        f"{SERVERS} --versus claude-haiku-5-5 {' '.join(LONG)} --prefix-weights 1,x",
        "--prefix-weights: expected numbers such as 3 or 0.5, got 'x'",
    ),
    (f"{SERVERS} {HAIKU} --seed -1", "--seed -1: expected a whole number from 0 to"),
    ("fine-tune --train-usd -1 --prompted-usd 1 --tuned-usd 1", "--train-usd -1: expected 0, or a number from"),
    ("caching --versus claude-haiku-5-5", "give --prompt-tokens and --output-tokens"),
    ("caching --versus openrouter/qwen/qwen3-14b --prompt-tokens 9 --output-tokens 9", "no price for cached input"),
    ("caching --versus claude-haiku-5-5 --cache-ttl off", "--cache-ttl off: nothing to compare"),
    ("batch --deadline-h 1", "--live-usd is missing"),
    ("batch --deadline-h 1 --live-usd 1 --batch-usd 1 --window-h -5", "--window-h -5: expected a number from 0.001 to"),
    ("batch --deadline-h nan --live-usd 1 --batch-usd 1", "--deadline-h nan: expected a number from 0.001 to 100,000"),
    (f"{SERVERS} --versus 1e30", "--versus: price per request 1e30: expected 0, or a number from"),
    (f"{SERVERS} --versus nan", "--versus: price per request nan: expected 0, or a number from"),
    (f"{SERVERS} {HAIKU} --requests-per-month {10**30}", "expected a whole number from 1 to 1,000,000,000,000"),
    (f"--self 1..inf --usd-per-hour 1 {HAIKU}", "--capacity-rps inf: expected 0, or a number from"),
    (f"{SERVERS} {HAIKU} --hybrid-share 0", "--hybrid-share 0: expected a number from 0.000001 to 1"),
    (f"{SERVERS} {HAIKU} --gpus 4", "--gpus is the number of --gpu: --usd-per-hour is the price of everything"),
    (
        f"--self 2 --owned price_usd=9,months=9,watts=9,usd_per_kwh=1 --gpus 4 {HAIKU}",
        "--gpus is the number of --gpu: --owned is the price of everything; give --gpu too",
    ),
    (f"--self 2 --owned price_usd=1e99,months=9,watts=9,usd_per_kwh=1 {HAIKU}", "--owned: price_usd 1e99: expected"),
    ("batch --deadline-h 1 --versus claude-haiku-5-5 --live-usd 1", "leave out --live-usd and --batch-usd"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "reason"), WRONG)
def test_what_cannot_be_is_refused_in_one_line(arguments: str, reason: str, ask: Ask) -> None:
    files = {
        "week.txt": "1 2", "words.txt": "busy", "empty.csv": "timestamp\n", "ms.csv": "1763683200000\n",
        "torn.csv": "at\n1763683200\nsoon\n",
    }  # fmt: skip
    for name, text in files.items():
        Path(name).write_text(text)
    with pytest.raises(UserError) as problem:
        ask(*arguments.split())
    assert reason in str(problem.value)
    assert "\n" not in str(problem.value)


def test_a_run_too_short_for_a_rate_is_no_capacity_of_zero() -> None:
    throughput = {"requests_per_s": None, "goodput_rps": None, "rates_unknown": "too short: raise --requests"}
    run = MeasuredRun(Path("short"), manifest_of({}), summary_of({"throughput": throughput}))
    with pytest.raises(UserError, match="--self short: its throughput is not known: too short: raise"):
        _ = run.requests_per_s
    none = summary_of({"throughput": throughput | {"requests_per_s": 0.0}})
    assert MeasuredRun(Path("none"), manifest_of({}), none).requests_per_s == 0.0
