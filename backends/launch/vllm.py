"""How vLLM is launched: by `vllm serve`, or by the Python that has it installed."""

import shutil
from pathlib import Path

from bench.types import Launch, ServeOptions, UserError

ROOT = Path(__file__).resolve().parents[2]
MODULE = "vllm.entrypoints.openai.api_server"
READY_TIMEOUT_S = 1800.0  # weights are downloaded and kernels compiled before the server answers
# For weights that are not quantized; others state their own type. By default vLLM reduces 32 bits to 16.
QUANTIZATION_FLAGS = {
    "fp8": ["--quantization", "fp8"],
    "bf16": ["--dtype", "bfloat16"],
    "fp16": ["--dtype", "float16"],
    "fp32": ["--dtype", "float32"],
}
# vLLM reports its use to its makers unless told not to; whom a benchmark contacts is its user's decision.
PRIVATE = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


def serve(model: str, options: ServeOptions) -> Launch:
    """How to launch vLLM for a Hugging Face folder or repository.

    It is started by `options.command`, else by `options.python`, the `vllm` on PATH, or that of `make engines`.
    """
    if options.server:
        raise UserError(f"--server {options.server!r}: not for vllm; give --server-python PATH or --server-cmd COMMAND")
    if options.command and options.python:
        raise UserError("--server-cmd is the whole command; leave out --server-python")
    try:
        folder = Path(model).expanduser()
    except RuntimeError:  # unknown user, or one without a home
        raise UserError(f"--model {model!r}: this user has no known home; give the whole path") from None
    if not folder.is_dir() and (folder.exists() or model.startswith((".", "/", "~"))):
        raise UserError(f"--model {model!r}: no such folder; expected a Hugging Face folder, or a repository ORG/NAME")
    is_local = folder.is_dir()
    flags = ["--host", "127.0.0.1", "--port", "{port}"]
    flags += ["--served-model-name", options.alias or (folder.resolve().name if is_local else model)]
    flags += QUANTIZATION_FLAGS.get(options.quantization or "", [])
    flags += ["--max-model-len", str(options.context_tokens)]
    flags += ["--enable-prompt-tokens-details"]  # usage then reports how much of a prompt was in the prefix cache
    argv = (*_program(str(folder) if is_local else model, options), *flags, *options.extra_args)
    env = PRIVATE | ({"HF_HUB_OFFLINE": "1"} if is_local else {})
    return Launch(argv, env, "/health", "vllm", READY_TIMEOUT_S)


def _program(model: str, options: ServeOptions) -> tuple[str, ...]:
    if options.command:
        return (*options.command, model)
    if options.python:
        return (options.python, "-m", MODULE, "--model", model)
    if program := shutil.which("vllm"):
        return (program, "serve", model)
    own = ROOT / ".engines" / "vllm" / "bin" / "python"
    if own.exists():
        return (str(own), "-m", MODULE, "--model", model)
    raise UserError(
        "no vllm on PATH; install it (pip install vllm; without a GPU: make engines), give its place with "
        "--server-python or --server-cmd, or give the --url of a running server"
    )
