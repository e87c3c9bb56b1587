"""The peer at hand: Locust's FastHttpUser reading a stream with iter_lines, as its users write it.

Run as `fasthttp.py URL STREAMS REQUESTS TOKENS OUT`; writes request, token and t_ns of every token it saw to OUT.
"""

from gevent import monkey

monkey.patch_all()

import itertools  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402

import gevent  # noqa: E402
import numpy as np  # noqa: E402
from locust import FastHttpUser, task  # noqa: E402
from locust.env import Environment  # noqa: E402
from locust.exception import StopUser  # noqa: E402

URL, STREAMS, REQUESTS, TOKENS, OUT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
numbers = itertools.count()
seen: list[tuple[int, int, int]] = []


class Reader(FastHttpUser):
    """Sends the next request, stamps each content line as it comes."""

    host = URL

    @task
    def read(self) -> None:
        """Read one stream."""
        number = next(numbers)
        if number >= REQUESTS:
            raise StopUser
        body = {"model": "truth", "stream": True, "max_tokens": TOKENS, "messages": []}
        headers = {"x-request-id": str(number)}
        token = 0
        for line in self.client.iter_lines("/v1/chat/completions", "POST", json=body, headers=headers):
            if '"content":"' in line:
                seen.append((number, token, time.monotonic_ns()))
                token += 1


if __name__ == "__main__":
    runner = Environment(user_classes=[Reader]).create_local_runner()
    runner.start(STREAMS, spawn_rate=STREAMS)
    gevent.sleep(1)
    while runner.user_count:
        gevent.sleep(0.2)
    np.save(OUT, np.array(seen, np.int64).T)
