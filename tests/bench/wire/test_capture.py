import os
import subprocess
import sys
import textwrap
from array import array
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.types import Exchange, UserError, WirePlace
from bench.wire.capture import Capture, CaptureWriter, Received, exchanges, scan
from bench.wire.clock import ClockSample

INT64 = st.integers(-(2**63), 2**63 - 1)
STAMP = st.integers(0, 2**62)
TIMESPEC = st.tuples(STAMP, st.integers(0, 999_999_999))
READS = st.lists(st.tuples(STAMP, TIMESPEC, st.binary(min_size=1, max_size=40)), max_size=6)
FIXTURES = Path(__file__).parents[2] / "fixtures"
META = {"worker": 3, "backend": "openai", "stamps": "kernel"}


def received(reads: list[tuple[int, tuple[int, int], bytes]]) -> Received:
    """What the wire keeps of these reads: (our stamp, the kernel's (second, nanosecond), bytes)."""
    kept = Received()
    for t_ns, timespec, data in reads:
        kept.user_ns.append(t_ns)
        kept.kernel += array("q", timespec).tobytes()
        kept.parts.append(data)
    return kept


def exchange(seq: int, *parts: bytes, **fields: Any) -> dict[str, Any]:
    """The arguments of CaptureWriter.exchange for one plain request."""
    reads = [(100 + n, (1, n), part) for n, part in enumerate(parts)]
    plain = {"due_ns": 1, "sent_ns": 2, "end_ns": 3, "connect_ns": None, "error": None, "received": received(reads)}
    return {"seq": seq, **plain, **fields}


def read_all(path: Path, worker: int = 0) -> list[Exchange]:
    return list(exchanges(path, scan(path).offsets, worker))


def write_one_of_each(path: Path) -> list[int]:
    """A small capture of every kind of frame; gives the file's size after each."""
    writer = CaptureWriter(path, META)
    sizes = [path.stat().st_size]
    writes: list[Callable[[], None]] = [
        lambda: writer.start(10),
        lambda: writer.clock(ClockSample(11, 500)),
        lambda: writer.exchange(**exchange(0, b"HTTP/1.1 200 OK\r\n\r\n", b"data: x\n\n" * 9)),
        lambda: writer.drop(1, 12),
        lambda: writer.exchange(**exchange(2, sent_ns=None, error=("connect_refused", "nobody there"))),
        lambda: writer.close({"cpu_s": 0.5}),
    ]
    for write in writes:
        write()
        sizes.append(path.stat().st_size)
    return sizes


def frame_ends(data: bytes) -> list[int]:
    """Where each frame of a file ends, the file's beginning before them."""
    ends = [0]
    while ends[-1] < len(data):
        ends.append(ends[-1] + 16 + int.from_bytes(data[ends[-1] + 8 : ends[-1] + 12], "little"))
    return ends


def counts(capture: Capture) -> tuple[int, int, int, int, int, int]:
    return (
        int(bool(capture.meta)),
        int(capture.start_ns is not None),
        len(capture.clock),
        len(capture.offsets),
        len(capture.drops),
        int(capture.end is not None),
    )


COUNTS_AFTER_FRAME = [
    (1, 0, 0, 0, 0, 0), (1, 1, 0, 0, 0, 0), (1, 1, 1, 0, 0, 0), (1, 1, 1, 1, 0, 0), (1, 1, 1, 1, 1, 0),
    (1, 1, 1, 2, 1, 0), (1, 1, 1, 2, 1, 1),
]  # fmt: skip


# --- what is written is what is read ------------------------------------------------------------------------------


# What UTF-8 can hold; NUL parts a code from its message.
ENCODABLE = st.characters(exclude_characters="\0", exclude_categories=["Cs"])


@given(
    st.tuples(STAMP, INT64, st.none() | STAMP, STAMP, st.none() | STAMP),
    READS,
    st.none() | st.tuples(st.text(ENCODABLE, min_size=1), st.text(ENCODABLE)),
)
def test_an_exchange_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory,
    instants: tuple[int, int, int | None, int, int | None],
    reads: list[tuple[int, tuple[int, int], bytes]],
    error: tuple[str, str] | None,
) -> None:
    path = tmp_path_factory.mktemp("capture") / "worker-0.cap"
    writer = CaptureWriter(path, META)
    writer.exchange(*instants, received(reads), error)
    writer.close({})
    seq, due_ns, sent_ns, end_ns, connect_ns = instants
    assert read_all(path, worker=5) == [
        Exchange(
            seq=seq,
            worker=5,
            due_ns=due_ns,
            sent_ns=sent_ns,
            end_ns=end_ns,
            connect_ns=connect_ns,
            user_ns=array("q", [t_ns for t_ns, _, _ in reads]),
            sizes=array("I", [len(data) for _, _, data in reads]),
            kernel=array("q", [part for _, timespec, _ in reads for part in timespec]),
            data=b"".join(data for _, _, data in reads),
            error=error,
        )
    ]


@given(st.lists(st.tuples(INT64, INT64)), st.lists(st.tuples(INT64, INT64)), INT64)
def test_clock_samples_and_drops_come_back_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    samples: list[tuple[int, int]],
    drops: list[tuple[int, int]],
    start_ns: int,
) -> None:
    path = tmp_path_factory.mktemp("capture") / "worker-0.cap"
    writer = CaptureWriter(path, META)
    writer.start(start_ns)
    for sample in samples:
        writer.clock(ClockSample(*sample))
    for drop in drops:
        writer.drop(*drop)
    writer.close({"cpu_s": 1.5})
    capture = scan(path)
    assert (capture.meta, capture.start_ns, capture.end) == (META, start_ns, {"cpu_s": 1.5})
    assert (capture.clock, capture.drops) == (samples, drops)
    assert (capture.torn_bytes, capture.position) == (0, path.stat().st_size)


def test_an_error_message_that_is_not_unicode_is_kept_as_far_as_it_goes(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "a.cap", META)
    writer.exchange(**exchange(0, error=("reset", "bad \udcff byte")))
    writer.close({})
    assert read_all(tmp_path / "a.cap")[0].error == ("reset", "bad ? byte")


def test_any_exchange_can_be_read_without_the_others(tmp_path: Path) -> None:
    writer = CaptureWriter(tmp_path / "a.cap", META)
    for seq in range(5):
        writer.exchange(**exchange(seq, b"answer %d" % seq))
    writer.close({})
    capture = scan(tmp_path / "a.cap")
    assert list(capture.seqs) == [0, 1, 2, 3, 4]
    found = exchanges(tmp_path / "a.cap", [capture.offsets[3], capture.offsets[1]], 0)
    assert [one.data for one in found] == [b"answer 3", b"answer 1"]


@given(st.lists(st.tuples(READS, st.booleans()), min_size=1, max_size=12), st.booleans(), st.integers(0, 200))
def test_exchanges_that_lie_together_are_each_read_alone_and_a_torn_file_has_the_first_of_them(
    tmp_path_factory: pytest.TempPathFactory, calls: list[tuple[list[Any], bool]], gathers: bool, torn: int
) -> None:
    path = tmp_path_factory.mktemp("capture") / "worker-0.cap"
    writer = CaptureWriter(path, META, gathers=gathers)
    place = WirePlace(bytes(range(16)), 40_000, 600, 1200, array("q", (5, 6)))
    for seq, (reads, placed) in enumerate(calls):
        facts = exchange(seq, received=received(reads), error=("reset", "gone"))
        writer.exchange(**facts, place=place if placed else None)
        if seq % 4 == 3:
            writer.clock(ClockSample(seq, 0))
    writer.close({})
    offsets = scan(path).offsets
    found = [next(exchanges(path, [offset], 0)) for offset in reversed(offsets)][::-1]
    assert found == read_all(path)
    for (reads, placed), one in zip(calls, found, strict=True):
        assert one.data == b"".join(data for _, _, data in reads)
        assert one.user_ns.tolist() == [t_ns for t_ns, _, _ in reads]
        assert (one.error, one.place) == (("reset", "gone"), place if placed else None)
    os.truncate(path, path.stat().st_size - torn)
    with suppress(ValueError):  # torn inside its head
        assert read_all(path) == found[: len(scan(path).offsets)]


def test_captures_of_earlier_versions_are_read() -> None:
    """Those in which each exchange was compressed by itself, with its place in its connection and without."""
    path = FIXTURES / "captures" / "one-frame-each.cap"
    capture, found = scan(path), read_all(path)
    assert (capture.meta, capture.start_ns, capture.clock, capture.end) == (META, 10, [(11, 500)], {"cpu_s": 0.5})
    assert (capture.drops, capture.refusals, capture.session_ends) == ([(1, 12)], [(5, 13)], [4])
    assert [one.seq for one in found] == list(capture.seqs) == [0, 2, 3, 4]
    assert [one.data.count(b"data") for one in found] == [9, 0, 1, 0]
    assert [one.error for one in found] == [None, ("connect_refused", "nobody there"), None, None]
    assert [(one.sent_ns, one.connect_ns) for one in found] == [(2, None), (None, None), (2, 7), (2, None)]
    assert found[0].user_ns.tolist() == [100, 101]
    assert found[0].kernel.tolist() == [1, 0, 1, 1]
    assert [one.place for one in found] == [
        None,
        None,
        WirePlace(bytes(10) + b"\xff\xff\x7f\0\0\1", 40_000, 600, 1200, None),
        WirePlace(bytes(range(16)), 40_001, 601, 1201, array("q", (19, 2000))),
    ]


def test_a_token_stream_is_kept_small(tmp_path: Path) -> None:
    event = b'f4\r\ndata: {"id":"chatcmpl-1","choices":[{"index":0,"delta":{"content":" t"}}]}\n\n\r\n'
    writer = CaptureWriter(tmp_path / "a.cap", META)
    writer.exchange(**exchange(0, *[event] * 1000))
    writer.close({})
    assert (tmp_path / "a.cap").stat().st_size < len(event) * 1000 / 5


def test_a_file_that_exists_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "a.cap").write_bytes(b"precious")
    with pytest.raises(FileExistsError):
        CaptureWriter(tmp_path / "a.cap", META)


# --- what a killed writer leaves ----------------------------------------------------------------------------------


def test_a_file_torn_anywhere_reads_up_to_its_last_whole_frame(tmp_path: Path) -> None:
    whole, torn = tmp_path / "whole.cap", tmp_path / "torn.cap"
    sizes = write_one_of_each(whole)
    data = whole.read_bytes()
    ends = frame_ends(data)
    for size in range(sizes[0], len(data) + 1):
        torn.write_bytes(data[:size])
        last = max(n for n, end in enumerate(sizes) if end <= size)
        capture = scan(torn)
        assert counts(capture) == COUNTS_AFTER_FRAME[last]
        whole_frames = max(end for end in ends if end <= size)
        assert (capture.position, capture.torn_bytes) == (whole_frames, size - whole_frames)
        assert [one.seq for one in read_all(torn)] == list(capture.seqs) == [0, 2][: len(capture.seqs)]


def test_a_file_torn_inside_its_head_is_no_capture(tmp_path: Path) -> None:
    sizes = write_one_of_each(tmp_path / "whole.cap")
    data = (tmp_path / "whole.cap").read_bytes()
    for size in range(sizes[0]):
        (tmp_path / "torn.cap").write_bytes(data[:size])
        with pytest.raises(ValueError, match="not a capture"):
            scan(tmp_path / "torn.cap")


def test_a_growing_file_is_read_from_where_the_last_look_ended(tmp_path: Path) -> None:
    whole, growing = tmp_path / "whole.cap", tmp_path / "growing.cap"
    sizes = write_one_of_each(whole)
    data = whole.read_bytes()
    seqs: list[int] = []
    position = 0
    for size in [sizes[0], *range(sizes[0], len(data), 7), len(data)]:
        growing.write_bytes(data[:size])
        capture = scan(growing, position)
        position = capture.position
        seqs += [one.seq for one in exchanges(growing, capture.offsets, 0)]
    assert (seqs, position) == ([0, 2], len(data))


# --- damage -------------------------------------------------------------------------------------------------------


def test_a_byte_changed_in_any_frame_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    whole, damaged = tmp_path / "whole.cap", tmp_path / "damaged.cap"
    write_one_of_each(whole)
    data = whole.read_bytes()
    for start, end in pairwise(frame_ends(data)):
        for position in (start, start + 13, end - 1):  # the magic, the check sum, the last byte of the payload
            damaged.write_bytes(data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :])
            with pytest.raises(UserError, match=r"damaged\.cap is damaged at byte"):
                read_all(damaged)


# --- a disk that is full ------------------------------------------------------------------------------------------


def test_a_full_disk_is_an_error_and_leaves_a_readable_file(tmp_path: Path) -> None:
    """In a process of its own, for a limit on the size of files stands for the disk's."""
    program = """
        import os, resource, sys
        from pathlib import Path
        from bench.wire.capture import CaptureWriter, Received

        received = Received()
        received.user_ns.append(1)
        received.kernel += bytes(16)
        received.parts.append(os.urandom(1000))
        writer = CaptureWriter(Path(sys.argv[1]), {"worker": 0})
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        written = 0
        for call in (lambda: writer.exchange(written, 0, 1, 2, None, received, None), lambda: writer.close({})):
            try:
                while written < 100:
                    call()
                    written += 1
            except OSError as problem:
                print(written, problem.strerror)
    """
    path = tmp_path / "full.cap"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), path], capture_output=True, text=True, check=True
    )
    first, second = done.stdout.splitlines()
    written = int(first.split()[0])
    assert 3 <= written <= 4
    assert "space" in first or "large" in first
    capture = scan(path)
    assert [one.seq for one in read_all(path)] == list(range(written))
    assert capture.torn_bytes == 0
    assert second.startswith(f"{written} ") == (capture.end is None)


def test_closing_closes_the_file_even_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = CaptureWriter(tmp_path / "a.cap", META)
    files = len(list(Path("/dev/fd").iterdir()))

    def full(fd: int, data: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        writer.close({})
    monkeypatch.undo()
    assert len(list(Path("/dev/fd").iterdir())) == files - 1
    assert scan(tmp_path / "a.cap").end is None


def test_what_is_gathered_is_written_with_the_clocks_or_when_it_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "a.cap"
    writer = CaptureWriter(path, META, gathers=True)
    for end in (partial(writer.clock, ClockSample(1, 2)), writer.write, partial(writer.close, {})):
        before = len(scan(path).seqs)
        writer.exchange(**exchange(0))
        writer.exchange(**exchange(1))
        assert len(scan(path).seqs) == before
        end()
        assert list(scan(path).seqs) == [0, 1] * (before // 2 + 1)
    writer.write()
    assert scan(path).torn_bytes == 0
