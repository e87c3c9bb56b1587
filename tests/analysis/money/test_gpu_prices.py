from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from analysis.money.gpu_prices import (
    GpuPrice,
    Hourly,
    Owned,
    age_days,
    find,
    hourly_of,
    is_old,
    load,
    owned,
    owned_usd_per_month,
    pricing_of,
    rented,
    stated,
    user_file,
)
from analysis.money.numbers import HOURS_PER_MONTH
from bench.runs.manifest import ApiPricing, HourPricing
from bench.types import UserError

TODAY = date(2026, 11, 21)
KNOWN = load()
ROW = """\
prices:
  - {provider: vast, gpu: rtx-4090, kind: on_demand, source: mine,
     usd_per_gpu_hour_low: 0.10, usd_per_gpu_hour_high: 0.20, includes_host: no, read_on: 2026-11-20}
"""


@pytest.fixture
def price_file(tmp_path: Path) -> Path:
    path = tmp_path / "prices.yaml"
    path.write_text(ROW)
    return path


# --- what an hour and a month cost --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usd_per_hour", "usd_per_month"),
    [("0.35", "255.50"), ("0.16", "116.80"), (".24", "175.20"), ("0.60", "438.00"), ("0.54", "394.20")],
)
def test_a_month_is_730_hours(usd_per_hour: str, usd_per_month: str) -> None:
    assert stated(Decimal(usd_per_hour)).usd * HOURS_PER_MONTH == Decimal(usd_per_month)


@pytest.mark.parametrize(
    ("spec", "low", "high"),
    [("t4@gcp", "394.20", "394.20"), ("t4@gcp:cud_3y", "116.80", "116.80"), ("rtx-4090@vast:spot", "175.20", "226.30")],
)
def test_the_bundled_prices_give_the_worked_months(spec: str, low: str, high: str) -> None:
    hourly = rented(find(spec, KNOWN), 1, TODAY)
    assert (hourly.usd_low * HOURS_PER_MONTH, hourly.usd_high * HOURS_PER_MONTH) == (Decimal(low), Decimal(high))


def test_a_price_without_the_host_and_an_old_one_say_so() -> None:
    alone = rented(find("t4@gcp:cud_3y", KNOWN), 2, TODAY)
    assert alone.usd == Decimal("0.32")
    assert alone.notes == (
        "GPU only: t4@gcp:cud_3y excludes the host it needs (cloud.google.com)",
        "the price of t4@gcp:cud_3y is 315 days old",
    )
    assert rented(find("rtx-4090", KNOWN), 1, TODAY).notes == ()


def test_gpus_are_paid_in_the_machines_that_they_are_rented_in() -> None:
    def hour(spec: str, gpus: int) -> tuple[str, Decimal]:
        found = rented(find(spec, KNOWN, gpus), gpus, TODAY)
        return found.source.partition(",")[0], found.usd

    assert find("t4@gcp", KNOWN).usd_per_gpu_hour * HOURS_PER_MONTH == Decimal("255.50")  # G9: the GPU alone
    assert hour("t4@gcp", 1) == ("1 x t4@gcp", Decimal("0.54"))
    assert hour("t4@gcp", 4) == ("4 x t4@gcp", Decimal("1.59"))  # one host for the four
    assert hour("t4@aws", 4) == ("4 x t4@aws", Decimal("3.912"))  # one g4dn.12xlarge, not four g4dn.xlarge
    assert hour("t4@aws", 2) == ("4 x t4@aws", Decimal("3.912"))
    assert hour("a100-40@aws", 1) == ("8 x a100-40@aws", 8 * Decimal("2.7447"))
    assert hour("a100-40@gcp", 2) == ("2 x a100-40@gcp", 2 * Decimal("3.67"))
    assert hour("h100-sxm@aws", 9) == ("16 x h100-sxm@aws", 16 * Decimal("6.88"))
    assert hour("rtx-4090@vast", 3)[0] == "3 x rtx-4090@vast"


def test_what_is_paid_beyond_what_is_used_is_said() -> None:
    (note,) = rented(find("a100-40@aws", KNOWN), 1, TODAY).notes
    assert note.startswith("a100-40@aws comes in machines of 8; a replica of 1 pays for 8")
    assert "are 2 machines" in " ".join(rented(find("h100-sxm@aws", KNOWN), 9, TODAY).notes)


def test_replicas_share_machines() -> None:
    p4d = find("a100-40@aws", KNOWN)
    assert [p4d.paid_gpus(1, replicas) for replicas in (1, 8, 9)] == [8, 8, 16]
    assert [p4d.paid_gpus(3, replicas) for replicas in (1, 2, 3)] == [8, 8, 16]
    assert find("t4@gcp", KNOWN).paid_gpus(1, 3) == 3


def test_a_price_is_old_after_ninety_days() -> None:
    price = find("rtx-4090", KNOWN)
    assert age_days(price, TODAY) == 57
    assert not is_old(price, date(2026, 12, 24))
    assert is_old(price, date(2026, 12, 25))


def test_owned_hardware_is_what_it_loses_draws_and_takes_up() -> None:
    hardware = Owned(
        price_usd=Decimal(2400),
        resale_usd=Decimal(600),
        months=Decimal(36),
        watts=Decimal(450),
        pue=Decimal("1.2"),
        usd_per_kwh=Decimal("0.30"),
        hosting_usd_per_month=Decimal(20),
    )
    assert owned_usd_per_month(hardware) == 50 + Decimal("118.26") + 20
    assert owned(hardware).usd == Decimal("188.26") / 730


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("months", 0, "owned hardware: months must be more than 0, got 0"),
        ("price_usd", -1, "owned hardware: price_usd must be 0 or more, got -1"),
        ("watts", "nan", "owned hardware: watts must be 0 or more, got NaN"),
        ("pue", "0.9", "owned hardware: pue must be 1 or more, got 0.9"),
        ("resale_usd", 101, "owned hardware: resale_usd must not be more than price_usd"),
    ],
)
def test_owned_hardware_that_cannot_be_is_an_error(name: str, value: object, message: str) -> None:
    fields = {"price_usd": 100, "months": 36, "watts": 450, "usd_per_kwh": "0.3"} | {name: value}
    with pytest.raises(UserError) as raised:
        owned(Owned(**{key: Decimal(str(number)) for key, number in fields.items()}))
    assert str(raised.value) == message


def test_a_price_comes_back_from_a_manifest_as_it_went_in() -> None:
    for hourly in (
        rented(find("h100-sxm@vast", KNOWN), 8, TODAY),
        stated(Decimal("0.10")),
        Hourly(Decimal(1), Decimal(2), "x"),
    ):
        assert hourly_of(pricing_of(hourly, None, None)) == hourly
    half = Decimal("0.5")
    assert hourly_of(HourPricing(usd_per_hour=half, gpu="l4@gcp")) == Hourly(half, half, "l4@gcp")
    assert hourly_of(ApiPricing()) is hourly_of(None) is None


# --- finding a price ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "found", "usd"),
    [
        ("rtx-4090", "rtx-4090@runpod-community", "0.34"),
        ("RTX-4090@vast", "rtx-4090@vast", "0.6625"),
        ("rtx-4090:spot", "rtx-4090@vast:spot", "0.275"),
        ("h100-sxm", "h100-sxm@runpod-community", "2.69"),
        ("t4", "t4@aws", "0.526"),
    ],
)
def test_without_a_provider_it_is_the_cheapest_on_demand_with_its_host(spec: str, found: str, usd: str) -> None:
    price = find(spec, KNOWN)
    assert (str(price), price.usd_per_gpu_hour) == (found, Decimal(usd))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("rtx-4900", "GPU 'rtx-4900': no price is known; did you mean 'rtx-4090' or "),
        ("h100", "GPU 'h100': no price is known; did you mean 'h100-nvl' or 'h100-sxm' or 'h100-pcie'?"),
        ("rtx-4090@runpod", "no price at runpod is known; rtx-4090 is priced at runpod-secure or runpod-community"),
        ("t4@azure", "no price at azure is known; t4 is priced at aws or gcp"),
        ("rtx-3090", "GPU 'rtx-3090': no on_demand price is known; there is rtx-3090@vast:spot"),
        ("t4:spott", "kind 'spott' is not known; expected on_demand or spot or cud_1y or cud_3y"),
    ],
)
def test_what_has_no_price_is_an_error_that_offers_near_names(spec: str, message: str) -> None:
    with pytest.raises(UserError) as raised:
        find(spec, KNOWN)
    assert message in str(raised.value)


# --- the price file -----------------------------------------------------------------------------------------------


def test_the_bundled_rows_are_whole_and_exact() -> None:
    assert len(KNOWN) == 49
    assert find("h100-sxm@gcp", KNOWN) == GpuPrice(
        provider="gcp",
        gpu="h100-sxm",
        kind="on_demand",
        usd_per_gpu_hour_low=Decimal("10.9791"),
        usd_per_gpu_hour_high=Decimal("10.9791"),
        includes_host=True,
        read_on=date(2026, 9, 26),
        source="cloud.google.com (a3-highgpu-1g)",
        machine_gpus=(1, 2, 4, 8),
    )


def test_a_user_s_row_replaces_the_same_provider_gpu_and_kind_and_adds_others(price_file: Path) -> None:
    price = find("rtx-4090@vast", load([price_file]))
    assert (price.usd_per_gpu_hour_low, price.usd_per_gpu_hour_high) == (Decimal("0.10"), Decimal("0.20"))
    assert len(load([price_file])) == len(KNOWN)
    price_file.write_text(ROW.replace("rtx-4090", "RTX-6000"))
    added = load([price_file])
    assert (len(added), find("rtx-6000", added).source) == (len(KNOWN) + 1, "mine")


def test_the_user_s_file_lies_in_the_config_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert user_file() == tmp_path / "llm-serving-bench" / "prices.yaml"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert user_file() == tmp_path / ".config" / "llm-serving-bench" / "prices.yaml"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("low: 0.10", "low: -1", "row 1: usd_per_gpu_hour_low: expected US dollars such as 0.34, got '-1'"),
        ("low: 0.10", "low: 0", "row 1: expected 0 < usd_per_gpu_hour_low <= usd_per_gpu_hour_high, got 0 and 0.20"),
        ("low: 0.10", "low: 0.30", "row 1: expected 0 < usd_per_gpu_hour_low <= usd_per_gpu_hour_high, got 0.30"),
        ("low: 0.10", "low: ten", "row 1: usd_per_gpu_hour_low: expected US dollars such as 0.34, got 'ten'"),
        ("usd_per_gpu_hour_low: 0.10, ", "", "row 1: usd_per_gpu_hour_low is missing"),
        ("source: mine", "source: ''", "row 1: source is missing"),
        (
            "usd_per_gpu_hour_low",
            "usd_per_month",
            "row 1: unknown key 'usd_per_month'; expected one of provider",
        ),
        ("on_demand", "ondemand", "row 1: kind: expected on_demand or spot or cud_1y or cud_3y, got 'ondemand'"),
        ("host: no", "host: maybe", "row 1: includes_host: expected yes or no, got 'maybe'"),
        ("2026-11-20", "yesterday", "row 1: read_on: expected a day such as 2026-09-25, got 'yesterday'"),
        ("{provider", "[provider", "cannot be read as a price file: while parsing"),
        ("prices:", "rows:", "expected a list of rows under the key prices"),
        (ROW.partition("\n")[2], "  - 3\n", "row 1: expected keys and values: provider, gpu, kind, "),
        ("prices:\n", ROW, "row 2: rtx-4090@vast is priced twice in this file"),
    ],
)
def test_a_malformed_file_is_one_line_that_names_file_and_row(
    old: str, new: str, message: str, price_file: Path
) -> None:
    price_file.write_text(ROW.replace(old, new))
    with pytest.raises(UserError) as raised:
        load([price_file])
    assert str(raised.value).startswith(f"{price_file}: {message}")
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none\.yaml: cannot be read as a price file: .*No such file"):
        load([tmp_path / "none.yaml"])
