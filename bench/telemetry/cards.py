"""What a GPU of this machine is to the sampler, whoever made it."""

from collections.abc import Callable
from typing import NamedTuple

from bench.telemetry.host import Reading


class LocalGpu(NamedTuple):
    """A card: what run.json says of it, and how it is read; a reading lacks what the card does not tell."""

    name: str
    driver: str | None
    memory_bytes: int | None
    read: Callable[[], Reading]
