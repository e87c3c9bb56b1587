"""`bench.py size` as its user meets it: what it prints, what it takes into account and what it refuses."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.app.size.options import SizeOptions
from bench.app.size.sizing import shown
from bench.cli.size import size as command
from bench.runs import folder
from bench.server import tinymodel
from bench.types import UserError
from tests.golden import same_as_before
from tests.summaries import MANIFEST, SUMMARY, filled

Size = Callable[..., str]

PRICES = """
prices:
  - {provider: mine, gpu: l40s, kind: on_demand, includes_host: yes, read_on: 2026-11-01, source: a page,
     usd_per_gpu_hour_low: 1.00, usd_per_gpu_hour_high: 1.50}
  - {provider: mine, gpu: rtx-4090, kind: on_demand, includes_host: no, read_on: 2020-01-01, source: a page,
     usd_per_gpu_hour_low: 0.25, usd_per_gpu_hour_high: 0.25}
"""
LOAD = ("--rate", "4", "--prompt-tokens", "500", "--output-tokens", "200")


@pytest.fixture
def size(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Size:
    """`size(*arguments) -> standard output`, in an empty folder with a file of prices."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text(PRICES)

    def call(*arguments: str) -> str:
        command.main(list(arguments), standalone_mode=False)
        return capsys.readouterr().out

    return call


def write_run(path: Path, *, tokens_per_s: float | None = 900.0, concurrency: int | None = 16, **verdict: Any) -> Path:
    """A run folder as far as `--measured` reads it: 500 + 200 tokens, 4.5 requests/s of 3 s."""
    path.mkdir()
    folder.write_json(path / folder.RUN, filled(MANIFEST, {"schema": 1, "load": {"concurrency": concurrency}}))
    summary = {
        "schema": 1,
        "verdict": {"status": "valid", "reasons": []} | verdict,
        "throughput": {"requests_per_s": 4.5, "output_tokens_per_s": tokens_per_s},
        "metrics": {"prompt_tokens": {"mean": 500.0}, "output_tokens": {"mean": 200.0}, "service_ms": {"mean": 3000.0}},
    }
    folder.write_json(path / folder.SUMMARY, filled(SUMMARY, summary))
    return path


# --- what it shows ----------------------------------------------------------------------------------------------


def test_a_model_that_does_not_fit_is_shown_with_what_is_short_and_one_that_does_with_its_price(size: Size) -> None:
    gpus, prices = ("rtx-4090@mine", "l40s@mine"), Path("mine.yaml")
    same_as_before("size", shown(SizeOptions(model="mixtral-8x7b-awq", gpu=gpus, prices=prices)))


def test_a_load_is_planned_with_replicas_and_says_what_limits_the_cheapest(size: Size) -> None:
    out = size("llama-3.1-8b", *LOAD, "--slo", "tpot_ms:p99<50", "--gpu", "l40s@mine", "--prices", "mine.yaml")
    header, row = out.partition("for 4 requests/s of 500 + 200 tokens")[2].splitlines()[1:3]
    assert header == ("a replica  replicas  at once  each, req/s   ttft, ms   tpot, ms  limit        $/month  price")
    assert row == ("1 x l40s        1-2    44-95    4.40-9.55  69.1-93.2  49.7-49.9  objective  730-2,190  mine")
    assert "limit       1 x l40s: the objectives: they are missed with more than 44 requests at once\n" in out
    assert "objectives are checked against the mean" in out


def test_without_options_every_known_gpu_is_shown_in_lines_of_at_most_110_columns(size: Size) -> None:
    out = size("llama-3.1-8b", *LOAD)
    tables = out.partition("how many sequences")[2].partition("\nlimit ")[0]
    assert max(map(len, tables.splitlines())) <= 110
    assert [tables.count(name) for name in ("h200", "rtx-5090", "l40s", "b200", "rtx-pro-6000")] == [2] * 5


def test_a_load_that_nothing_can_serve_says_so(size: Size) -> None:
    out = size("llama-3.1-8b", *LOAD, "--slo", "tpot_ms<1", "--gpu", "l40s", "--gpu", "l4")
    assert "result      no GPU keeps the objectives\n" in out
    assert "too slow    1 x l40s: a single request has at best tpot 22 ms\n" in out
    assert "            and 5 more that miss the objectives (--json lists them)\n" in out
    out = size("llama-3.1-70b", "--gpu", "l4", "--tensor-parallel", "1")
    assert "not on 1 x l4: 131.42 GiB of weights, 22.08 GiB usable\n" in out
    assert "result      it fits on no GPU here\n" in out


def test_json_holds_everything_that_is_printed_and_more(size: Size) -> None:
    arguments = ("llama-3.1-8b", *LOAD, "--gpu", "l40s@mine", "--gpu", "l4", "--prices", "mine.yaml", "--json")
    shown = json.loads(size(*arguments, "--slo", "ttft_ms<500", "--tensor-parallel", "1"))
    assert shown["model"] == {
        "name": "llama-3.1-8b", "quantization": "bf16", "parameters": 8_030_261_248,
        "active_parameters": 8_030_261_248, "experts": None, "active_experts": None, "context_tokens": 131_072,
    }  # fmt: skip
    assert shown["memory"]["kv_bytes"] == 704 * 131_072
    assert shown["load"] == {
        "rate_per_s": 4.0, "prompt_tokens": 500, "prefix_tokens": 0, "output_tokens": 200,
        "objectives_ms": {"ttft": 500.0},
        "utilization": 0.7,
    }  # fmt: skip
    assert {(row["gpu"], row["tensor_parallel"]) for row in shown["gpus"]} == {("l40s", 1), ("l4", 1)}
    plan = next(plan for plan in shown["plans"] if plan["gpu"] == "l40s")
    assert plan["usd_per_month"] == [730.0 * plan["replicas"][0], 1095.0 * plan["replicas"][1]]
    assert plan["price"] == {
        "name": "l40s@mine", "usd_per_gpu_hour": [1.0, 1.5], "includes_host": True, "read_on": "2026-11-01",
        "source": "a page",
    }  # fmt: skip
    for estimate in (plan["cautious"], plan["hopeful"]):
        assert estimate["output_tokens_per_s"] == pytest.approx(200 * estimate["requests_per_s"])


def test_a_prefix_that_all_prompts_share_is_held_once_and_computed_by_none(size: Size) -> None:
    arguments = ("llama-3.1-8b", *LOAD, "--gpu", "l40s@mine", "--prices", "mine.yaml", "--concurrency", "10")
    plain, cached = (json.loads(size(*arguments, *more, "--json")) for more in ((), ("--prefix-tokens", "480")))
    assert cached["memory"]["kv_bytes"] == (480 + 10 * 224) * 131_072 < plain["memory"]["kv_bytes"]
    assert cached["gpus"][0]["sequences"] > plain["gpus"][0]["sequences"]
    assert cached["plans"][0]["hopeful"]["requests_per_s"] > plain["plans"][0]["hopeful"]["requests_per_s"]
    assert "10 x 700 tokens, 480 of them shared, of 131,072 bytes each" in size(*arguments, "--prefix-tokens", "480")
    with pytest.raises(UserError, match="--prefix-tokens: must be from 0 to 500"):
        size(*arguments, "--prefix-tokens", "501")
    with pytest.raises(UserError, match="--prefix-tokens: needs --prompt-tokens"):
        size("llama-3.1-8b", "--prefix-tokens", "501")


def test_a_smaller_cache_number_a_larger_share_and_less_overhead_hold_more(size: Size) -> None:
    def held(*more: str) -> int:
        shown = json.loads(size("llama-3.1-8b", "--gpu", "l4", "--tensor-parallel", "1", "--json", *more))
        return int(shown["gpus"][0]["sequences"])

    usual = held()
    assert held("--kv-cache", "fp8") == pytest.approx(2 * usual, abs=1)
    assert held("--gpu-memory-utilization", "0.95") > usual
    assert held("--overhead-gib", "1") > usual
    assert held("--context", "8192") == usual // 2


def test_lengths_without_a_rate_say_what_a_sequence_holds(size: Size) -> None:
    shown = json.loads(size("llama-3.1-8b", "--prompt-tokens", "900", "--output-tokens", "100", "--json"))
    assert (shown["memory"]["context_tokens"], shown["load"]) == (1000, None)


def test_prices_of_the_users_own_folder_count_too(size: Size) -> None:
    own = Path("config", "llm-serving-bench", "prices.yaml")
    own.parent.mkdir(parents=True)
    own.write_text(PRICES)
    shown = json.loads(size("llama-3.1-8b", "--gpu", "l40s@mine", "--json"))
    assert shown["plans"][0]["price"]["name"] == "l40s@mine"


# --- models -----------------------------------------------------------------------------------------------------


def test_a_tiny_model_has_the_same_size_by_name_by_folder_and_by_file(size: Size, tmp_path: Path) -> None:
    tiny = tinymodel.build("tiny", tmp_path / "models")
    by_name, by_folder, by_config, by_file = (
        json.loads(size(model, "--gpu", "t4", "--json"))
        for model in ("tiny", str(tiny.hf), str(tiny.hf / "config.json"), str(tiny.gguf))
    )
    assert by_folder["gpus"] == by_config["gpus"] == by_name["gpus"]
    assert by_file["memory"]["kv_bytes_per_token"] == by_name["memory"]["kv_bytes_per_token"] == 512
    numbers = tinymodel.parameters(tinymodel.SIZES["tiny"])
    assert by_file["model"]["parameters"] == by_name["model"]["parameters"] == numbers
    assert by_file["memory"]["weights_bytes"] == 2 * by_name["memory"]["weights_bytes"] == 4 * numbers
    assert by_file["model"]["quantization"] == "F32"


@pytest.mark.parametrize(
    ("config", "quantization", "note"),
    [
        ({"quantization_config": {"quant_method": "awq", "bits": 4, "group_size": 64}}, "awq", ""),
        ({"quantization_config": {"quant_method": "fp8"}}, "fp8", ""),
        ({"quantization_config": {"quant_method": "mxfp4"}}, "mxfp4", ""),
        (
            {"model_type": "llava", "text_config": {}, "vision_config": {}},
            "bf16",
            "only the language model is counted, not its vision or audio encoders: vision_config",
        ),
    ],
)
def test_a_config_names_its_quantization_and_what_is_not_exact(
    config: dict[str, Any], quantization: str, note: str, size: Size, tmp_path: Path
) -> None:
    tiny = tinymodel.build("tiny", tmp_path / "models")
    whole = json.loads((tiny.hf / "config.json").read_text())
    Path("config.json").write_text(
        json.dumps(config | {"text_config": whole} if "text_config" in config else whole | config)
    )
    shown = json.loads(size("config.json", "--json"))
    assert shown["model"]["quantization"] == quantization
    assert note in " ".join(shown["notes"])


def test_an_alias_takes_its_quantization_from_the_name_or_the_option(size: Size) -> None:
    in_name, by_option = (
        json.loads(size(*words, "--gpu", "t4", "--json"))
        for words in (["Mistral-7B-Q4_K_M"], ["mistral-7b", "--quantization", "q4_k_m"])
    )
    assert in_name == by_option
    assert in_name["memory"]["weights_bytes"] == round(7_241_732_096 * 4.84 / 8)


# --- numbers of others ------------------------------------------------------------------------------------------


def test_a_measured_run_gives_the_efficiency_and_says_so(size: Size, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run")
    out = size("llama-3.1-8b", *LOAD, "--gpu", "h100-sxm", "--measured", str(run))
    assert "measured: 900 output tokens/s at 16 requests in flight, on 1 x h100-sxm" in out
    shown = json.loads(size("llama-3.1-8b", *LOAD, "--gpu", "h100-sxm", "--measured", str(run), "--json"))
    decode, prefill = shown["efficiency"]["decode"], shown["efficiency"]["prefill"]
    assert decode == prefill == [decode[0]] * 2
    assert 0.2 < decode[0] < 0.6
    assert shown["plans"][0]["cautious"] == shown["plans"][0]["hopeful"]


def test_an_open_loop_has_as_many_under_way_as_littles_law_says(size: Size, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", concurrency=None)
    shown = json.loads(size("llama-3.1-8b", "--gpu", "h100-sxm", "--measured", str(run), "--json"))
    assert "at 13.5 requests in flight" in shown["efficiency"]["source"]


def test_the_doubts_about_a_measured_run_are_passed_on(size: Size, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", status="suspect", reasons=[{"code": "x", "message": "too few requests"}])
    out = size("llama-3.1-8b", "--gpu", "h100-sxm", "--measured", str(run))
    assert "note        the measured run is suspect: too few requests\n" in out


def test_a_claim_below_the_roofline_is_said_to_be_possible(size: Size) -> None:
    out = size("llama-3.1-70b-awq", "--gpu", "t4", "--tensor-parallel", "4", "--claimed", "1500")
    assert "note        the claimed 1,500 output tokens/s are not above the roofline\n" in out


# --- what it refuses --------------------------------------------------------------------------------------------

WRONG = [
    ("tinny", "MODEL 'tinny': expected a name that `bench.py models` lists, a config.json or its folder, or a GGUF"),
    ("mistral-7b-awk", "did you mean 'mistral-7b'?"),
    ("no/such", "no/such: No such file or directory; expected a model's config.json"),
    ("no.gguf", "no.gguf: No such file or directory; expected a GGUF file"),
    ("mine.yaml", "mine.yaml: expected a model's config.json, but this is not JSON"),
    ("mistral-7b --quantization q4", "--quantization 'q4': expected one of fp16, bf16, fp8, int8, awq, gptq, q3_k_m"),
    (
        "mistral-7b-awq --quantization fp8",
        "--quantization fp8: the name mistral-7b-awq already says awq; leave one out",
    ),
    ("mistral-7b --context 40000", "--context: must be from 1 to 32768, got 40000; the nearest is 32768"),
    ("mistral-7b --context 0", "--context: must be from 1 to 32768, got 0; the nearest is 1"),
    ("mistral-7b --concurrency 0", "--concurrency: must be from 1 to 100000, got 0"),
    ("mistral-7b --rate 1", "--rate: needs --prompt-tokens"),
    ("mistral-7b --rate 1 --prompt-tokens 9", "--rate: needs --output-tokens"),
    ("mistral-7b --rate -1 --prompt-tokens 9 --output-tokens 9", "--rate: must be from 0.001 to 1000000, got -1.0"),
    ("mistral-7b --prompt-tokens -9", "--prompt-tokens: must be from 1 to 2000000, got -9"),
    ("mistral-7b --prompt-tokens 30000 --output-tokens 9000", "39000 tokens, but mistral-7b takes 32768"),
    (
        "mistral-7b --context 9 --prompt-tokens 9 --output-tokens 9",
        "--context 9: too short for the load's prompts and answers of 18",
    ),
    ("mistral-7b --slo ttft_ms<500", "--slo: needs a load to meet it under; give --rate, --prompt-tokens and"),
    (
        f"mistral-7b {' '.join(LOAD)} --slo ttft<5",
        "--slo 'ttft<5': ttft is not a latency metric; did you mean 'ttft_ms'",
    ),
    (f"mistral-7b {' '.join(LOAD)} --slo lateness_ms<5", "--slo lateness_ms: a roofline knows only ttft_ms"),
    (f"mistral-7b {' '.join(LOAD)} --utilization 0", "--utilization: must be from 0.01 to 1.0, got 0.0"),
    ("mistral-7b --gpu h100", "--gpu 'h100': expected one of t4, l4, "),
    ("mistral-7b --gpu h100-sxm@gcpp", "no price at gcpp is known"),
    ("mistral-7b --tensor-parallel 3", "mistral-7b has 32 attention heads and 8 key-value heads, which it does not"),
    ("mistral-7b --tensor-parallel 0", "--tensor-parallel: must be from 1 to 64, got 0"),
    ("mistral-7b --overhead-gib -1", "--overhead-gib: must be from 0.0 to 64.0, got -1.0"),
    ("mistral-7b --gpu-memory-utilization 2", "--gpu-memory-utilization: must be from 0.1 to 1.0, got 2.0"),
    ("mistral-7b --prices no.yaml", "no.yaml: cannot be read as a price file"),
    ("mistral-7b --measured run", "--measured: needs --gpu"),
    ("mistral-7b --measured . --gpu t4", "is not a run folder: run.json: No such file or directory"),
    ("mistral-7b --claimed 5", "--claimed: needs --gpu"),
    ("mistral-7b --claimed 0 --gpu t4", "--claimed: must be from 0.001 to 1000000000.0, got 0.0"),
    (
        "llama-3.1-70b-awq --claimed 3245 --gpu t4 --tensor-parallel 4",
        "--claimed: 3,245 output tokens/s are above the roofline of 1,843 at any number of sequences",
    ),
]


@pytest.mark.parametrize(("arguments", "message"), WRONG)
def test_a_wrong_value_is_one_line_that_says_what_to_do(arguments: str, message: str, size: Size) -> None:
    with pytest.raises(UserError) as refused:
        size(*arguments.split())
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_gguf_file_takes_no_quantization(size: Size, tmp_path: Path) -> None:
    tiny = tinymodel.build("tiny", tmp_path / "models")
    with pytest.raises(UserError, match=r"--quantization: tiny.gguf is already quantized; leave it out"):
        size(str(tiny.gguf), "--quantization", "awq")


def test_a_config_with_a_family_or_a_key_that_is_not_known_has_no_number(size: Size, tmp_path: Path) -> None:
    tiny = tinymodel.build("tiny", tmp_path / "models")
    whole = json.loads((tiny.hf / "config.json").read_text())
    for changes, named in (({"model_type": "newest"}, "the family 'newest'"), ({"mamba_d_state": 16}, "mamba_d_state")):
        Path("config.json").write_text(json.dumps(whole | changes))
        with pytest.raises(UserError, match=f"{named} .*is not known here"):
            size("config.json")


def test_a_quantization_that_is_not_known_asks_for_the_nearest(size: Size, tmp_path: Path) -> None:
    config = {"quantization_config": {"quant_method": "aqlm", "bits": 8}}
    tiny = tinymodel.build("tiny", tmp_path / "models")
    Path("config.json").write_text(json.dumps(json.loads((tiny.hf / "config.json").read_text()) | config))
    with pytest.raises(UserError, match=r"its quantization \(aqlm\) is not known here; give --quant"):
        size("config.json")
    assert json.loads(size("config.json", "--quantization", "int8", "--json"))["model"]["quantization"] == "int8"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens_per_s": 90_000.0}, "--measured: 90,000 output tokens/s are above the roofline of "),
        ({"tokens_per_s": None}, "no request has both tokens and times"),
        (
            {"status": "invalid", "reasons": [{"code": "x", "message": "half of it failed"}]},
            "the run is not to be trusted: half of it failed",
        ),
    ],
)
def test_a_measured_run_that_cannot_be_is_refused(
    changes: dict[str, Any], message: str, size: Size, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", **changes)
    with pytest.raises(UserError, match=message):
        size("llama-3.1-8b", "--gpu", "h100-sxm", "--measured", str(run))


# --- recorded traffic -------------------------------------------------------------------------------------------

TRACES = Path(__file__).parents[2] / "fixtures" / "traffic"


def test_recorded_traffic_gives_the_load_and_is_shown_with_what_a_cache_would_serve(size: Size) -> None:
    slice_ = str(TRACES / "mooncake_conversation_first2000.jsonl.gz")
    shown = json.loads(size("llama-3.1-8b", "--gpu", "h200", "--traffic", slice_, "--json"))
    traffic, load = shown["traffic"], shown["load"]
    assert load["rate_per_s"] == traffic["peak_rate_per_s"] == pytest.approx(218 / 60)
    assert (load["prompt_tokens"], load["output_tokens"]) == (13_721, 352)
    assert traffic["mean_rate_per_s"] == pytest.approx(2000 / 669)
    assert traffic["cached_share_by_ttl"]["without end"] == pytest.approx(0.29411, abs=5e-6)
    assert shown["memory"]["context_tokens"] > traffic["prompt_tokens"]["p99"]
    text = size("llama-3.1-8b", "--gpu", "h200", "--traffic", slice_)
    assert "an unbounded prefix cache serves" in text and "29.4% if kept without end" in text


def test_what_is_said_beside_recorded_traffic_goes_before_it(size: Size) -> None:
    slice_ = str(TRACES / "azure_conv_2023_first3000.csv.gz")
    shown = json.loads(size("llama-3.1-8b", "--gpu", "l4", "--traffic", slice_, "--rate", "2", "--json"))
    assert (shown["load"]["rate_per_s"], shown["load"]["prompt_tokens"]) == (2, 1150)
    assert shown["traffic"]["cached_share_by_ttl"] == dict.fromkeys(("1m", "5m", "1h", "without end"))


def test_recorded_traffic_longer_than_the_models_context_is_said(size: Size) -> None:
    Path("t.csv").write_text("time,input_tokens,output_tokens\n1700000000,9000000,5\n1700000060,100,5\n")
    shown = size("llama-3.1-8b", "--gpu", "l4", "--traffic", "t.csv", "--prompt-tokens", "100")
    assert "the longest recorded request has 9,000,005 tokens, but llama-3.1-8b takes 131,072" in shown


@pytest.mark.parametrize(("content", "lacks"), [("1700000000\n1700000001\n", "lengths"), ("Say it\n", "times")])
def test_traffic_without_times_or_lengths_is_no_load(size: Size, content: str, lacks: str) -> None:
    Path("t.txt").write_text(content)
    with pytest.raises(UserError, match=f"--traffic t.txt: has no {lacks}"):
        size("llama-3.1-8b", "--traffic", "t.txt")
