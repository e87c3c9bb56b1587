"""What `make check-gpu` runs, where the packages that it needs may be missing."""

import sys

try:
    from tests.gpu.check import main
except ModuleNotFoundError as error:
    print(
        f"check-gpu: {sys.executable} has no {error.name}: leave PYTHON= out, and an environment is set up; or install "
        "brotli, numpy, nvidia-ml-py, psutil, pyarrow and zstandard there",
        file=sys.stderr,
    )
    sys.exit(2)

sys.exit(main())
