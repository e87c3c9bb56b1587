"""Recorded traffic on real engines: their prefix caches serve what the plan says, within a block."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from bench import app
from bench.app.options import RunOptions
from bench.types import Target

pytestmark = pytest.mark.engine

BLOCKS = {"vllm_server": 16, "llamacpp_server": 16}
BACKENDS = {"vllm_server": "vllm", "llamacpp_server": "llamacpp"}


def mooncake(folder: Path) -> Path:
    """One conversation that grows by a block a call, and another request between: lengths and ids as Mooncake's."""
    grown = [(1, 300), (2, 700), (3, 1300), (4, 1800)]
    rows = [
        {"timestamp": 400 * i, "input_length": length, "output_length": 4, "hash_ids": [*range(blocks - 1), 100 + i]}
        for i, (blocks, length) in enumerate(grown)
    ]
    path = folder / "mooncake.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("engine", BLOCKS)
def test_a_trace_hits_the_prefix_cache_as_its_blocks_say(
    engine: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: Target = request.getfixturevalue(engine)
    options = RunOptions.of(
        {"backend": BACKENDS[engine], "model": "tiny", "url": server.url, "trace": mooncake(tmp_path),
         "max-in-flight": 1, "out": tmp_path / "run"}
    )  # fmt: skip
    asked = app.run_request(options)
    app.observe(asked)
    app.summarise(asked.out)
    calls = pq.read_table(asked.out / "requests.parquet").sort_by("seq").to_pylist()
    assert [call["error"] for call in calls] == [None] * 4
    assert [call["prompt_tokens"] for call in calls] == [300, 700, 1300, 1800]
    assert [call["cacheable_tokens"] for call in calls] == [0, 0, 512, 1024]
    for call in calls:
        assert abs(call["cached_tokens"] - call["cacheable_tokens"]) <= BLOCKS[engine]
