"""What can be asked after a command has its answer: the words of the command that asks it."""

from pathlib import Path
from typing import Final, NamedTuple

from analysis.capacity.search import Capacity
from analysis.money.gpu_names import priced_name
from bench.app.capacity import CLOSED_LOOP
from bench.app.request import RunRequest
from bench.process.places import as_typed
from bench.runs import manifest
from bench.runs.manifest import ApiPricing

EXAMPLE_GPU: Final = "l4"
EXAMPLE_API: Final = "claude-haiku-5-5"


class NextStep(NamedTuple):
    """What can be asked next, and the words of the command that does."""

    what: str
    words: tuple[str, ...]


def after_capacity(request: RunRequest, folder: Path, found: Capacity) -> NextStep | None:
    """From a capacity to money; None where no rate met the objectives, or what serves is not the user's own."""
    pricing = request.costs.pricing
    if not found.rate_per_s or isinstance(pricing, ApiPricing):
        return None
    what, price = f"from which volume on this costs less than {EXAMPLE_API}, or another API", tuple[str, ...]()
    if pricing is None:
        devices = manifest.read(folder / CLOSED_LOOP).hardware.gpus
        gpu = next(filter(None, (priced_name(device.name) for device in devices)), None)
        price = ("--gpu", gpu or EXAMPLE_GPU)
        what += "" if gpu else f"; in place of {EXAMPLE_GPU} name what this runs on"
    return NextStep(what, ("breakeven", "--self", str(as_typed(folder)), *price, "--versus", EXAMPLE_API))
