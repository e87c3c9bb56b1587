from array import array
from collections.abc import Mapping
from pathlib import Path

import pytest

from backends.dialect import openai
from bench.runs import live
from bench.runs.live import LiveFigures
from bench.types import Body, Reply
from bench.wire.capture import CaptureWriter, Received
from bench.wire.clock import ClockSample

MS = 1_000_000
SECOND = 1_000_000_000
WALL = 1_700_000_000 * SECOND
HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":" t"}}]}\n\n'
STOP = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "capture").mkdir()
    return tmp_path


def writer(folder: Path, worker: int = 0) -> CaptureWriter:
    made = CaptureWriter(folder / "capture" / f"worker-{worker}.cap", {"worker": worker})
    made.clock(ClockSample(0, WALL))
    return made


def append(
    to: CaptureWriter, seq: int, ttft_ms: float, gap_ms: float, tokens: int = 3, error: tuple[str, str] | None = None
) -> None:
    """One request, stamped by the kernel; our own stamps are a second late."""
    sent_ns = (seq + 1) * SECOND
    arrivals = [sent_ns + int((ttft_ms + n * gap_ms) * MS) for n in range(tokens)]
    received = Received()
    received.user_ns.extend(t_ns + SECOND for t_ns in arrivals)
    received.kernel += array("q", [part for t_ns in arrivals for part in divmod(WALL + t_ns, SECOND)]).tobytes()
    received.parts += [HEAD + TOKEN, *[TOKEN] * (tokens - 2), TOKEN + STOP]
    to.exchange(seq, sent_ns, sent_ns, arrivals[-1], None, received, error)


def test_before_anything_has_finished_there_are_no_figures(folder: Path) -> None:
    figures = LiveFigures(folder, openai.decode)
    figures.look()
    (folder / "capture" / "worker-0.cap").write_bytes(b"LSB")
    figures.look()
    assert (figures.ttft_ms_p50, figures.tokens_per_s_per_user) == (None, None)


def test_figures_are_those_of_the_requests_so_far_by_the_kernels_stamps(folder: Path) -> None:
    figures = LiveFigures(folder, openai.decode)
    first, second = writer(folder), writer(folder, 1)
    append(first, 0, ttft_ms=100, gap_ms=10)
    figures.look()
    assert figures.ttft_ms_p50 == pytest.approx(100)
    assert figures.tokens_per_s_per_user == pytest.approx(100)
    append(first, 2, ttft_ms=300, gap_ms=20)
    append(second, 1, ttft_ms=200, gap_ms=20)
    figures.look()
    assert figures.ttft_ms_p50 == pytest.approx(200)
    assert figures.tokens_per_s_per_user == pytest.approx(50)
    first.close({})
    second.close({})
    figures.look()
    assert figures.ttft_ms_p50 == pytest.approx(200)


def test_what_failed_has_no_part_in_them(folder: Path) -> None:
    figures = LiveFigures(folder, openai.decode)
    to = writer(folder)
    append(to, 0, ttft_ms=100, gap_ms=10)
    append(to, 1, ttft_ms=900, gap_ms=90, error=("stall", "no byte for 1 s"))
    figures.look()
    to.close({})
    assert figures.ttft_ms_p50 == pytest.approx(100)


def test_a_look_decodes_only_what_is_new_and_of_much_a_sample(folder: Path) -> None:
    decoded: list[int] = []

    def decode(status: int, headers: Mapping[str, str], body: Body) -> Reply:
        decoded.append(status)
        return openai.decode(status, headers, body)

    figures = LiveFigures(folder, decode)
    to = writer(folder)
    for seq in range(10):
        append(to, seq, ttft_ms=100, gap_ms=10)
    figures.look()
    assert len(decoded) == 10
    figures.look()
    assert len(decoded) == 10
    for seq in range(10, 1010):
        append(to, seq, ttft_ms=100, gap_ms=10)
    figures.look()
    to.close({})
    assert 50 <= len(decoded) - 10 <= 100


def test_figures_are_of_the_latest_requests(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_KEPT", 20)
    figures = LiveFigures(folder, openai.decode)
    to = writer(folder)
    for seq in range(40):
        append(to, seq, ttft_ms=100 if seq < 20 else 500, gap_ms=10)
    figures.look()
    to.close({})
    assert figures.ttft_ms_p50 == pytest.approx(500)


def test_a_look_between_two_halves_of_a_frame_takes_it_the_next_time(folder: Path) -> None:
    figures = LiveFigures(folder, openai.decode)
    to = writer(folder)
    append(to, 0, ttft_ms=100, gap_ms=10)
    to.close({})
    path = folder / "capture" / "worker-0.cap"
    whole = path.read_bytes()
    path.write_bytes(whole[:-60])
    figures.look()
    assert figures.ttft_ms_p50 is None
    path.write_bytes(whole)
    figures.look()
    assert figures.ttft_ms_p50 == pytest.approx(100)


def test_no_answer_and_no_capture_ends_the_view_of_the_load(folder: Path) -> None:
    def fails(*_: object) -> Reply:
        raise ZeroDivisionError

    figures = LiveFigures(folder, fails)
    append(writer(folder), 0, ttft_ms=100, gap_ms=10)
    (folder / "capture" / "worker-1.cap").mkdir()
    figures.look()
    assert (figures.ttft_ms_p50, figures.tokens_per_s_per_user) == (None, None)
