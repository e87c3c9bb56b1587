"""The `vllm` and `openai` backends on a real vLLM: what we observe against what it says of itself."""

import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from backends import BACKENDS
from backends.cold import vllm as vllm_cold
from backends.launch import vllm as vllm_launch
from bench.server.tinymodel import TinyModel
from bench.types import Backend, Call, Message, Reply, Target
from tests.commands import bench

pytestmark = pytest.mark.engine

Ask = Callable[[Backend, Target, Call], Reply]
Counters = Callable[[Target], dict[str, float]]
StartBench = Callable[..., "subprocess.Popen[str]"]

MESSAGES = (
    Message("system", "you are\n kind"),
    Message("user", "tell me about the sun"),
    Message("assistant", " it is near "),
    Message("user", "more, café <|end|> please"),
)
LONG = (Message("user", "the sun " * 300),)  # longer than a block of the prefix cache
LOAD = ("run", "--scenario", "chat", "--concurrency", "4", "--prompt-tokens", "200")
FILES = {"run.json", "plan.parquet", "capture", "requests.parquet", "telemetry.parquet", "summary.json", "report.html"}
DEADLINE_S = 900  # ends what hangs; a slow machine takes its time


def call(max_tokens: int, messages: tuple[Message, ...] = MESSAGES) -> Call:
    return Call(0, None, 0, 0, None, messages, max_tokens, 1, None)


def read(run: Path, name: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((run / name).read_bytes())
    return content


# --- one request ------------------------------------------------------------------------------------------------


def test_an_answer_has_exactly_the_tokens_asked_for_and_every_chunk_says_how_many(
    vllm_server: Target, ask: Ask
) -> None:
    reply = ask(BACKENDS["vllm"], vllm_server, call(12))
    assert (reply.error, reply.finish) == (None, "length")
    assert sum(tokens or 0 for _, tokens, _ in reply.deltas) == 12  # where vLLM is behind, a chunk brings several
    assert all(tokens for _, tokens, _ in reply.deltas)
    assert reply.usage is not None
    assert reply.usage.output_tokens == 12


def test_usage_at_the_end_only_gives_the_same_answer_without_counts(vllm_server: Target, ask: Ask) -> None:
    final = replace(vllm_server, options={"usage": "final"})
    plain, counted = ask(BACKENDS["vllm"], final, call(12)), ask(BACKENDS["vllm"], vllm_server, call(12))
    assert {tokens for _, tokens, _ in plain.deltas} == {None}
    assert (plain.text, plain.usage, plain.finish) == (counted.text, counted.usage, counted.finish)


@pytest.mark.parametrize("thinking", ["default", "off", "on"])
def test_the_prompt_is_counted_as_usage_will_count_it(vllm_server: Target, ask: Ask, thinking: str) -> None:
    target = replace(vllm_server, options={"thinking": thinking})
    usage = ask(BACKENDS["vllm"], target, call(1)).usage
    assert usage is not None
    assert vllm_cold.count_tokens(target, MESSAGES) == usage.prompt_tokens


@pytest.mark.parametrize(
    ("model", "messages", "code", "says"),
    [
        ("nobody", MESSAGES, "http_404", "`nobody` does not exist"),
        ("tiny", (Message("user", "the sun " * 3000),), "http_400", "maximum context length is 4096 tokens"),
    ],
)
def test_a_refusal_is_an_error_with_vllms_own_words(
    vllm_server: Target, ask: Ask, model: str, messages: tuple[Message, ...], code: str, says: str
) -> None:
    error = ask(BACKENDS["vllm"], replace(vllm_server, model=model), call(12, messages)).error
    assert error is not None
    assert error[0] == code
    assert says in error[1]


def test_the_server_says_what_it_is(vllm_server: Target, tiny: TinyModel) -> None:
    info = vllm_cold.preflight(vllm_server)
    assert (info.name, info.model, info.context_tokens, info.metrics_path) == ("vllm", "tiny", 4096, "/metrics")
    assert info.version
    assert info.settings == {"root": str(tiny.hf), "max_model_len": 4096, "adapters": ["poet"]}
    assert (info.options, info.notes) == ({}, ())


def test_a_model_is_found_by_the_path_it_was_loaded_from(vllm_server: Target, tiny: TinyModel) -> None:
    assert vllm_cold.preflight(replace(vllm_server, model=str(tiny.hf))).model == "tiny"


def test_every_gauge_is_among_the_servers_metrics(vllm_server: Target, ask: Ask, vllm_counters: Counters) -> None:
    ask(BACKENDS["vllm"], vllm_server, call(2))
    histograms = {name for name in BACKENDS["vllm"].gauges if name.startswith("server_")}
    single = BACKENDS["vllm"].gauges.keys() - histograms
    assert vllm_counters(vllm_server).keys() == single | {
        f"{name}_{part}" for name in histograms for part in ("sum", "count")
    }


def test_an_adapter_answers_under_its_own_name(vllm_server: Target, ask: Ask) -> None:
    poet = replace(vllm_server, options={"adapter": "poet"})
    assert vllm_cold.preflight(poet).model == "tiny"
    assert vllm_cold.count_tokens(poet, MESSAGES) == vllm_cold.count_tokens(vllm_server, MESSAGES)
    ours, base = ask(BACKENDS["vllm"], poet, call(12)), ask(BACKENDS["vllm"], vllm_server, call(12))
    assert (ours.error, ours.usage) == (None, base.usage)
    assert ours.text != base.text


def test_a_prompt_is_cached_until_the_cache_is_emptied(vllm_server: Target, ask: Ask, vllm_counters: Counters) -> None:
    def cached() -> int:
        before = vllm_counters(vllm_server)["prefix_cache_hits_total"]
        usage = ask(BACKENDS["vllm"], vllm_server, call(1, LONG)).usage
        assert usage is not None
        assert usage.cached_tokens is not None
        assert usage.cached_tokens == vllm_counters(vllm_server)["prefix_cache_hits_total"] - before
        return usage.cached_tokens

    assert vllm_cold.reset_cache(vllm_server) is True
    assert cached() == 0
    assert cached() > 500
    assert vllm_cold.reset_cache(vllm_server) is True
    assert cached() == 0


# --- runs -------------------------------------------------------------------------------------------------------


class Observation(NamedTuple):
    """A run's folder, and by how much vLLM's own counters rose from before it to after it."""

    backend: str
    run: Path
    rose: dict[str, float]


@pytest.fixture(scope="module", params=["vllm", "openai"])
def observation(
    request: pytest.FixtureRequest,
    vllm_server: Target,
    vllm_counters: Counters,
    tmp_path_factory: pytest.TempPathFactory,
) -> Observation:
    """A run, and by how much vLLM's counters rose: by the run's own samples, or around it all where it takes none."""
    run = tmp_path_factory.mktemp(request.param) / "run"
    whom = ("--backend", request.param, "--url", vllm_server.url, "--model", "tiny")
    before = vllm_counters(vllm_server)
    done = bench(*LOAD, *whom, "--requests", "20", "--warmup", "4", "--quiet", "--out", run)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    after = vllm_counters(vllm_server)
    rose = {name: after[name] - before[name] for name in before}
    telemetry = pq.read_table(run / "telemetry.parquet").sort_by("t_ns").to_pylist()
    counted = {name: [row["value"] for row in telemetry if (row["source"], row["name"]) == ("engine", name)]
               for name in rose}  # fmt: skip
    sampled = {name: values[-1] - values[0] for name, values in counted.items() if values}
    return Observation(request.param, run, rose | sampled)


@pytest.mark.parametrize("observation", ["vllm"], indirect=True)
def test_every_token_of_a_run_is_one_that_the_server_counted(observation: Observation) -> None:
    requests = pq.read_table(observation.run / "requests.parquet")
    assert requests.num_rows == 24
    assert set(requests["error"].to_pylist()) == {None}
    assert sum(requests["output_tokens"].to_pylist()) == observation.rose["generation_tokens_total"]
    assert sum(requests["prompt_tokens"].to_pylist()) == observation.rose["prompt_tokens_total"]
    assert sum(requests["cached_tokens"].to_pylist()) == observation.rose["prefix_cache_hits_total"]
    assert requests["output_tokens"] == requests["max_tokens"].cast("int64")
    assert set(requests["prompt_tokens"].to_pylist()) == {200}


@pytest.mark.parametrize("observation", ["openai"], indirect=True)
def test_before_a_load_of_the_plain_dialect_the_server_is_asked_for_little(observation: Observation) -> None:
    requests = pq.read_table(observation.run / "requests.parquet")
    assert requests["output_tokens"] == requests["max_tokens"].cast("int64")
    more = observation.rose["generation_tokens_total"] - sum(requests["output_tokens"].to_pylist())
    # The rehearsal, and short requests that ask whether the server waits for acknowledgements.
    run = read(observation.run, "run.json")
    assert more == run["rehearsal"]["output_tokens"] + 8 * run["nagle"]["requests"]
    assert run["nagle"]["requests"] in range(3, 12, 2)


@pytest.mark.parametrize("observation", ["vllm"], indirect=True)
def test_a_run_knows_the_tokens_of_every_chunk_and_keeps_every_gauge(observation: Observation) -> None:
    requests = pq.read_table(observation.run / "requests.parquet")
    assert set(requests["token_source"].to_pylist()) == {"per-chunk usage"}
    assert [sum(tokens) for tokens in requests["arrival_tokens"].to_pylist()] == requests["output_tokens"].to_pylist()
    telemetry = pq.read_table(observation.run / "telemetry.parquet").to_pylist()
    assert {row["name"] for row in telemetry if row["source"] == "engine"} == observation.rose.keys()


@pytest.mark.parametrize("observation", ["vllm"], indirect=True)
def test_our_mean_ttft_is_vllms_own_and_the_way_there_and_back(observation: Observation) -> None:
    requests = pq.read_table(observation.run / "requests.parquet")
    ours_ms = np.mean(requests["first_token_ns"].to_numpy() - requests["sent_ns"].to_numpy()) / 1e6
    assert observation.rose["server_ttft_s_count"] == requests.num_rows
    theirs_ms = 1000 * observation.rose["server_ttft_s_sum"] / requests.num_rows
    # Between vLLM's stamps and ours are the ways in and out, HTTP, template and tokenizer: 2 to 8 ms were seen on two
    # idle cores, up to 40 on busy ones. To take the end of an answer for its beginning would be all that its other
    # tokens took, 400 ms there.
    rest_ms = np.mean(requests["last_token_ns"].to_numpy() - requests["first_token_ns"].to_numpy()) / 1e6
    assert theirs_ms < ours_ms < theirs_ms + rest_ms / 2


def test_the_command_line_chooses_adapter_and_thinking(vllm_server: Target, tmp_path: Path) -> None:
    load, whom = ("--scenario", "smoke", "--requests", "16"), ("--backend", "vllm", "--url", vllm_server.url)
    asked = ("run", *load, *whom, "--model", "tiny", "--quiet", "--out")
    done = bench(*asked, tmp_path / "run", "--adapter", "poet", "--thinking", "off")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert read(tmp_path / "run", "run.json")["options"] == {"adapter": "poet", "temperature": "0", "thinking": "off"}
    done = bench(*asked, tmp_path / "none", "--adapter", "bard")
    assert (done.returncode, done.stderr.count("\n"), (tmp_path / "none").exists()) == (2, 1, False)
    assert "--adapter 'bard'" in done.stderr


def test_a_vllm_that_dies_in_mid_run_is_said_in_a_line_and_the_folder_is_complete(
    vllm_python: str, start_bench: StartBench, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    flags = ["--server-arg=--dtype=float32", "--server-arg=--enforce-eager"]
    flags += ["--server-arg=--distributed-executor-backend=uni"]
    launched = ("--backend", "vllm", "--model", "tiny", "--server-python", vllm_python, *flags)
    with start_bench(*LOAD, *launched, "--duration", "300s", "--warmup", "1s", "--out", run) as process:
        wait_until(lambda: process.poll() is not None or captured_bytes(run) > 60_000)
        assert process.poll() is None, process.communicate()
        family = psutil.Process(process.pid).children(recursive=True)
        (server,) = [each for each in family if each.cmdline()[1:3] == ["-m", vllm_launch.MODULE]]
        server.kill()
        _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 3
    (line,) = [line for line in err.splitlines() if line.startswith("stopped early: ")]
    assert line == f"stopped early: the server is gone: it ended (exit code 137); {run / 'server.log'} may say why"
    assert {path.name for path in run.iterdir()} >= FILES
    manifest, summary = read(run, "run.json"), read(run, "summary.json")
    assert (manifest["launched"], manifest["server"]["name"], manifest["interrupted"]) == (True, "vllm", True)
    assert summary["requests"]["succeeded"] > 0
    assert "interrupted" in {reason["code"] for reason in summary["verdict"]["reasons"]}
    wait_until(lambda: not any(each.is_running() for each in family))


def captured_bytes(run: Path) -> int:
    return sum(path.stat().st_size for path in (run / "capture").glob("*.cap"))


def wait_until(condition: Callable[[], bool], timeout_s: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
