"""What can be asked next after a command has answered: the command to type."""

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
    """The next question, and the words of the command that answers it."""

    what: str
    words: tuple[str, ...]


def after_capacity(request: RunRequest, folder: Path, found: Capacity) -> NextStep | None:
    """From a capacity to money; None if no rate met the objectives, or the server is not the user's own."""
    pricing = request.costs.pricing
    if not found.rate_per_s or isinstance(pricing, ApiPricing):
        return None
    what, price = f"at which volume this costs less than {EXAMPLE_API}, or another API", tuple[str, ...]()
    if pricing is None:
        devices = manifest.read(folder / CLOSED_LOOP).hardware.gpus
        gpu = next(filter(None, (priced_name(device.name) for device in devices)), None)
        price = ("--gpu", gpu or EXAMPLE_GPU)
        what += "" if gpu else f"; replace {EXAMPLE_GPU} by what this runs on"
    return NextStep(what, ("breakeven", "--self", str(as_typed(folder)), *price, "--versus", EXAMPLE_API))
