"""Three ways to launch llama.cpp: embedded (xllamacpp), llama-cpp-python's server, or a llama-server binary."""

import re
import shutil
import sys
from pathlib import Path

from bench.suggest import did_you_mean
from bench.types import Launch, ServeOptions, UserError

ROOT = Path(__file__).resolve().parents[2]
SERVERS = ("xllamacpp", "llama-cpp-python", "llama-server")
COUNTING_TOKENS = 2048  # llama-cpp-python counts tokens by completing them, including a single prompt of all our words
MAX_SLOTS = 256  # LLAMA_MAX_SEQ of llama.cpp, which refuses to start with more; further requests queue in the server
# OWNER/NAME, optionally followed by a colon and the kind of file as in the file names.
REPOSITORY = re.compile(r"\w[\w.-]*/[\w.-]+(:\w+)?", re.ASCII)
DEFAULT_KIND = "Q4_K_M"  # what llama.cpp itself looks for first
LOAD_TIMEOUT_S = 120.0
DOWNLOAD_TIMEOUT_S = 1800.0


def serve(model: str, options: ServeOptions) -> Launch:
    """How to launch llama.cpp for a GGUF file, given by its path or by a repository to download it from:
    OWNER/NAME[:Q4_K_M].

    `options.server` is `xllamacpp` (the default), `llama-cpp-python`, which takes one request at a time and runs in
    `options.python`, or a llama-server binary by name or path; `options.command` is the command that starts one.
    """
    _check(model)
    if options.command:
        if options.server is not None or options.python is not None:
            raise UserError("--server-cmd is the whole command; leave out --server and --server-python")
        return _llama_server(options.command, model, options)
    server = options.server or SERVERS[0]
    if server == "llama-cpp-python":
        return _llama_cpp_python(model, options)
    if options.python is not None:
        raise UserError("--server-python: needs --server llama-cpp-python; add that, or leave it out")
    if server == "xllamacpp":
        return _xllamacpp(model, options)
    return _llama_server((_binary(server),), model, options)


def _check(model: str) -> None:
    """Raise UserError for a model that is neither a GGUF file nor possibly a repository."""
    if _is_repository(model):
        return
    if not Path(model).is_file():
        raise UserError(
            f"--model {model!r}: expected the path of a .gguf file, "
            f"or a repository of such files as OWNER/NAME:{DEFAULT_KIND}"
        )
    with Path(model).open("rb") as file:
        if (start := file.read(4)) != b"GGUF":
            raise UserError(f"--model {model!r}: expected a GGUF file, but this one begins with {start!r}")


def _is_repository(model: str) -> bool:
    return REPOSITORY.fullmatch(model) is not None and not model.endswith(".gguf") and not Path(model).exists()


def _xllamacpp(model: str, options: ServeOptions) -> Launch:
    # -P: bench/ itself must not come first on the import path, where its types.py would hide Python's own.
    script = str(ROOT / "bench" / "server" / "embedded.py")
    argv = (sys.executable, "-P", script, *_flags(model, options), *options.extra_args)
    return Launch(argv, {}, "/health", "xllamacpp", _ready_timeout_s(model))


def _llama_server(command: tuple[str, ...], model: str, options: ServeOptions) -> Launch:
    argv = (*command, "--metrics", *_flags(model, options), *options.extra_args)
    return Launch(argv, {}, "/health", "llama-server", _ready_timeout_s(model))


def _binary(name: str) -> str:
    binary = shutil.which(name)
    if binary is None:
        raise UserError(
            f"--server {name!r}: no such program; expected {', '.join(SERVERS)} or the path of a llama-server binary"
            f"{did_you_mean(name, SERVERS)}"
        )
    return binary


def _flags(model: str, options: ServeOptions) -> tuple[str, ...]:
    """The flags that llama-server and bench/server/embedded.py share; the context is one pool for all slots."""
    slots = min(options.slots, MAX_SLOTS)
    flags = ["-hf" if _is_repository(model) else "--model", model, "--alias", options.alias or _alias(model)]
    flags += ["--host", "127.0.0.1", "--port", "{port}"]
    flags += ["--parallel", str(slots), "--ctx-size", str(slots * options.context_tokens)]
    if options.threads is not None:
        flags += ["--threads", str(options.threads)]
    return tuple(flags)


def _llama_cpp_python(model: str, options: ServeOptions) -> Launch:
    own = ROOT / ".engines" / "llama-cpp-python" / "bin" / "python"
    argv = [options.python or (str(own) if own.exists() else sys.executable), "-m", "llama_cpp.server"]
    if _is_repository(model):
        repository, _, kind = model.partition(":")
        argv += ["--hf_model_repo_id", repository, "--model", f"*{kind or DEFAULT_KIND}.gguf"]
    else:
        argv += ["--model", model]
    argv += ["--model_alias", options.alias or _alias(model)]
    context = max(options.context_tokens, COUNTING_TOKENS)
    argv += ["--host", "127.0.0.1", "--port", "{port}", "--n_ctx", str(context)]
    argv += ["--interrupt_requests", "false"]  # by default a new request cuts off the one being streamed
    if options.threads is not None:
        argv += ["--n_threads", str(options.threads)]
    return Launch((*argv, *options.extra_args), {}, "/v1/models", "llama-cpp-python", _ready_timeout_s(model))


def _alias(model: str) -> str:
    """The name under which the server serves the model: a file's name, or the full name of a repository."""
    return model if _is_repository(model) else Path(model).stem


def _ready_timeout_s(model: str) -> float:
    return DOWNLOAD_TIMEOUT_S if _is_repository(model) else LOAD_TIMEOUT_S
