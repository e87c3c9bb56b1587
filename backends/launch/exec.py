"""How a program is run: under a bridge that starts it for each request, or keeps it running."""

import re
import shutil
import sys
from pathlib import Path

from bench.suggest import did_you_mean
from bench.types import Launch, ServeOptions, UserError

BRIDGE = Path(__file__).parents[2] / "bench" / "server" / "bridge.py"
MODES = ("process", "kept")
VALUES = ("prompt", "output_tokens", "prompt_tokens", "total_tokens", "seed", "temperature", "top_p", "model", "number")
"""The placeholders for a request's values in a command, in braces."""
PLACE = re.compile(r"\{([a-z_]+)\}")


def serve(model: str, options: ServeOptions) -> Launch:
    """The bridge for `options.command`; UserError if that is not a program, or has an unknown placeholder.

    `options.server` says whether a process answers one request or is kept.
    """
    mode = options.server or MODES[0]
    if mode not in MODES:
        raise UserError(f"--server {mode!r}: expected {' or '.join(MODES)}{did_you_mean(mode, MODES)}")
    program, *words = options.command
    found = shutil.which(program)
    if found is None:
        raise UserError(f"--command: no executable {program!r}; give its path, or make it executable")
    known = VALUES if mode == "process" else ("model",)
    for name in (name for word in words for name in PLACE.findall(word)):
        if name not in known:
            hint = did_you_mean(name, known) or f"; expected one of {', '.join(known)}"
            raise UserError(f"--command: {{{name}}} is not a placeholder{hint}")
    argv = (sys.executable, "-I", str(BRIDGE), "{port}", mode, str(options.slots), str(Path(found).absolute()), *words)
    return Launch(argv, {}, "/health", program, 10.0)
