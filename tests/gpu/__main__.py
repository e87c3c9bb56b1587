"""What `make check-gpu` runs, where Python may be too old and the packages that it needs may be missing."""

import sys
from importlib.util import find_spec

NEEDS = {"numpy": "numpy", "orjson": "orjson", "psutil": "psutil", "pyarrow": "pyarrow", "pynvml": "nvidia-ml-py"}
"""By module, the package that has it."""
OLDEST = (3, 11)


def lacks() -> "str | None":
    """What this Python lacks, None where the check can run."""
    if sys.version_info < OLDEST:
        return "is older than Python {}.{}: give a newer one as PYTHON=".format(*OLDEST)
    missing = [package for module, package in NEEDS.items() if not _is_there(module)]
    if not missing:
        return None
    return f"lacks {', '.join(missing)}: install them there, or leave PYTHON= out, and an environment is set up"


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ValueError:  # it is barred from being imported
        return False


if __name__ == "__main__":
    if why := lacks():
        print(f"check-gpu: {sys.executable} {why}", file=sys.stderr)
        sys.exit(2)
    from tests.gpu.check import main

    sys.exit(main())
