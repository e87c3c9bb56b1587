"""llama.cpp's own server from the xllamacpp wheel, in a separate process: the embedded default of `llamacpp`.

Takes llama-server's flags of the same names, then any of the wheel's own settings as NAME=VALUE (n_batch=512).
"""

import argparse
import difflib
import enum
import os
import re
import signal
import stat
from pathlib import Path
from typing import Any

# 0.00.003.135 E get_repo_commit: error: GET failed (401): Invalid username or password.
FAULT = re.compile(r"^[\d.]+ E (.+)$", re.MULTILINE)
ADVICE = "; download the file and give its path, or set HF_TOKEN if the repository is gated"


def main() -> None:
    """Serve until killed; a wrong flag or setting ends with one line and exit code 2."""
    parser = argparse.ArgumentParser(prog="serve_xllamacpp", description=__doc__, allow_abbrev=False)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model")
    source.add_argument("-hf", "--hf-repo", metavar="OWNER/NAME[:QUANT]", help="found in the cache or downloaded")
    parser.add_argument("--alias", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parallel", type=int, required=True)
    parser.add_argument("--ctx-size", type=int, required=True)
    parser.add_argument("--threads", type=int)
    parser.add_argument("settings", nargs="*", metavar="NAME=VALUE")
    flags = parser.parse_intermixed_args()

    import xllamacpp

    params = xllamacpp.CommonParams()
    # The wheel requires a path; what it finds or downloads for a repository replaces it.
    params.model.path = flags.model or flags.hf_repo
    params.model.hf_repo = flags.hf_repo or ""
    params.model_alias = {flags.alias}
    params.hostnames = [flags.host]
    params.port = flags.port
    params.n_parallel = flags.parallel
    params.n_ctx = flags.ctx_size
    params.endpoint_metrics = True
    if flags.threads is not None:
        params.cpuparams.n_threads = flags.threads
    for setting in flags.settings:
        try:
            apply(params, setting)
        except ValueError as error:
            parser.error(str(error))
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        raise SystemExit(f"xllamacpp: error: {_why(error)}{ADVICE if flags.hf_repo else ''}") from None
    print(f"{server.listening_address}: listening", flush=True)
    signal.pause()


def _why(error: RuntimeError) -> str:
    """The engine's first complaint, from which the others follow, if its log is a readable file.

    The first two: being unable to reach the hub is not fatal while the cache has the file.
    """
    try:
        log = Path("/dev/stderr").read_text(errors="replace") if stat.S_ISREG(os.fstat(2).st_mode) else ""
    except OSError:
        log = ""
    return "; ".join(FAULT.findall(log)[:2]) or str(error)


def apply(params: Any, setting: str) -> None:
    """Set one of the wheel's settings from NAME=VALUE; ValueError says what was expected."""
    name, _, value = setting.partition("=")
    names = [known for known in dir(params) if not known.startswith("_")]
    if name not in names:
        # This file runs as a script, for which bench.suggest does not exist.
        near = "".join(f"; did you mean {each!r}?" for each in difflib.get_close_matches(name, names, n=1))
        raise ValueError(f"xllamacpp has no setting {name!r}{near}")
    kind = type(getattr(params, name))
    try:
        setattr(params, name, _value(kind, value))
    except (KeyError, ValueError, TypeError):
        expected = ", ".join(kind.__members__) if issubclass(kind, enum.Enum) else kind.__name__
        raise ValueError(f"{name}={value}: expected {expected}") from None


def _value(kind: Any, value: str) -> Any:
    if kind is bool:
        return {"true": True, "false": False}[value]
    return kind[value] if issubclass(kind, enum.Enum) else kind(value)


if __name__ == "__main__":
    main()
