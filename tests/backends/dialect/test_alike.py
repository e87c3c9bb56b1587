"""Runs of events are found by their bytes, with the stamps of the reads that completed their lines."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends.dialect import alike
from backends.dialect.sse import json_values
from bench.types import Body
from tests.backends.dialect.events import EVENTS, SHAPES, stream


@pytest.fixture(autouse=True, scope="module")
def short_runs() -> Iterator[None]:
    with patch.object(alike, "LEAST_BYTES", 100):
        yield


@settings(max_examples=200, deadline=None)
@given(events=st.lists(EVENTS, max_size=6), cuts=st.lists(st.integers(0, 2000), max_size=8))
def test_a_run_is_its_events_written_out(events: list[bytes], cuts: list[int]) -> None:
    body = stream(b"".join(events), cuts)
    at = 0
    for run in alike.runs(body):
        texts = run.texts.split(alike.BETWEEN)[:-1]
        own = stream(body.data[run.start : run.stop], [])
        values, _ = json_values(own)
        written = [json_values(stream(run.before + text + run.after, []))[0] for text in _raw(body, run)]
        assert [[value] for value in values] == written
        assert all(texts)
        assert len(run.stamps) == len(texts) == len(values)
        assert at <= run.start < run.stop <= len(body.data)
        at = run.stop


def _raw(body: Body, run: alike.AlikeRun) -> list[bytes]:
    return body.data[run.start + len(run.before) : run.stop - len(run.after)].split(run.after + run.before)


@pytest.mark.parametrize("shape", SHAPES[:5])
def test_what_engines_send_is_found(shape: bytes) -> None:
    """Else the test above held nothing."""
    data = SHAPES[7].replace(b"%b", b"first") + b"".join(shape.replace(b"%b", b"t%d" % n) for n in range(20))
    [run] = alike.runs(stream(data + b"data: [DONE]\n\n", []))
    assert run.texts == "".join(f"t{n}{alike.BETWEEN}" for n in range(20))
    assert run.stop == len(data)


def test_events_are_stamped_by_the_reads_that_complete_their_lines() -> None:
    event = SHAPES[0].replace(b"%b", b"x")
    for cut in range(1, 3 * len(event)):
        [run] = alike.runs(stream(3 * event, [cut]))
        assert list(run.stamps) == [10 * (cut if cut > n * len(event) - 2 else 3 * len(event)) for n in (1, 2, 3)]
