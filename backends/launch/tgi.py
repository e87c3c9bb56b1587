"""How TGI is launched: by its own launcher; without one, the command for Docker is shown."""

import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.types import Launch, ServeOptions, UserError

LAUNCHER = "text-generation-launcher"
IMAGE = "ghcr.io/huggingface/text-generation-inference:3.3.7"
READY_TIMEOUT_S = 1800.0  # it may download the weights first
PRIVATE = {"USAGE_STATS": "off"}  # from a container TGI reports its use to its makers
OFFLINE = {"HF_HUB_OFFLINE": "1"}
QUANTIZATION_FLAGS = {
    "awq": {"--quantize": "awq"},
    "fp8": {"--quantize": "fp8"},
    "bf16": {"--dtype": "bfloat16"},
    "fp16": {"--dtype": "float16"},
}
LEAST_CONCURRENT_REQUESTS = 128  # TGI's default limit; requests beyond it are refused, not queued


def serve(model: str, options: ServeOptions) -> Launch:
    """How to launch TGI by its own launcher, or by `options.command`; otherwise UserError with the command for Docker.

    `model` is a folder or a repository that TGI downloads. Flags in `options.extra_args` replace ours.
    """
    if options.server or options.python:
        flag = "--server" if options.server else "--server-python"
        raise UserError(f"{flag}: TGI is launched by {LAUNCHER}; put that on PATH, or give it with --server-cmd")
    limits = {
        "--max-input-tokens": str(options.context_tokens - 1),  # the launcher requires it to be less than the total
        "--max-total-tokens": str(options.context_tokens),
        "--max-concurrent-requests": str(max(options.slots, LEAST_CONCURRENT_REQUESTS)),
        **QUANTIZATION_FLAGS.get(options.quantization or "", {}),
    }
    if not options.command and shutil.which(LAUNCHER) is None:
        raise UserError(
            f"no {LAUNCHER} on PATH; start TGI with `{_docker_line(model, limits, options.extra_args)}`, then give "
            "--url http://127.0.0.1:8080"
        )
    flags = {"--model-id": model, "--hostname": "127.0.0.1", "--port": "{port}", **limits}
    command = options.command or (LAUNCHER,)
    argv = (*command, *_flags(flags, options.extra_args), *options.extra_args)
    env = PRIVATE | (OFFLINE if Path(model).is_dir() else {})
    return Launch(argv, env, "/health", "TGI", READY_TIMEOUT_S)


def _flags(flags: Mapping[str, str], extra_args: Sequence[str]) -> tuple[str, ...]:
    """The flags that the user did not give: the launcher refuses duplicates."""
    given = {argument.partition("=")[0] for argument in extra_args}
    return tuple(word for name, value in flags.items() if name not in given for word in (name, value))


def _docker_line(model: str, limits: Mapping[str, str], extra_args: Sequence[str]) -> str:
    if Path(model).is_dir():
        volume, model, env = f"{Path(model).resolve()}:/model:ro", "/model", PRIVATE | OFFLINE
    else:
        volume, env = "tgi-data:/data", PRIVATE
    words = ["docker", "run", "--rm", "--gpus", "all", "--shm-size", "1g", "-p", "127.0.0.1:8080:80", "-v", volume]
    words += [word for name, value in env.items() for word in ("-e", f"{name}={value}")]
    words += ["-e", "HF_TOKEN", IMAGE]
    return shlex.join([*words, *_flags({"--model-id": model, **limits}, extra_args), *extra_args])
