"""What `offer` does with what the load processes tell it; here they are scripts that only talk."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.load.controller import LoadFailed, LoadSpec, NeverBegun, Progress, offer
from bench.types import Target

PROGRESS = '{"event":"progress","elapsed_s":1,"sent":2,"done":1,"failed":0,"dropped":0,"in_flight":1,"waiting":0}'
BEGUN = f"print('{PROGRESS}', flush=True)"
DONE = """print('{"event":"done"}', flush=True); sys.stdin.read()"""
FOREVER = f"\nwhile True:\n    {BEGUN}; time.sleep(0.02)"

Offer = Callable[..., str | None]


@pytest.fixture
def offer_to(tmp_path: Path) -> Iterator[Offer]:
    """`offer_to(script, on_progress, should_stop)` with a coordinator that runs the script."""
    processes = []

    def call(
        script: str,
        on_progress: Callable[[Progress], None] = lambda _: None,
        should_stop: Callable[[], str | None] = lambda: None,
    ) -> str | None:
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-c", f"import pickle, sys, time\n{script}"], stdin=pipe, stdout=pipe
        )
        processes.append(process)
        plan: Any = None
        (tmp_path / "load.log").write_text("Traceback\nOSError: all is lost\n")
        target = Target("http://h", "m")
        spec = LoadSpec("local", 0, 1, "openai", target, plan, 1.0, 1.0, tmp_path, 0, None)
        return offer([process], spec, on_progress, should_stop)

    yield call
    for process in processes:
        process.kill()
        process.communicate()


def raise_interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def test_a_load_that_runs_to_its_end_has_no_reason_to_have_stopped(offer_to: Offer) -> None:
    seen: list[Progress] = []
    assert offer_to(f"{BEGUN}\n{DONE}", seen.append) is None
    assert seen == [Progress(elapsed_s=1, sent=2, done=1, failed=0, dropped=0, in_flight=1, waiting=0)]


def test_what_the_load_says_of_its_stop_is_the_reason(offer_to: Offer) -> None:
    stopped = """print('{"event":"stopped","reason":"interrupted there"}', flush=True)"""
    error = """print('{"event":"error","message":"disk full"}', flush=True)"""
    assert offer_to(f"{BEGUN}\n{stopped}\n{DONE}") == "interrupted there"
    assert offer_to(f"{BEGUN}\n{stopped}\n{error}\n{DONE}") == "disk full"


def test_ctrl_c_before_the_load_has_begun_is_told_apart(offer_to: Offer) -> None:
    with pytest.raises(NeverBegun):
        offer_to("time.sleep(60)", should_stop=raise_interrupt)


def test_a_reason_to_stop_before_the_load_has_begun_ends_it_at_once(offer_to: Offer) -> None:
    assert offer_to("time.sleep(60)", should_stop=lambda: "the server is gone") == "the server is gone"


def test_ctrl_c_lets_the_load_come_to_its_end(offer_to: Offer) -> None:
    obeys = f"pickle.load(sys.stdin.buffer)\n{BEGUN}\nsys.stdin.buffer.read1()\n{DONE}"
    assert offer_to(obeys, raise_interrupt) == "interrupted"


def test_a_second_ctrl_c_does_not_wait_for_the_load(offer_to: Offer) -> None:
    assert offer_to(FOREVER, raise_interrupt) == "interrupted"


def test_a_load_process_that_dies_is_reported_with_its_last_words(offer_to: Offer, tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=rf"a load process died: OSError: all is lost \(see {tmp_path}/load\.log\)"):
        offer_to(f"{BEGUN}\nsys.exit(1)")
