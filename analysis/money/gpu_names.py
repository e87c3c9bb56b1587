"""Map a driver's name for a GPU to the name that has a price: `NVIDIA H100 80GB HBM3` is h100-sxm."""

import re

from analysis.money.gpu_prices import load

_SYNONYMS = {"sxm": "hbm3"}
"""How drivers mark H100s that are not PCIe cards."""


def is_called(gpu: str, device: str) -> bool:
    """Whether a GPU of this name (`l4`, `a100-80-sxm`) may be what the driver reports."""
    family, *variant = _words(gpu)
    words = _words(device)
    return family in words and all(
        any(word.startswith((part, _SYNONYMS.get(part, part))) for word in words) for part in variant
    )


def priced_name(device: str) -> str | None:
    """The name under which a device has a price, the most specific one; None if it has none."""
    known = {price.gpu for price in load() if is_called(price.gpu, device)}
    return max(sorted(known), key=len, default=None)


def _words(name: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", name.lower())
