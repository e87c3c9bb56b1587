"""How many requests have ended, and Locust's statistics of them, which its page shows.

Locust counts a request twice when its `request` event is fired, on the load's time. So it is given many at a time, as
one entry: its master takes in what a worker has counted in the same way.
"""

import time
from collections import Counter

from locust.stats import RequestStats, StatsEntry, bucket_response_time

from bench.wire.connection import RequestOutcome, WireError

_METHOD = "POST"


class Tally:
    """Counts the requests of one process; Locust knows them by `name`."""

    def __init__(self, stats: RequestStats, name: str) -> None:
        self._stats = stats
        self._name = name
        self._untold: list[tuple[float, float, int]] = []
        self.done = self.failed = 0

    def add(self, outcome: RequestOutcome) -> str | None:
        """Count a request that has just ended; gives the code of its failure, None for a success."""
        sent_ns, end_ns, received, status, error, _ = outcome
        took_ms = 0.0 if sent_ns is None else (end_ns - sent_ns) / 1e6
        self._untold.append((time.time(), took_ms, sum(map(len, received.parts))))
        self.done += 1
        if error is None and status == 200:
            return None
        self.failed += 1
        self.tell()
        code = f"http_{status}" if error is None else error[0]
        self._stats.log_error(_METHOD, self._name, WireError(code, code))
        return code

    def tell(self) -> None:
        """Have Locust know of all."""
        if not self._untold:
            return
        t_s, took_ms, lengths = zip(*self._untold, strict=True)
        self._untold.clear()
        entry = StatsEntry(self._stats, self._name, _METHOD)
        entry.num_requests = len(t_s)
        entry.num_reqs_per_sec = Counter(map(int, t_s))
        entry.start_time, entry.last_request_timestamp = t_s[0], t_s[-1]
        entry.response_times = Counter(map(bucket_response_time, took_ms))
        entry.total_response_time = sum(took_ms)
        entry.min_response_time, entry.max_response_time = min(took_ms), max(took_ms)
        entry.total_content_length = sum(lengths)
        for counted in (self._stats.total, self._stats.entries[self._name, _METHOD]):
            counted.extend(entry)
