"""The command `prices` as its user meets it."""

import json
import signal
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from analysis.money import gpu_prices
from analysis.money import prices as api_prices
from analysis.present.of_prices import document
from bench import cli
from bench.cli import lists as command
from tests.fixtures.pinned_prices import pinned
from tests.golden import on_terminal, same_as_before

Prices = Callable[..., tuple[int, str, str]]

OWN = """\
prices:
  - {provider: cellar, gpu: rtx-4090, kind: on_demand, source: my receipt,
     usd_per_gpu_hour_low: 0.125, usd_per_gpu_hour_high: 0.125, includes_host: yes, read_on: 2026-11-01}
"""


@pytest.fixture
def prices(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Prices]:
    """`prices(*arguments) -> (exit code, standard output, standard error)` on 2026-11-21, with a pinned price list."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "now", lambda: datetime(2026, 11, 21, tzinfo=UTC))
    on_term = signal.getsignal(signal.SIGTERM)

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["bench.py", "prices", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    with pinned():
        yield call
    signal.signal(signal.SIGTERM, on_term)


def cells(out: str, name: str) -> list[list[str]]:
    """The rows of a table that begin with a name, in words."""
    return [line.split() for line in out.splitlines() if line.lstrip().startswith(name)]


def test_without_a_name_it_is_claude_and_every_gpu(prices: Prices) -> None:
    code, out, err = prices()
    assert (code, err) == (0, "")
    assert {row[0] for row in cells(out, "anthropic/")} == {
        "anthropic/claude-haiku-4-5", "anthropic/claude-sonnet-4-6", "anthropic/claude-sonnet-5-5",
        "anthropic/claude-opus-5", "anthropic/claude-opus-5-5", "anthropic/claude-fable-5-2",
        "anthropic/claude-haiku-5-5", "anthropic/claude-sonnet-4-5",
    }  # fmt: skip
    assert len(cells(out, "rtx-4090@")) == 4
    assert "openrouter" not in out


def test_a_row_shows_its_columns_the_cache_minimum_and_how_long_it_is_served(prices: Prices) -> None:
    _, out, _ = prices("--api")
    (haiku,) = cells(out, "anthropic/claude-haiku-5-5")
    assert haiku[1:] == ["0.10", "0.125", "0.20", "0.01", "0.50", "512", "2027-10-07", "or", "later"]
    assert ["prompt", "above", "100,000", "0.50", "0.625", "1.00", "0.05", "2.50"] in cells(out, "prompt above")
    (disputed,) = cells(out, "anthropic/claude-sonnet-4-6")
    assert disputed[6] == "1,024–2,048"
    assert "anthropic: a cached prompt lives 5m or 1h, with at most 4 breakpoints" in out


def test_a_model_that_is_no_longer_served_is_not_listed_unless_it_is_asked_for(
    prices: Prices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "now", lambda: datetime(2026, 11, 30, tzinfo=UTC))
    assert cells(prices()[1], "anthropic/claude-sonnet-4-5") == []
    assert cells(prices("claude-sonnet-4-5")[1], "anthropic/claude-sonnet-4-5") != []


def test_the_snapshot_s_version_and_age_are_shown(prices: Prices, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.money.prices.version", lambda _: "0.2.3")
    assert "genai-prices 0.2.3, prices of 2026-11-10, 11 days ago\n" in prices("--api")[1]
    monkeypatch.setattr(command, "now", lambda: datetime(2027, 2, 10, tzinfo=UTC))
    assert "prices of 2026-11-10, 92 days ago, which is old\n" in prices("--api")[1]
    monkeypatch.setattr("analysis.money.prices.version", lambda _: "99.0")
    assert "genai-prices 99.0, prices of an unknown date\n" in prices("--api")[1]


def test_a_gpu_shows_its_range_its_host_its_date_and_whether_that_is_old(prices: Prices) -> None:
    _, out, _ = prices("--gpu")
    spot, on_demand = cells(out, "rtx-4090@vast")
    assert spot[:9] == [
        "rtx-4090@vast",
        "0.24–0.31",
        "175–226",
        "spot",
        "any",
        "yes",
        "2026-05-31",
        "old",
        "vast.ai",
    ]
    assert on_demand[1:3] == ["0.45–0.875", "329–639"]
    row = ["t4@gcp", "0.35", "256", "on_demand", "1/2/4", "no", "2026-05-11", "old"]
    assert row in [found[: len(row)] for found in cells(out, "t4@gcp")]
    (row,) = cells(out, "h100-sxm@lambda")
    assert row[:7] == ["h100-sxm@lambda", "4.29", "3,132", "on_demand", "any", "yes", "2026-09-25"]
    assert "old: read more than 90 days ago" in out
    assert "anthropic" not in out


@pytest.mark.parametrize("width", [80, 110])
def test_every_line_of_both_tables_fits_a_terminal(width: int) -> None:
    with pinned():
        claude = api_prices.of_provider("anthropic", datetime(2026, 11, 21, tzinfo=UTC))
        shown = document(claude, gpu_prices.load(), date(2026, 11, 21))
        assert max(map(len, on_terminal(shown, width).splitlines())) <= width


def test_it_reads_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.money.prices.version", lambda _: "0.2.3")
    now = datetime(2026, 11, 21, tzinfo=UTC)
    gpus = [price for price in gpu_prices.load() if price.gpu in ("rtx-4090", "t4")]
    with pinned():
        names = ("claude-haiku-5-5", "claude-sonnet-4-6", "claude-sonnet-5-5")
        claude = [api_prices.find(name, "anthropic", now) for name in names]
        same_as_before("prices", document(claude, gpus, now.date()))


def test_names_are_models_gpus_or_parts_of_either(prices: Prices) -> None:
    _, out, _ = prices("claude-haiku-4-5-20251001", "qwen3", "rtx-4090@vast:spot")
    assert [row[0] for row in cells(out, "anthropic/")] == ["anthropic/claude-haiku-4-5"]
    assert [row[0] for row in cells(out, "openrouter/")] == ["openrouter/qwen/qwen3-14b"]
    assert [row[0] for row in cells(out, "rtx-")] == ["rtx-4090@vast"]
    _, out, _ = prices("--api", "openrouter/qwen/qwen3-14b", "qwen/qwen3-14b")
    assert cells(out, "openrouter/") == [["openrouter/qwen/qwen3-14b", "0.12", "–", "–", "–", "0.24"]]
    assert "cached from" not in out


def test_a_price_by_the_request_is_shown(prices: Prices) -> None:
    assert cells(prices("perplexity/sonar")[1], "and $") == [["and", "$0.012", "a", "request"]]


def test_own_prices_come_from_a_file_and_from_the_config_folder(prices: Prices, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(OWN)
    assert cells(prices("--gpu", "--prices", "mine.yaml")[1], "rtx-4090@cellar")[0][1:3] == ["0.125", "91"]
    config = tmp_path / "config" / "llm-serving-bench"
    config.mkdir(parents=True)
    (config / "prices.yaml").write_text(OWN)
    assert cells(prices("--gpu")[1], "rtx-4090@cellar")[0][1] == "0.125"
    (tmp_path / "mine.yaml").write_text(OWN.replace("0.125", "0.25"))
    assert cells(prices("--gpu", "--prices", "mine.yaml")[1], "rtx-4090@cellar")[0][1] == "0.25"


def test_json_has_exact_amounts_as_text(prices: Prices) -> None:
    code, out, _ = prices("--json", "claude-haiku-5-5", "rtx-3090")
    found = json.loads(out)
    assert code == 0
    assert set(found) == {"snapshot", "rules", "api", "gpu"}
    (haiku,) = found["api"]
    assert [(rates["above_tokens"], rates["input"]) for rates in haiku["rates"]] == [(0, "0.10"), (100_000, "0.50")]
    assert (haiku["cache_minimum"]["low_tokens"], haiku["retirement"]["fixed"]) == (512, False)
    assert found["rules"]["anthropic"]["us_only_price_factor"] == "1.1"
    assert found["gpu"] == [
        {
            "provider": "vast",
            "gpu": "rtx-3090",
            "kind": "spot",
            "usd_per_gpu_hour_low": "0.18",
            "usd_per_gpu_hour_high": "0.18",
            "includes_host": True,
            "read_on": "2026-05-31",
            "source": "vast.ai marketplace",
            "machine_gpus": [],
            "host_usd_per_gpu_hour": None,
            "host_usd_per_machine_hour": None,
        }
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("claude-hauku-4-5", "model 'claude-hauku-4-5': no price is known; did you mean anthropic/claude-haiku-4-5"),
        ("qwen3 claude-hauku-4-5", "model 'claude-hauku-4-5': no price is known; did you mean"),
        ("--gpu rtx-4900", "GPU 'rtx-4900': no price is known; did you mean 'rtx-4090' or"),
        ("--gpu --api", "--api and --gpu exclude each other: leave out both to see both"),
        ("--prices none.yaml", "none.yaml: cannot be read as a price file: [Errno 2] No such file"),
    ],
)
def test_what_is_wrong_is_one_line(arguments: str, message: str, prices: Prices) -> None:
    code, out, err = prices(*arguments.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {message}")
