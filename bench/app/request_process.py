"""The entry point of a load's request maker: `python -m bench.app.request_process`, with a pickled spec on standard
input.

A composition root like bench.app.load_process: it joins the maker to the backend that words its requests.
"""

from bench.process import lifeline

# The parent may be gone before the imports below are done.
lifeline.hold()

import io  # noqa: E402
import pickle  # noqa: E402

from backends import BACKENDS  # noqa: E402
from bench.load.maker import encoder, make  # noqa: E402
from bench.load.targets import by_call  # noqa: E402
from bench.plan.calls import calls  # noqa: E402


def main() -> None:
    """Read the load's spec and the index of the first request, and write requests to standard output."""
    # Unbuffered: the lifeline waits on the descriptor itself.
    try:
        spec, first = pickle.load(io.BufferedReader(io.FileIO(0, closefd=False), buffer_size=1))
    except EOFError:
        return
    encode = by_call(BACKENDS[spec.backend].request, spec.by_class)
    make(calls(spec.plan, spec.worker, spec.workers, first), first, encoder(spec, encode), 1)


if __name__ == "__main__":
    main()
