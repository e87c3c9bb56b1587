"""The load process's entry: `python -m bench.app.load_process`, with a pickled LoadSpec on standard input.

A composition root like bench.cli: it alone joins the load to the backend that encodes its requests, and to the prices
that a capped one is charged at.
"""

from bench.process import lifeline

# Whoever started this may be gone before the next line has been read.
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
    """Read the spec, then be the load process it describes; without one there is nothing to do."""
    # Without reading ahead: what follows the spec is for the lifeline, which waits on the descriptor itself.
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
