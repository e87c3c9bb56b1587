"""The search for capacity, as a user starts it, on a real llama.cpp server."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import bench.cli.capacity as command
from backends.launch import llamacpp as llamacpp_launch
from bench.load.controller import Progress
from bench.server import tinymodel
from bench.server.launch import launch
from bench.types import ServeOptions, UserError
from tests.commands import bench

ROOT = Path(__file__).parents[3]
QUICK = ["--scenario", "smoke", "--requests", "30", "--precision", "90%", "--repeats", "1", "--concurrency", "8"]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    how = llamacpp_launch.serve(str(tinymodel.model_path("tiny", "gguf")), ServeOptions(None, 8, 1024, 1, ()))
    log = tmp_path_factory.mktemp("server") / "log"
    with launch(how, log, ready_timeout_s=60, on_progress=lambda _: None, port=None) as server:
        yield server.url


def search(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    return bench("capacity", *arguments)


def found(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "capacity.json").read_text())
    return content


@pytest.mark.slow
def test_a_server_that_keeps_the_objective_has_no_ceiling_as_far_as_was_looked(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    quick = [*QUICK, "--up-to", "3"]
    asked: list[str | Path] = ["--url", url, "--model", "tiny", "--slo", "ttft_ms:p90<9000", *quick, "--out", folder]
    done = search(*asked)
    assert (done.returncode, done.stderr) == (0, "")
    content = found(folder)
    capacity, high = content["capacity"]["rate_per_s"], content["capacity"]["high_per_s"]
    assert (capacity, high, content["capacity"]["reason"]) == (3.0, None, "no ceiling up to 3/s; --up-to looks further")
    assert {probe["outcome"] for probe in content["probes"]} == {"met"}
    assert content["asked"]["prompt_tokens"] is None and content["asked"]["concurrency"] == 8
    assert {path.name for path in folder.glob("rate-*")} == {probe["folder"] for probe in content["probes"]}
    assert f"capacity    {capacity:g} requests/s" in done.stdout
    page = folder / "capacity.html"
    assert str(page) in "".join(done.stdout.split("\n"))
    assert f"Capacity: {capacity:g} requests/s" in page.read_text()

    # The same again finds all its runs there, and one with another objective is not mixed with it.
    before = {path: path.stat().st_mtime_ns for path in folder.glob("*/summary.json")}
    again = search(*asked)
    assert (again.returncode, found(folder)) == (0, content)
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*/summary.json")} == before
    other = search("--url", url, "--model", "tiny", "--slo", "ttft_ms:p90<100", *quick, "--out", folder)
    assert (other.returncode, other.stderr.splitlines()[-1]) == (
        2,
        f"error: --out {folder}: holds a search with other slo; choose another",
    )


@pytest.mark.slow
def test_an_objective_that_no_rate_meets_is_a_capacity_of_none(url: str, tmp_path: Path) -> None:
    folder = tmp_path / "search"
    quick = [*QUICK, "--output-tokens", "4", "--prompt-tokens", "30", "--requests", "5"]
    done = search("--url", url, "--model", "tiny", "--slo", "ttft_ms:p90<0.01", *quick, "--out", folder)
    assert (done.returncode, done.stderr) == (1, "")
    assert found(folder)["capacity"]["rate_per_s"] == 0
    assert "capacity    none: no rate down to" in done.stdout

    # A run that is wrong ends the search; what was left of one that was interrupted is kept beside the new one.
    by_rate = sorted(folder.glob("rate-*/summary.json"), key=lambda path: float(path.parent.name.split("-")[1]))
    cut_short, *_, wrong = by_rate
    content = json.loads(wrong.read_text())
    wrong.write_text(json.dumps(content | {"verdict": {"status": "invalid", "reasons": []}}))
    cut_short.unlink()
    again = search("--url", url, "--model", "tiny", "--slo", "ttft_ms:p90<0.01", *quick, "--out", folder)
    assert (again.returncode, again.stderr) == (3, "")
    assert f"{wrong.parent.name} is not to be trusted; remove its folder to run it again" in again.stdout
    wrong.write_text(json.dumps(content))
    again = search("--url", url, "--model", "tiny", "--slo", "ttft_ms:p90<0.01", *quick, "--out", folder)
    assert again.returncode == 1
    assert cut_short.exists()
    assert (folder / f"interrupted-1-{cut_short.parent.name}" / "run.json").exists()


ASKED = ["--url", "http://127.0.0.1:9", "--slo", "ttft_ms:p90<200"]


def begun(folder: Path, *arguments: str) -> None:
    context = command.capacity.make_context("capacity", [*ASKED, *arguments, "--out", str(folder)])
    command._begin(command._search(context.params))


@pytest.mark.parametrize(
    "other",
    [
        "--prompt-tokens 100",
        "--output-tokens 9",
        "--cache warm",
        "--concurrency 5",
        "--requests 60",
        "--max-in-flight 64",
        "--usd-per-hour 2",
        "--timeout 60s",
        "--quick-ack on",
        "--seed 3",
        "--attainment 95%",
        "--scenario smoke",
        "--model other",
        "--slo tpot_ms<50",
        "--url http://127.0.0.1:8",
        "--workers 2",
    ],
)
def test_a_search_that_differs_in_anything_asked_is_not_mixed_with_another(other: str, tmp_path: Path) -> None:
    begun(tmp_path)
    begun(tmp_path)
    with pytest.raises(UserError, match=f"--out {tmp_path}: holds a search with other .*; choose another"):
        begun(tmp_path, *other.split())


@pytest.mark.parametrize("further", ["--precision 2%", "--repeats 5", "--up-to 100", "--max-usd 5"])
def test_the_same_search_can_go_further(further: str, tmp_path: Path) -> None:
    begun(tmp_path, "--max-usd", "1", "--model", "gpt-4o-mini")
    begun(tmp_path, "--max-usd", "1", "--model", "gpt-4o-mini", *further.split())


def test_server_flags_are_asked_too_and_no_key_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789")
    launched = ["--backend", "vllm", "--slo", "ttft_ms<500", "--server-arg", "--api-key=sk-secret-0123456789"]

    def start(*more: str) -> None:
        command._begin(
            command._search(
                command.capacity.make_context("capacity", [*launched, *more, "--out", str(tmp_path)]).params
            )
        )

    start()
    assert "sk-secret" not in (tmp_path / "capacity.json").read_text()
    for other in (["--server-arg=--enforce-eager"], ["--server-python", "/opt/python"], ["--server-cmd", "vllm"]):
        with pytest.raises(UserError, match="holds a search with other server"):
            start(*other)


def test_a_load_ends_once_the_server_surely_falls_behind() -> None:
    stop = command._stop(0.1)

    def progress(at_s: float, sent: int, done: int) -> Progress:
        return Progress(at_s, sent, done, 0, 0, sent - done, 0)

    assert {stop(progress(t / 2, 50 * t, 50 * t - 5)) for t in range(40)} == {None}
    behind = command._stop(0.1)
    assert [behind(progress(t / 2, 50 * t, 25 * t)) for t in range(40)][-1] == command.FALLS_BEHIND
    assert command._stop(None)(progress(200, 20_000, 1_000)) is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--slo", "ttft_ms<5", "--concurrency", "0"], "--concurrency: must be from 1 to 100000, got 0"),
        (["--slo", "ttft_ms<5", "--requests", "-1"], "--requests: must be from 1 to 10000000, got -1"),
        (["--slo", "ttft_ms<5", "--max-in-flight", "0"], "--max-in-flight: must be from 1 to 100000, got 0"),
        (["--slo", "ttft_ms<5", "--up-to", "nan"], "--up-to: must be from 0.001 to 1000000, got nan"),
        (["--slo", "ttft_ms<5", "--precision", "nan"], "--precision: expected a share between 0 and 1"),
        (["--slo", "ttft_ms<5", "--attainment", "-5%"], "--attainment: expected a share between 0 and 1"),
        ([], "--slo: capacity is the rate at which objectives are met; give one, such as 'ttft_ms:p99<500'"),
        (["--slo", "ttft_ms<5", "--precision", "wide"], "--precision: expected a share between 0 and 1, such as 5%"),
        (["--slo", "ttft_ms<5", "--attainment", "2"], "--attainment: expected a share between 0 and 1, such as 5%"),
        (["--slo", "ttft_ms<5", "--repeats", "0"], "--repeats: must be from 1 to 20, got 0"),
    ],
)
def test_a_wrong_search_is_one_line(arguments: list[str], said: str) -> None:
    done = search(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {said}")
    assert len(done.stderr.splitlines()) == 1
