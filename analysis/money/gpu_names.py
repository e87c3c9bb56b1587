"""Which of the GPUs that have a price a driver means by its own name: `NVIDIA H100 80GB HBM3` is h100-sxm."""

import re

from analysis.money.gpu_prices import load

_WHERE_ELSE = {"sxm": "hbm3"}
"""What a driver calls H100s that are no cards."""


def is_called(gpu: str, device: str) -> bool:
    """Whether a GPU of this name (`l4`, `a100-80-sxm`) may be what the driver calls a device."""
    family, *variant = _words(gpu)
    said = _words(device)
    return family in said and all(
        any(word.startswith((part, _WHERE_ELSE.get(part, part))) for word in said) for part in variant
    )


def priced_name(device: str) -> str | None:
    """The name by which a device has a price, the most exact one; None where it has none."""
    known = {price.gpu for price in load() if is_called(price.gpu, device)}
    return max(sorted(known), key=len, default=None)


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.lower())
