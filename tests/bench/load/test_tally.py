"""Locust's statistics are as if it had counted each request when it ended."""

import subprocess
import sys
import textwrap

import pytest


@pytest.mark.slow
def test_locust_knows_what_it_would_have_counted_itself() -> None:
    """In a process of its own, for Locust patches the one that imports it."""
    program = """
        from gevent import monkey

        monkey.patch_all()

        import time

        from hypothesis import given, settings
        from hypothesis import strategies as st
        from locust.stats import RequestStats

        from bench.load.tally import Tally
        from bench.wire.capture import Received
        from bench.wire.connection import RequestOutcome, WireError

        seconds, took_ns, sizes = st.integers(0, 3), st.integers(0, 20 * 10**9), st.integers(0, 5000)

        @settings(deadline=None, max_examples=50, database=None)
        @given(st.lists(st.tuples(seconds, took_ns, sizes, st.sampled_from([200, 200, 429, 503]), st.booleans())))
        def same(requests):
            now_s = 1_000_000.5
            time.time = lambda: now_s
            told, counting = RequestStats(), RequestStats()
            ours = Tally(told, "openai")
            for after_s, took_ns, size, status, tells in requests:
                now_s += after_s
                received = Received()
                received.parts.append(bytes(size))
                code = ours.add(RequestOutcome(5, 5 + took_ns, received, status, None))
                counting.log_request("POST", "openai", took_ns / 1e6, size)
                if code is not None:
                    counting.log_error("POST", "openai", WireError(code, code))
                if tells:
                    ours.tell()
            ours.tell()
            assert told.entries.keys() == counting.entries.keys()
            entries = [(told.entries[key], counting.entries[key]) for key in told.entries]
            for mine, its in ((told.total, counting.total), *entries):
                sums = mine.total_response_time, its.total_response_time
                assert abs(sums[0] - sums[1]) <= 1e-9 * sums[1]
                assert {**mine.serialize(), "total_response_time": 0} == {**its.serialize(), "total_response_time": 0}
            assert told.serialize_errors() == counting.serialize_errors()
            assert (ours.done, ours.failed) == (len(requests), sum(status != 200 for *_, status, _ in requests))

        same()
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)
