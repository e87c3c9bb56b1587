"""What lies in a folder of results, wherever it is read."""

from analysis.present.of_runs import document
from tests.analysis.present.test_index_page import line
from tests.golden import same_as_before


def test_it_reads_as_before() -> None:
    lines = [
        line("20260101-study", 4, kind="sweep", status="answer", said="vLLM is the cheapest", runs=12),
        line(
            "20260101-run", 3, model="tiny", load="c4", ttft_ms_p50=12.3, ttft_ms_p99=45.6, output_tokens_per_s=1234.5
        ),
        line("half", 2, status="unfinished", said="no results yet", page=None),
        line("broken", 1, status="broken", said="run.json: expected an object", page=None, backend="", plan=""),
    ]
    same_as_before("runs", document(lines, "results", shows_all=True))
