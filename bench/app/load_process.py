"""The entry point of the load process: `python -m bench.app.load_process`, with a pickled LoadSpec on standard input.

A composition root like bench.cli: only here do the load, the backend that encodes its requests, and the prices that
limit its spending meet.
"""

from bench.process import lifeline

# The parent may be gone before the imports below are done.
lifeline.hold()

from gevent import monkey  # noqa: E402

monkey.patch_all()

import io  # noqa: E402  (gevent must patch before anything else is imported)
import pickle  # noqa: E402

from backends import BACKENDS  # noqa: E402
from bench.load import worker as load  # noqa: E402
from bench.load.targets import by_call  # noqa: E402
from bench.runs.folder import LEDGER  # noqa: E402


def main() -> None:
    """Read the spec, then be the load process it describes; without a spec there is nothing to do."""
    # Unbuffered: what follows the spec belongs to the lifeline, which waits on the descriptor itself.
    try:
        spec = pickle.load(io.BufferedReader(io.FileIO(0, closefd=False), buffer_size=1))
    except EOFError:
        return
    backend, limiter, budget = BACKENDS[spec.backend], None, spec.budget
    if budget is not None:
        # Prices take time to load, and few runs have a limit.
        from bench.app.pricing import limiter_of

        limiter = limiter_of(budget, budget.account or spec.folder / LEDGER, spec.plan, backend, spec.target.url)
    load.run(spec, by_call(backend.request, spec.by_class), backend.decode, limiter)


if __name__ == "__main__":
    main()
