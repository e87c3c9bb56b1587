"""From the options of a run to its settings: what can be known to be wrong before anything is started is said here."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli_base import nearest
from bench.types import LEAST_SECRET_LENGTH, UserError

if TYPE_CHECKING:
    from bench.prompts import Count
    from bench.run import Settings
    from bench.types import Backend, Load

LOAD_OPTIONS = ("concurrency", "rate", "arrivals", "requests", "duration", "warmup", "max_in_flight", "overload")
MAX_TIMEOUT_S = 24 * 3600
MAX_WORKERS = 64
SPARE_FILES = 64  # what a load process has open besides its connections


def settings(options: dict[str, Any]) -> "Settings":
    """Give the run that the options of `bench.py run` ask for. Raises UserError for whatever is wrong with them."""
    from bench import folder
    from bench.resolve import resolve_load, within
    from bench.run import Settings
    from scenarios import load_scenario, with_lengths

    backend = backend_named(options["backend_name"])
    scenario = with_lengths(load_scenario(options["scenario_name"]), options["prompt_tokens"], options["output_tokens"])
    load = resolve_load(scenario, **{name: options[name] for name in LOAD_OPTIONS})
    if options["slo"]:
        from analysis import slo

        for objective in options["slo"]:
            slo.parse(objective)
    workers = within("--workers", options["workers"], 1, MAX_WORKERS)
    if workers > load.max_in_flight:
        raise UserError(
            f"--workers: {workers} processes cannot share {load.max_in_flight} requests in flight; "
            f"give --workers {load.max_in_flight} or fewer"
        )
    if options["concurrency"] or options["max_in_flight"]:
        _check_open_files("--max-in-flight" if load.concurrency is None else "--concurrency", load, workers)
    _check_server_flags(backend, options)
    api_key = _api_key()
    run_id = folder.new_run_id(backend.name, options["model"], scenario.name)
    return Settings(
        backend=backend,
        model=_model_to_serve(options),
        model_name=options["model"],
        scenario=scenario,
        load=load,
        out=(options["out"] or Path("results") / run_id).absolute(),
        seed=within("--seed", options["seed"], 0, 2**63 - 1),
        workers=workers,
        timeout_s=_timeout("--timeout", options["timeout"]),
        stall_timeout_s=_timeout("--stall-timeout", options["stall_timeout"]),
        ready_timeout_s=_timeout("--ready-timeout", options["ready_timeout"] or "120s"),
        slo=options["slo"],
        url=_url(options["url"]),
        api_key=api_key,
        ca_file=options["ca_file"],
        tokenizer=_tokenizer(options["tokenizer"]),
        server=options["server"],
        server_args=options["server_args"],
        port=_port("--port", options["port"]),
        web_port=_port("--locust-web", options["web_port"]),
        argv=_argv(api_key),
    )


def backend_named(name: str) -> "Backend":
    """Look a backend up. Raises UserError with the nearest name."""
    from backends import BACKENDS

    if name not in BACKENDS:
        raise UserError(f"--backend {name!r}: known are {', '.join(BACKENDS)}{nearest(name, BACKENDS)}")
    return BACKENDS[name]


def _check_open_files(flag: str, load: "Load", workers: int) -> None:
    """A connection is an open file, and each process may have so many."""
    import resource

    needed = -(-load.max_in_flight // workers) + SPARE_FILES
    _, allowed = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed != resource.RLIM_INFINITY and needed > allowed:
        raise UserError(
            f"{flag}: {load.max_in_flight} connections need {needed} open files in each of --workers {workers}, and "
            f"the system allows {allowed}; raise it (ulimit -Hn), or give more workers or fewer connections"
        )


def _check_server_flags(backend: "Backend", options: dict[str, Any]) -> None:
    """Flags of a server to launch exclude those of one that runs."""
    if options["url"] is None:
        if backend.serve is None:
            raise UserError(f"--backend {backend.name} launches no server: give --url of one that runs")
        if options["ca_file"]:
            raise UserError("--ca-file: expected with --url https://…; a launched server is asked over http")
        return
    for name in ("server", "server_args", "port", "ready_timeout"):
        if options[name]:
            flag = "--" + name.removesuffix("s").replace("_", "-")
            raise UserError(f"{flag} is for a server this command launches; leave it out, or leave out --url")
    if options["ca_file"] and not options["url"].startswith("https:"):
        raise UserError(f"--ca-file: expected with an https --url, got {options['url']}")


def _model_to_serve(options: dict[str, Any]) -> str:
    """The path a launched server loads for a name of `models`; with --url it is the server's to understand."""
    model: str = options["model"]
    if options["url"] is not None:
        return model
    from bench import tinymodel

    if model in tinymodel.SIZES:
        return str(tinymodel.model_path(model, "gguf"))
    if not Path(model).is_file():
        raise UserError(
            f"--model {model!r}: expected the path of a .gguf file or one of {', '.join(tinymodel.SIZES)}"
            f"{nearest(model, tinymodel.SIZES)}"
        )
    return model


def _url(url: str | None) -> str | None:
    """The base URL without /v1; a password in it would end up in files and on screens."""
    from urllib.parse import urlsplit

    if url is None:
        return None
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        sound = False
    if not sound:
        guess = "" if "://" in url else nearest(url, [f"http://{url}"])
        raise UserError(f"--url {url!r}: expected http://HOST[:PORT] or https://HOST[:PORT]{guess}")
    if parts.username is not None:
        raise UserError("--url: expected no user or password in it; give a key by the variable OPENAI_API_KEY")
    if parts.query or parts.fragment:
        raise UserError(f"--url {url!r}: expected nothing after the path, such as http://HOST:PORT/v1")
    return url.rstrip("/").removesuffix("/v1")


def _api_key() -> str | None:
    """The key for the server, which no error may show."""
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError("OPENAI_API_KEY: expected printable ASCII without spaces; set it again, or unset it")
    return key or None


def _argv(api_key: str | None) -> tuple[str, ...]:
    """The command line as run.json keeps it; a launched server may have been given the key by --server-arg."""
    if api_key is None or len(api_key) < LEAST_SECRET_LENGTH:
        return tuple(sys.argv)
    return tuple(argument.replace(api_key, "(key)") for argument in sys.argv)


def _tokenizer(path: Path | None) -> "tuple[str, Count] | None":
    if path is None:
        return None
    from bench.tokenizer import counter

    return f"tokenizer {path.name}", counter(path)


def _port(flag: str, port: int | None) -> int | None:
    from bench.launch import free_port
    from bench.resolve import within

    if port is None:
        return None
    try:
        return free_port(within(flag, port, 1, 65535))
    except UserError as problem:
        raise problem if flag in str(problem) else UserError(f"{flag}: {problem}") from None


def _timeout(flag: str, text: str) -> float:
    from bench.resolve import parse_duration, within

    return within(flag, parse_duration(text, flag), 0.2, MAX_TIMEOUT_S, " s")
