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
from bench.load.controller import LoadSpec  # noqa: E402
from bench.load.spend import Ledger, SpendLimiter  # noqa: E402
from bench.load.targets import by_call  # noqa: E402
from bench.runs.folder import LEDGER  # noqa: E402
from bench.types import Backend  # noqa: E402


def main() -> None:
    """Read the spec, then be the load process it describes; without one there is nothing to do."""
    # Without reading ahead: what follows the spec is for the lifeline, which waits on the descriptor itself.
    try:
        spec = pickle.load(io.BufferedReader(io.FileIO(0, closefd=False), buffer_size=1))
    except EOFError:
        return
    backend = BACKENDS[spec.backend]
    load.run(spec, by_call(backend.request, spec.by_class), backend.decode, _limiter(spec, backend))


def _limiter(spec: LoadSpec, backend: Backend) -> SpendLimiter | None:
    if spec.budget is None:
        return None
    # Prices take time to load, and few runs have a limit.
    from bench.app.pricing import prices_of

    return SpendLimiter(
        Ledger(spec.budget.account or spec.folder / LEDGER),
        prices_of(spec.budget),
        spec.plan.source.least,
        counted=spec.plan.vocabulary.exact,
        # Of its own API a backend knows; what stands between us and another may have passed a request on.
        bills_errors=backend.bills_errors or spec.target.url != backend.default_url,
    )


if __name__ == "__main__":
    main()
