import pytest

from bench.telemetry.prometheus import read_metrics


def test_reads_only_the_metrics_asked_for_under_our_names() -> None:
    text = (
        "# HELP vllm:num_requests_waiting Number of requests waiting.\n"
        "# TYPE vllm:num_requests_waiting gauge\n"
        'vllm:num_requests_waiting{engine="0",model_name="m"} 7.0\n'
        'vllm:num_requests_waiting_by_reason{engine="0"} 99.0\n'
        "process_resident_memory_bytes 6.8e+08\n"
    )
    assert read_metrics(text, {"queue": "vllm:num_requests_waiting"}) == {"queue": 7.0}


def test_label_sets_are_summed_and_fractions_averaged() -> None:
    text = (
        'vllm:num_requests_running{engine="0"} 3\n'
        'vllm:num_requests_running{engine="1"} 5\n'
        'vllm:kv_cache_usage_perc{engine="0"} 0.25\n'
        'vllm:kv_cache_usage_perc{engine="1"} 0.75\n'
    )
    metrics = {"running": "vllm:num_requests_running", "kv_use_fraction": "vllm:kv_cache_usage_perc"}
    assert read_metrics(text, metrics) == {"running": 8.0, "kv_use_fraction": 0.5}


def test_a_histogram_gives_its_sum_and_count_over_all_label_sets_and_no_buckets() -> None:
    text = (
        "# TYPE tgi_request_queue_duration histogram\n"
        'tgi_request_queue_duration_bucket{le="0.1"} 4\n'
        'tgi_request_queue_duration_bucket{le="+Inf"} 6\n'
        'tgi_request_queue_duration_sum{kind="a"} 1.5\n'
        'tgi_request_queue_duration_sum{kind="b"} 0.25\n'
        'tgi_request_queue_duration_count{kind="a"} 6\n'
        'tgi_request_queue_duration_count{kind="b"} 1\n'
    )
    assert read_metrics(text, {"queue_s": "tgi_request_queue_duration"}) == {"queue_s_sum": 1.75, "queue_s_count": 7.0}


def test_quantiles_of_a_summary_are_never_added_up() -> None:
    text = (
        'wait_seconds{quantile="0.5"} 1\nwait_seconds{quantile="0.99"} 9\nwait_seconds_sum 20\nwait_seconds_count 4\n'
    )
    assert read_metrics(text, {"wait_s": "wait_seconds"}) == {"wait_s_sum": 20.0, "wait_s_count": 4.0}


def test_label_values_may_hold_braces_spaces_and_escaped_quotes() -> None:
    text = r'queue_size{path="/a}b {c} \" 9",model="x, y"} 2 1763692800000' + "\n"
    assert read_metrics(text, {"queue": "queue_size"}) == {"queue": 2.0}


def test_values_that_are_no_numbers_are_left_out() -> None:
    text = "a NaN\nb +Inf\nc 1e3\r\nd{broken 1\n"
    assert read_metrics(text, {name: name for name in "abcde"}) == {"c": 1000.0}


def test_metrics_of_a_llama_cpp_server() -> None:
    text = (
        "# HELP llamacpp:requests_processing Number of requests processing.\n"
        "# TYPE llamacpp:requests_processing gauge\n"
        "llamacpp:requests_processing 4\n"
        "# TYPE llamacpp:prompt_tokens_total counter\n"
        "llamacpp:prompt_tokens_total 1024\n"
        "llamacpp:prompt_tokens_cached_total 512\n"
    )
    metrics = {"running": "llamacpp:requests_processing", "prompt_tokens": "llamacpp:prompt_tokens_total"}
    assert read_metrics(text, metrics) == {"running": 4.0, "prompt_tokens": 1024.0}


@pytest.mark.parametrize("value", ["many", "1e400", "-1e300", "0x10", "1" * 5000, "nan", "--1", "1,5"])
def test_a_value_that_is_no_number_is_left_out(value: str) -> None:
    assert read_metrics(f"queue {value}\nqueue 2\n", {"queue": "queue"}) == {"queue": 2}


def test_a_line_or_a_number_of_lines_without_end_costs_nothing() -> None:
    assert read_metrics("queue{a=" + '"' * 100_001 + "} 1\nqueue 2\n", {"queue": "queue"}) == {"queue": 2}
    assert read_metrics("queue 1\n" * 20_000, {"queue": "queue"}) == {"queue": 10_000}
