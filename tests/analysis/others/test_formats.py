"""Files of other tools: figures are read by meaning, to the last printed digit; what is no such file is said."""

import codecs
import json
import re
import resource
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.others.formats import FORMATS, results_in
from analysis.others.imported import Imported, calls_table, with_theirs
from analysis.others.result_file import MOST_BYTES
from analysis.run.metrics import METRICS, successful
from bench.types import UserError
from tests.files import ANYTHING

HERE = Path(__file__).parents[2] / "fixtures" / "imported"
FIXTURES = {path.name: path for path in sorted(HERE.iterdir()) if path.suffix in (".json", ".jsonl")}
OF = {"TTFT": "ttft_ms", "TPOT": "tpot_ms", "ITL": "chunk_gap_ms", "E2EL": "service_ms", "E2E Latency": "service_ms"}
STATISTICS = {"Mean": "mean", "Median": "p50", "P50": "p50", "P90": "p90", "P95": "p95", "P99": "p99"}
RATES = {
    "Request throughput (req/s)": "requests_per_s",
    "Output token throughput (tok/s)": "output_tokens_per_s",
    "Total token throughput (tok/s)": "total_tokens_per_s",
}


def only(name: str) -> Imported:
    (found,) = results_in(FIXTURES[name])
    return found


def same_as_printed(value: float | None, printed: str) -> bool:
    digits = len(printed.partition(".")[2])
    return value is not None and f"{value:.{digits}f}" == printed.replace(",", "")


def test_every_tool_has_a_file_here() -> None:
    assert {found.tool for path in FIXTURES.values() for found in results_in(path)} == set(FORMATS)


@pytest.mark.parametrize("name", ["vllm-0.32.0.json", "vllm-rs-0.33.0.json", "sglang-0.5.23.jsonl"])
def test_what_vllms_family_prints_is_what_is_read(name: str) -> None:
    found, compared = only(name), 0
    for line in FIXTURES[name].with_suffix(".txt").read_text().splitlines():
        label, _, printed = (part.strip() for part in line.partition(":"))
        if name == "vllm-0.32.0.json" and label.startswith("Total token"):
            # That counted no prompt: what it prints is the rate of the answers alone.
            assert found.throughput.total_tokens_per_s is None
        elif label in RATES:
            assert same_as_printed(getattr(found.throughput, RATES[label]), printed), line
        elif label == "Successful requests":
            assert found.requests.succeeded == int(printed)
        elif (each := re.fullmatch(r"(\w+) (TTFT|TPOT|ITL|E2EL|E2E Latency) \(ms\)", label)) and each[1] in STATISTICS:
            assert same_as_printed(getattr(found.metrics[OF[each[2]]], STATISTICS[each[1]]), printed), line
        else:
            continue
        compared += 1
    assert compared > 15


LLMPERF = {"ttft_s": ("ttft_ms", 1000), "end_to_end_latency_s": ("service_ms", 1000),
           "number_input_tokens": ("prompt_tokens", 1), "number_output_tokens": ("output_tokens", 1)}  # fmt: skip


def test_what_llmperf_prints_is_what_is_read() -> None:
    found, metric, compared = only("llmperf-004d3af.json"), "", 0
    for line in FIXTURES["llmperf-004d3af.json"].with_suffix(".txt").read_text().splitlines():
        name, equals, printed = line.strip().partition(" = ")
        statistic = {"stddev": "std"}.get(name, name)
        if not equals:
            metric = name
        elif metric in LLMPERF and statistic not in ("p25", "p75"):
            ours, factor = LLMPERF[metric]
            assert getattr(found.metrics[ours], statistic) == float(printed) * factor, line
            compared += 1
    assert compared == 8 * len(LLMPERF)
    assert (found.requests.succeeded, found.requests.missed) == (54, 6)


PRINTED = [
    ("guidellm-0.8.1.json", "ttft_ms", "mean", "145.5"),
    ("guidellm-0.8.1.json", "ttft_ms", "p50", "126.1"),
    ("guidellm-0.8.1.json", "ttft_ms", "p95", "425.2"),
    ("guidellm-0.8.1.json", "tpot_ms", "mean", "9.2"),
    ("guidellm-0.8.1.json", "tpot_ms", "p50", "6.6"),
    ("guidellm-0.8.1.json", "tpot_ms", "p95", "25.0"),
    ("guidellm-0.8.1.json", "output_tokens", "p50", "16.0"),
    ("aiperf-0.13.0.json", "ttft_ms", "mean", "61.47"),
    ("aiperf-0.13.0.json", "ttft_ms", "min", "40.65"),
    ("aiperf-0.13.0.json", "ttft_ms", "max", "174.82"),
    ("aiperf-0.13.0.json", "ttft_ms", "p99", "162.28"),
    ("aiperf-0.13.0.json", "ttft_ms", "std", "33.36"),
    ("aiperf-0.13.0.json", "service_ms", "p99", "422.39"),
    ("aiperf-0.13.0.json", "service_ms", "p50", "121.80"),
    ("aiperf-0.13.0.json", "tpot_ms", "p90", "21.16"),
    ("aiperf-0.13.0.json", "tpot_ms", "std", "6.64"),
    ("aiperf-0.13.0.json", "prompt_tokens", "p99", "11.52"),
    ("inference-perf-0.7.0.json", "service_ms", "mean", "235.1"),
    ("inference-perf-0.7.0.json", "service_ms", "p50", "195.8"),
    ("inference-perf-0.7.0.json", "service_ms", "p90", "259.7"),
    ("inference-perf-0.7.0.json", "ttft_ms", "mean", "84.1"),
    ("inference-perf-0.7.0.json", "ttft_ms", "p90", "62.4"),
    ("inference-perf-0.7.0.json", "itl_ms", "p90", "2.0"),
    ("inference-perf-0.7.0.json", "tpot_ms", "p90", "0.9"),
    ("inference-perf-0.7.0.json", "output_tokens", "p90", "30.0"),
]


@pytest.mark.parametrize(("name", "metric", "statistic", "printed"), PRINTED)
def test_what_the_others_print_is_what_is_read(name: str, metric: str, statistic: str, printed: str) -> None:
    assert same_as_printed(getattr(only(name).metrics[metric], statistic), printed)


def test_rates_are_those_that_are_printed() -> None:
    assert same_as_printed(only("aiperf-0.13.0.json").throughput.requests_per_s, "15.28")
    assert same_as_printed(only("aiperf-0.13.0.json").throughput.output_tokens_per_s, "244.48")
    assert same_as_printed(only("guidellm-0.8.1.json").throughput.output_tokens_per_s, "85.0")
    assert same_as_printed(only("inference-perf-0.7.0.json").throughput.total_tokens_per_s, "1835.0")
    assert same_as_printed(only("inference-perf-0.7.0.json").throughput.requests_per_s, "8.6")


def test_seconds_become_milliseconds_where_the_tool_has_seconds() -> None:
    genai, llmeter = only("genai-bench-0.0.5.json"), only("llmeter-0.2.0.json")
    assert genai.metrics["ttft_ms"].p50 == pytest.approx(49.22245650232071)
    assert llmeter.metrics["service_ms"].p90 == pytest.approx(1232.1731088020897)
    assert llmeter.throughput.requests_per_s == pytest.approx(20 / 3.931489677001082, rel=0.1)


def test_a_gap_between_chunks_is_not_called_one_between_tokens() -> None:
    for name in ("vllm-0.32.0.json", "vllm-rs-0.33.0.json", "aiperf-0.13.0.json"):
        assert "itl_ms" not in only(name).metrics
    # SGLang's has none either; of its requests each chunk brought one token.
    of_sglang = only("sglang-0.5.23.jsonl").metrics
    assert of_sglang["itl_ms"].mean == pytest.approx(of_sglang["chunk_gap_ms"].mean)
    # One that divides by all tokens is none of ours at all.
    assert not {"tpot_ms", "itl_ms", "chunk_gap_ms"} & only("llmperf-004d3af.json").metrics.keys()


@pytest.mark.parametrize("name", FIXTURES)
def test_keys_without_equivalent_are_listed_and_unknown_is_never_zero(name: str) -> None:
    (found,) = results_in(FIXTURES[name])
    assert found.untranslated
    assert found.metrics.keys() <= METRICS.keys()
    for metric in found.metrics.values():
        assert metric.mean is not None
    assert found.requests.planned == found.requests.succeeded + found.requests.missed


def test_rows_say_the_same_as_the_figures_where_both_are_there() -> None:
    for name in ("vllm-0.32.0.json", "vllm-rs-0.33.0.json", "guidellm-0.8.1.json"):
        found = only(name)
        own = with_theirs(found.calls, {})
        # GuideLLM weighs a request's tpot by its tokens; here all answers are as long.
        for metric in ("ttft_ms", "tpot_ms", "service_ms"):
            assert own[metric].mean == pytest.approx(found.metrics[metric].mean, rel=1e-3)
            assert own[metric].count == found.requests.succeeded


def test_a_file_is_known_by_what_is_in_it_and_not_by_its_name(tmp_path: Path) -> None:
    for name, path in FIXTURES.items():
        renamed = tmp_path / "x.bin"
        renamed.write_bytes(path.read_bytes())
        assert results_in(renamed)[0].tool == only(name).tool


@pytest.mark.parametrize(
    ("tool", "warm_up", "says"),
    [
        ("aiperf", {"phases": [{"kind": "profiling"}]}, False),
        ("aiperf", {"phases": [{"kind": "warmup"}, {"kind": "profiling"}]}, True),
        ("aiperf", {}, None),
        ("guidellm", {"warmup": {"percent": None, "value": None}}, False),
        ("guidellm", {"warmup": {"percent": 0.1, "value": None}}, True),
        ("guidellm", {"warmup": {"percent": None, "value": 5}}, True),
        ("guidellm", {}, None),
    ],
)
def test_whether_there_was_a_warm_up_is_read_where_the_file_tells(
    tool: str, warm_up: dict[str, Any], says: bool | None, tmp_path: Path
) -> None:
    (path,) = (FIXTURES[name] for name in FIXTURES if name.startswith(tool))
    document = json.loads(path.read_bytes())
    config = document["input_config"] if tool == "aiperf" else document["benchmarks"][0]["config"]
    for key in ("phases", "warmup"):
        config.pop(key, None)
    config.update(warm_up)
    (tmp_path / "x.json").write_text(json.dumps(document))
    assert results_in(tmp_path / "x.json")[0].warmed_up is says


SITTING = HERE / "sitting"


class WithRows(NamedTuple):
    summary: str
    rows: str
    failed: int
    same: tuple[str, ...] = ("ttft_ms", "tpot_ms", "service_ms", "output_tokens")


WITH_ROWS = {
    "aiperf": WithRows("profile_export_aiperf.json", "profile_export.jsonl", 6),
    "llmeter": WithRows("stats.json", "responses.jsonl", 0),
    # Its time per token is over tokens of another tokenizer.
    "inference-perf": WithRows("summary_lifecycle_metrics.json", "per_request_lifecycle_metrics.json", 7,
                               ("ttft_ms", "service_ms", "prompt_tokens", "output_tokens")),
    # It has no time per token.
    "llmperf": WithRows("truth_20_32_summary.json", "truth_20_32_individual_responses.json", 6,
                        ("ttft_ms", "service_ms", "prompt_tokens", "output_tokens")),
}  # fmt: skip


@pytest.mark.parametrize("key", ["ttfts", "latencies", "itls", "input_lens", "output_lens", "start_times", "errors"])
def test_a_list_of_requests_that_is_shorter_than_the_others_takes_no_figure_with_it(key: str, tmp_path: Path) -> None:
    document = json.loads(FIXTURES["vllm-0.32.0.json"].read_text())
    (whole,) = results_in(FIXTURES["vllm-0.32.0.json"])
    (tmp_path / "cut.json").write_text(json.dumps(document | {key: document[key][:-1]}))
    (found,) = results_in(tmp_path / "cut.json")
    assert found.metrics["ttft_ms"].mean == whole.metrics["ttft_ms"].mean


@pytest.mark.parametrize("tool", WITH_ROWS)
def test_requests_in_a_file_beside_the_figures_are_read_with_them_whichever_is_named(tool: str, tmp_path: Path) -> None:
    summary, rows, failed, same = WITH_ROWS[tool]
    (found,) = results_in(SITTING / tool / summary)
    (named,) = results_in(SITTING / tool / rows)
    assert found.calls.num_rows == named.calls.num_rows == 60
    assert found.calls["error"].null_count == 60 - failed == found.requests.succeeded
    own = with_theirs(found.calls, {})
    for metric in same:
        # What LLMeter's requests began at is told to the second: a float of seconds since 1970 has some 0.2 us.
        assert own[metric].mean == pytest.approx(found.metrics[metric].mean, rel=2e-4)
    alone = tmp_path / summary
    alone.write_bytes((SITTING / tool / summary).read_bytes())
    (without,) = results_in(alone)
    assert without.calls.num_rows == 0 and any("each request" in each for each in without.lacks)
    assert without.metrics["ttft_ms"].mean == found.metrics["ttft_ms"].mean


@pytest.mark.parametrize(
    "file", [*FIXTURES.values(), *(SITTING / tool / WITH_ROWS[tool].summary for tool in WITH_ROWS)]
)
def test_a_byte_order_mark_before_a_file_or_its_requests_changes_nothing(file: Path, tmp_path: Path) -> None:
    for each in (file, *(file.parent / rows for summary, rows, *_ in WITH_ROWS.values() if summary == file.name)):
        (tmp_path / each.name).write_bytes(codecs.BOM_UTF8 + each.read_bytes())
    assert results_in(tmp_path / file.name) == results_in(file)


def test_genai_bench_has_its_requests_in_its_file_but_does_not_say_which_were_left_out_at_the_edges() -> None:
    (whole,) = results_in(SITTING / "genai-bench" / "all.json")
    own = with_theirs(whole.calls, {})
    for metric in ("ttft_ms", "tpot_ms", "service_ms", "prompt_tokens", "output_tokens"):
        assert own[metric].mean == pytest.approx(whole.metrics[metric].mean)
        assert own[metric].count == whole.metrics[metric].count == whole.requests.succeeded == 54
    assert whole.calls["error"].null_count == 54 and whole.warmed_up is False
    (edges,) = results_in(SITTING / "genai-bench" / "edges-left-out.json")
    assert edges.requests.succeeded == 60 and edges.metrics["ttft_ms"].count == 50
    assert edges.calls.num_rows == 0 and "each request" in edges.lacks and edges.warmed_up


def test_sglangs_prompts_are_unknown_where_they_are_not_those_of_its_answers() -> None:
    calls = only("sglang-0.5.23.jsonl").calls
    assert calls["prompt_tokens"].null_count == calls.num_rows == 20
    assert calls["error"].null_count == 17 and "when each request was sent" in only("sglang-0.5.23.jsonl").lacks


def test_rows_that_count_otherwise_than_the_tool_add_nothing_to_its_figures() -> None:
    (found,) = results_in(SITTING / "inference-perf" / "summary_lifecycle_metrics.json")
    theirs, own = found.metrics["tpot_ms"], with_theirs(found.calls, {})["tpot_ms"]
    assert theirs.mean == pytest.approx(1.3446182634) and own.mean == pytest.approx(9.69, abs=0.01)
    assert theirs.std is None and not theirs.ci95 and own.ci95
    low, high = found.metrics["ttft_ms"].ci95["mean"]
    assert low is not None and high is not None and low <= (found.metrics["ttft_ms"].mean or 0) <= high


class Asked(NamedTuple):
    """A request as any tool tells of it, times in seconds."""

    sent_s: float
    ttft_s: float
    rest_s: float
    prompt: int
    output: int
    error: str


def row_of(tool: str, asked: Asked) -> dict[str, Any]:
    """The request in a tool's words, of which a failed one has no times."""
    sent_s, ttft_s, rest_s, prompt, output, error = asked
    took_s = ttft_s + rest_s
    if tool == "inference-perf":
        times = [] if error else [sent_s + ttft_s, sent_s + took_s]
        answer = {"output_tokens": output + 7, "server_usage": {"completion_tokens": output}, "chunk_times": times}
        return {
            "start_time": sent_s, "end_time": sent_s + took_s,
            "info": {"input_tokens": prompt, "response_metrics": None if error else answer},
            "error": {"error_type": "x", "error_msg": error} if error else None,
        }  # fmt: skip
    first, took = (0 if error else ttft_s), (0 if error else took_s)
    if tool == "llmperf":
        return {"error_code": 500 if error else None, "error_msg": error, "ttft_s": first, "end_to_end_latency_s": took,
                "inter_token_latency_s": took / output, "number_input_tokens": prompt,
                "number_output_tokens": output}  # fmt: skip
    return {"error_code": 500 if error else None, "error_message": error or None, "ttft": first or None,
            "e2e_latency": took or None, "num_input_tokens": prompt, "num_output_tokens": output}  # fmt: skip


def has_failed(row: Any) -> bool:
    return isinstance(row, dict) and bool(row.get("error") or row.get("error_msg") or row.get("error_code") is not None)


def with_rows(tool: str, rows: list[Any], folder: Path) -> Path:
    """The tool's figures of the sitting with these requests, in the file or beside it, which its counts fit."""
    if tool == "genai-bench":
        file = folder / "all.json"
        whole = json.loads((SITTING / tool / file.name).read_text())
        file.write_text(json.dumps(whole | {"individual_request_metrics": rows}))
        return file
    file = folder / WITH_ROWS[tool].summary
    whole, failed = json.loads((SITTING / tool / file.name).read_text()), sum(has_failed(row) for row in rows)
    if tool == "inference-perf":
        whole["successes"] |= {"count": len(rows) - failed, "latency": {}}
        whole["failures"]["count"] = failed
    else:
        whole = {key: value for key, value in whole.items() if "end_to_end" not in key}
        whole |= {"results_num_completed_requests": len(rows) - failed, "results_number_errors": failed}
    file.write_text(json.dumps(whole))
    (folder / WITH_ROWS[tool].rows).write_text(json.dumps(rows))
    return file


THREE = ("inference-perf", "llmperf", "genai-bench")
TIMES = st.floats(1e-3, 1e3)
ASKED = st.builds(Asked, st.floats(0, 1e6), TIMES, TIMES, st.integers(1, 9999), st.integers(2, 9999),
                  st.sampled_from(["", "refused"]))  # fmt: skip


@given(st.sampled_from(THREE), st.lists(ASKED, min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_what_the_rows_of_a_tool_say_is_what_their_metrics_are(
    tmp_path_factory: pytest.TempPathFactory, tool: str, asked: list[Asked]
) -> None:
    (found,) = results_in(with_rows(tool, [row_of(tool, each) for each in asked], tmp_path_factory.mktemp("rows")))
    assert found.calls["error"].is_null().to_pylist() == [not each.error for each in asked]
    good = [each for each in asked if not each.error]
    calls = successful(found.calls)
    for name, expected in (
        ("ttft_ms", [each.ttft_s * 1e3 for each in good]),
        ("service_ms", [(each.ttft_s + each.rest_s) * 1e3 for each in good]),
        ("tpot_ms", [each.rest_s * 1e3 / (each.output - 1) for each in good]),
        ("prompt_tokens", [each.prompt for each in good]),
        ("output_tokens", [each.output for each in good]),
    ):
        # Sent after a million seconds, a time is exact to a tenth of a nanosecond.
        assert METRICS[name].values(calls).values.tolist() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@given(st.sampled_from(THREE), st.data())
@settings(max_examples=100, deadline=None)
def test_whatever_stands_in_a_row_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, tool: str, data: st.DataObject
) -> None:
    rows: list[Any] = [row_of(tool, Asked(1.0, 0.1, 0.2, 5, 3, error)) for error in ("", "refused")]
    path = data.draw(st.sampled_from(places(rows)[1:]))
    inner: Any = rows
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = data.draw(ANYTHING)
    folder = tmp_path_factory.mktemp("rows")
    file = with_rows(tool, rows, folder)
    try:
        (found,) = results_in(file)
    except UserError as problem:
        assert "\n" not in str(problem) and str(folder) in str(problem)
    else:
        assert found.calls.num_rows == len(rows)


def test_published_rows_of_llmperf_and_rows_of_older_versions_are_read(tmp_path: Path) -> None:
    # Two of benchmarks/results/yi/4xa10g/vllm, concurrency 1, of ray-project/llmperf; the third has a list of gaps.
    published = [
        {"error_code": None, "error_msg": "", "inter_token_latency_s": 0.04658090811874445,
         "ttft_s": 0.6055155840003863, "end_to_end_latency_s": 7.453143953000108,
         "request_output_throughput_token_per_s": 20.25990655114317, "number_total_tokens": 710,
         "number_output_tokens": 160, "number_input_tokens": 550},
        {"error_code": None, "error_msg": "", "inter_token_latency_s": 0.04770505742948654,
         "ttft_s": 0.5807030780006244, "end_to_end_latency_s": 7.442206753999926,
         "request_output_throughput_token_per_s": 20.28968086903025, "number_total_tokens": 706,
         "number_output_tokens": 156, "number_input_tokens": 550},
    ]  # fmt: skip
    rows = [*published, published[0] | {"inter_token_latency_s": [0.6, 0.04]}]
    (found,) = results_in(with_rows("llmperf", rows, tmp_path))
    assert METRICS["ttft_ms"].values(found.calls).values.tolist() == pytest.approx([605.515584, 580.703078, 605.515584])
    assert METRICS["tpot_ms"].values(found.calls).values.tolist() == pytest.approx([43.0657, 44.2665], abs=1e-3)
    info = {"input_tokens": 591, "output_tokens": 3, "output_token_times": [1393.381, 1393.5, 1395.1]}
    old = {"start_time": 1393.251, "end_time": 1395.195, "request": "{}", "error": None, "info": info}
    (found,) = results_in(with_rows("inference-perf", [old], tmp_path))
    assert METRICS["ttft_ms"].values(found.calls).values.tolist() == pytest.approx([130])
    assert METRICS["itl_ms"].values(found.calls).values.tolist() == pytest.approx([119, 1600])
    assert found.calls["prompt_tokens"].to_pylist() == [591]


@given(st.floats(-1e3, 0), st.floats(-1e3, 0))
@settings(max_examples=20, deadline=None)
def test_a_time_before_the_request_was_sent_is_unknown(ttft_s: float, took_s: float) -> None:
    calls = calls_table(sent_s=[7.0], first_s=[7.0 + ttft_s], last_s=[None], end_s=[7.0 + took_s])
    assert calls["first_token_ns"].null_count == calls["end_ns"].null_count == 1


@pytest.mark.parametrize("unit", ["us", "ns", "seconds", "", 1])
def test_a_unit_that_is_not_known_is_refused(unit: Any, tmp_path: Path) -> None:
    whole = json.loads((SITTING / "genai-bench" / "all.json").read_text())
    file = tmp_path / "f.json"
    file.write_text(json.dumps(whole | {"_time_unit": unit}))
    if unit == "":
        assert results_in(file)[0].metrics == results_in(SITTING / "genai-bench" / "all.json")[0].metrics
    else:
        assert "_time_unit: expected" in refused(file)
    file.write_text(json.dumps(whole | {"_time_unit": "ms"}))
    in_ms, in_s = results_in(file)[0], results_in(SITTING / "genai-bench" / "all.json")[0]
    assert (in_ms.metrics["ttft_ms"].mean or 0) * 1000 == pytest.approx(in_s.metrics["ttft_ms"].mean)
    assert METRICS["ttft_ms"].values(in_ms.calls).values.max() < 1


@pytest.mark.parametrize("tool", WITH_ROWS)
@given(st.integers(0, 60), st.sampled_from([1.0, 1.005, 1.02, 0.5, 9.0]))
@settings(max_examples=8, deadline=None)
def test_requests_of_another_run_beside_the_figures_are_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, tool: str, missing: int, slower: float
) -> None:
    folder, (summary, name, _, _) = tmp_path_factory.mktemp("other"), WITH_ROWS[tool]
    text = (SITTING / tool / summary).read_text()
    for key in ("request_latency", "time_to_last_token-average", "results_end_to_end_latency_s_mean"):
        said = rf'("{key}": (?:\{{[^}}]*?"(?:avg|mean)": )?)([\d.]+)'
        text = re.sub(said, lambda found: f"{found[1]}{float(found[2]) * slower}", text, count=1)
    (folder / summary).write_text(text)
    rows = (SITTING / tool / name).read_text()
    if name.endswith(".json"):
        (folder / name).write_text(json.dumps(json.loads(rows)[missing:]))
    else:
        (folder / name).write_text("".join(rows.splitlines(keepends=True)[missing:]))
    if missing in (0, 60) and (abs(slower - 1) < 0.01 or missing):
        assert results_in(folder / summary)[0].calls.num_rows == 60 - missing
    else:
        with pytest.raises(UserError, match="has requests of a different run") as told:
            results_in(folder / summary)
        assert str(told.value).startswith(str(folder / name)) and "\n" not in str(told.value)


@pytest.mark.parametrize("tool", WITH_ROWS)
def test_a_file_of_requests_that_is_cut_or_damaged_or_too_large_is_said_in_one_line(tool: str, tmp_path: Path) -> None:
    summary, name, _, _ = WITH_ROWS[tool]
    (tmp_path / summary).write_bytes((SITTING / tool / summary).read_bytes())
    rows, content = tmp_path / name, (SITTING / tool / name).read_bytes()
    is_list = rows.suffix == ".json"
    for text, says in (
        (content[:-40], "truncated or damaged" if is_list else "line 60 is truncated or damaged"),
        (b"[[]]\n" if is_list else b"[]\n", "[0]: expected an object" if is_list else "line 1: expected an object"),
        (b"{}" if is_list else b"1\n", "expected a list of requests" if is_list else "expected an object"),
        (content.replace(b'"request_', b'"x": [], "request_').replace(b'"value"', b'"value": {}, "v"'), ""),
    ):
        rows.write_bytes(text)
        try:
            results_in(tmp_path / summary)
        except UserError as problem:
            assert says in str(problem) and str(rows) in str(problem) and "\n" not in str(problem)
        else:
            assert not says
    with rows.open("wb") as out:
        out.truncate(2 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError, match="at most 192 MiB, got 2,048"):
        results_in(tmp_path / summary)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10


def refused(path: Path) -> str:
    with pytest.raises(UserError) as told:
        results_in(path)
    assert "\n" not in str(told.value)
    assert str(told.value).startswith(str(path))
    return str(told.value)


def test_whatever_is_no_result_is_said_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "f.json"
    assert "no such file" in refused(file)
    assert "a folder" in refused(tmp_path)
    for text, says in (
        ("", "empty"),
        ("{", "truncated or damaged"),
        ("[]", "a list"),
        ('{"a": 1}', "an object with a"),
    ):
        file.write_text(text)
        assert says in refused(file)
    whole = json.loads(FIXTURES["guidellm-0.8.1.json"].read_text())
    file.write_text(json.dumps(whole | {"metadata": {"version": 1}}))
    assert "expected version 2" in refused(file)
    file.write_text(json.dumps(whole | {"benchmarks": []}))
    assert "run to its end" in refused(file)
    line = FIXTURES["sglang-0.5.23.jsonl"].read_text()
    file.write_text(line + line[:1000])
    assert "line 2 of 2" in refused(file)


def test_a_file_of_2_gb_is_refused_unread(tmp_path: Path) -> None:
    file = tmp_path / "large.json"
    with file.open("wb") as out:
        out.truncate(2 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert f"expected at most {MOST_BYTES >> 20} MiB, got 2,048" in refused(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 << 10


@pytest.mark.parametrize("name", FIXTURES)
def test_a_file_cut_anywhere_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    content = FIXTURES[name].read_bytes().rstrip()
    file = tmp_path / "cut.json"
    for share in (0.001, 0.2, 0.5, 0.9, 0.999):
        file.write_bytes(content[: max(1, int(share * len(content)))])
        refused(file)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value[:3]) if isinstance(value, list) else ()
    return [path, *(found for key, each in inner for found in places(each, (*path, key)))]


@given(st.sampled_from(sorted(FIXTURES)), st.data())
@settings(max_examples=150, deadline=None)
def test_whatever_stands_where_a_value_is_expected_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    document = json.loads(FIXTURES[name].read_text())
    path = data.draw(st.sampled_from(places(document)[1:]))
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = data.draw(ANYTHING)
    file = tmp_path_factory.mktemp("others") / "edited.json"
    file.write_text(json.dumps(document))
    try:
        results_in(file)
    except UserError as problem:
        assert "\n" not in str(problem) and str(file) in str(problem)


def zeroed(value: Any, at: tuple[str, ...]) -> Any:
    """A copy in which every number below one of these keys, or of a name with one, is 0, as counted nothing is."""
    if isinstance(value, dict):
        return {
            key: nothing(each) if any(part in key for part in at) else zeroed(each, at) for key, each in value.items()
        }
    return [zeroed(each, at) for each in value] if isinstance(value, list) else value


def nothing(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: each if key == "count" else nothing(each) for key, each in value.items()}
    if isinstance(value, list):
        return [nothing(each) for each in value]
    return 0 if isinstance(value, int | float) else "0" if isinstance(value, str) and value.isdecimal() else value


# What each tool calls it, by what is unknown where that is 0.
NOTHING_COUNTED = {
    "prompt_tokens": ("prompt_token", "input_len", "input_sequence_length", "num_input_tokens", "number_input_tokens"),
    "ttft_ms": ("time_to_first_token", "ttft"),
    "service_ms": ("latenc", "e2e", "time_to_last_token"),
    "output_tokens": ("output_token", "output_len", "output_sequence_length", "num_output_tokens"),
}


@pytest.mark.parametrize("metric", NOTHING_COUNTED)
@pytest.mark.parametrize("name", FIXTURES)
def test_a_zero_of_what_cannot_be_zero_is_unknown(name: str, metric: str, tmp_path: Path) -> None:
    file = tmp_path / "zeros.json"
    documents = [json.loads(FIXTURES[name].read_text())]
    file.write_text("\n".join(json.dumps(zeroed(each, NOTHING_COUNTED[metric])) for each in documents))
    (found,) = results_in(file)
    assert found.requests.succeeded
    assert all(each.mean for each in found.metrics.values())
    assert metric not in found.metrics or found.metrics[metric].min != 0
    rates = found.throughput
    for rate in (rates.requests_per_s, rates.output_tokens_per_s, rates.total_tokens_per_s, found.seconds):
        assert rate is None or rate > 0


def test_guidellm_knows_no_prompt_tokens_where_the_server_told_none() -> None:
    found = only("guidellm-0.8.1.json")
    assert "prompt_tokens" not in found.metrics
    # Of those that failed it has what it asked for.
    assert found.calls["prompt_tokens"].is_null().to_pylist() == found.calls["error"].is_null().to_pylist()
    assert found.throughput.total_tokens_per_s is None
    assert found.throughput.output_tokens_per_s is not None
