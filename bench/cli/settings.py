"""From the options of a run to its settings: what can be known to be wrong before anything is started is said here."""

import os
import re
import shlex
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.cli import address
from bench.cli.base import keep_secret, nearest, shown
from bench.cli.pricing import budget_of, estimate, prices_of, pricing_of
from bench.types import UserError

if TYPE_CHECKING:
    from bench.app.run import Settings
    from bench.plan.prompts import Count
    from bench.types import Backend, Scenario

CHOICES = ("dialect", "adapter", "thinking", "cache_ttl", "service_tier")
"""The flags that say how requests are worded, where a backend leaves a choice."""

LOAD_OPTIONS = ("concurrency", "rate", "arrivals", "requests", "duration", "warmup", "max_in_flight", "overload")
MAX_TIMEOUT_S = 24 * 3600
MAX_WORKERS = 64
_FREE = {"<name>": r"\S+", "<tokens>": r"[1-9]\d*"}
BODY_BYTES = (1 << 10, 4 << 30)
"""The least and the most that an answer may be allowed."""


def settings(options: dict[str, Any]) -> "Settings":
    """Give the run that the options of `bench.py run` ask for. Raises UserError for whatever is wrong with them."""
    from bench.app.run import Settings
    from bench.plan.resolve import parse_size, resolve_load, within
    from bench.runs import folder
    from bench.server.names import aliases_of
    from scenarios import load_scenario, with_lengths

    backend = backend_named(options["backend_name"])
    scenario = with_lengths(load_scenario(options["scenario_name"]), options["prompt_tokens"], options["output_tokens"])
    load = resolve_load(scenario, **{name: options[name] for name in LOAD_OPTIONS})
    if options["slo"]:
        from analysis.run import slo

        for objective in options["slo"]:
            slo.parse(objective)
    workers = within("--workers", options["workers"], 1, MAX_WORKERS)
    if workers > load.max_in_flight:
        raise UserError(
            f"--workers: {workers} processes cannot share {load.max_in_flight} requests in flight; "
            f"give --workers {load.max_in_flight} or fewer"
        )
    given_url = options["url"] or _default_url(backend)
    api_key = address.api_key(backend.key_variable)
    typed = address.secrets_typed(given_url, options["server_args"])
    keep_secret((api_key or "", *typed))
    headers, hidden = address.headers(options.get("header") or ())
    keep_secret(hidden)
    place = address.address(given_url, backend)
    url = place.url if place else None
    _check_server_flags(backend, options, url)
    address.certificates(options, url)
    if options["batch"] and not options["dry_run"]:
        raise UserError("--batch: batches are priced and not load-tested; give --dry-run as well, or leave it out")
    has_key = api_key is not None or any(address.NAMES_A_SECRET.search(name) for name, _ in headers)
    budget = budget_of(backend, url, options, scenario, has_key=has_key)
    model, quantization = _model_to_serve(backend, options["model"], url)
    run_id = folder.new_run_id(backend.name, options["model"], scenario.name)
    return Settings(
        backend=backend,
        model=model,
        model_name=options["model"],
        scenario=scenario,
        load=load,
        out=(options["out"] or Path("results") / run_id).absolute(),
        seed=within("--seed", options["seed"], 0, 2**63 - 1),
        workers=workers,
        timeout_s=_timeout("--timeout", options["timeout"]),
        stall_timeout_s=_timeout("--stall-timeout", options["stall_timeout"]),
        ready_timeout_s=options["ready_timeout"] and _timeout("--ready-timeout", options["ready_timeout"]),
        slo=options["slo"],
        url=url,
        api_key=api_key,
        ca_file=options["ca_file"],
        tokenizer=_tokenizer(options["tokenizer"]),
        server=options["server"],
        server_args=options["server_args"],
        port=_port("--port", options["port"]),
        web_port=_port("--locust-web", options["web_port"]),
        argv=tuple(map(shown, sys.argv)),
        quantization=quantization,
        aliases=aliases_of(options["model"]) if url else (),
        options={
            **_choices(backend, scenario, options),
            **_frame(backend, options["tokenizer"]),
            **({"api_path": place.api_path} if place and place.api_path is not None else {}),
        },
        cache=options["cache"],
        server_python=options["server_python"],
        server_cmd=tuple(shlex.split(options["server_cmd"] or "")),
        pricing=pricing_of(options, budget),
        budget=budget,
        estimate=partial(estimate, budget=budget) if budget else None,
        window=options.get("window", "planned"),
        backoff=options["backoff"] == "on",
        quick_ack=_quick_ack(options["quick_ack"]),
        body_bytes_max=parse_size(options["max_body"], "--max-body", BODY_BYTES),
        query=place.query if place else "",
        headers=headers,
        client_cert=options.get("client_cert"),
        client_key=options.get("client_key"),
        secrets=(*typed, *hidden),
        prices=prices_of(budget) if budget else None,
    )


def backend_named(name: str) -> "Backend":
    """Look a backend up. Raises UserError with the nearest name."""
    from backends import BACKENDS

    if name not in BACKENDS:
        raise UserError(f"--backend {name!r}: known are {', '.join(BACKENDS)}{nearest(name, BACKENDS)}")
    return BACKENDS[name]


def _quick_ack(choice: str) -> bool:
    """Whether to acknowledge at once; UserError where the system leaves no choice."""
    import socket

    if choice == "on" and not hasattr(socket, "TCP_QUICKACK"):
        raise UserError("--quick-ack on: expected on Linux only, other systems have no such option; leave it out")
    return choice == "on"


def _choices(backend: "Backend", scenario: "Scenario", options: dict[str, Any]) -> dict[str, str]:
    """Give what was chosen of the choices that the backend leaves; the scenario may say whether a model thinks."""
    chosen = {}
    if scenario.thinking is not None and "thinking" in backend.options:
        chosen["thinking"] = "on" if scenario.thinking else "off"
    for name in CHOICES:
        if (value := options[name]) is None:
            continue
        flag = "--" + name.replace("_", "-")
        known = backend.options.get(name)
        if known is None:
            raise UserError(f"{flag}: the backend {backend.name} leaves no such choice; leave it out")
        words = [word for word in known if not word.startswith("<")]
        fits = value in words or any(re.fullmatch(_FREE[word], value) for word in known if word in _FREE)
        if not fits:
            raise UserError(f"{flag}: expected {' or '.join(known)}, got {value!r}{nearest(value, words)}")
        chosen[name] = value
    return chosen


def _frame(backend: "Backend", tokenizer: Path | None) -> dict[str, str]:
    """Give what a backend that puts the chat template around prompts itself needs of the tokenizer's folder."""
    if tokenizer is None or backend.frame is None:
        return {}
    from bench.plan.tokenizer import template

    render = template(tokenizer)
    frame = backend.frame(render) if render else None
    return {"frame": frame} if frame else {}


def _default_url(backend: "Backend") -> str | None:
    """Where an API is found; its vendor's own variable may name another place, as for the vendor's client."""
    if backend.default_url is None:
        return None
    return os.environ.get(backend.key_variable.replace("_API_KEY", "_BASE_URL")) or backend.default_url


def _check_server_flags(backend: "Backend", options: dict[str, Any], url: str | None) -> None:
    """Flags of a server to launch exclude those of one that runs."""
    if url is None:
        if backend.serve is None:
            raise UserError(f"--backend {backend.name} launches no server: give --url of one that runs")
        return
    for name in ("server", "server_python", "server_cmd", "server_args", "port"):
        if options[name]:
            flag = "--" + name.removesuffix("s").replace("_", "-")
            raise UserError(f"{flag} is for a server this command launches; leave it out, or leave out --url")


def _model_to_serve(backend: "Backend", model: str, url: str | None) -> tuple[str, str | None]:
    """What a launched server loads for a name of `models`, and how; with --url the name is the server's."""
    if url is not None:
        return model, None
    from bench.server import tinymodel
    from bench.server.names import resolve

    weights = backend.weights or "gguf"
    if model in tinymodel.SIZES:
        return str(tinymodel.model_path(model, weights)), "fp32"
    resolved = resolve(model, weights)
    return (resolved.reference, resolved.quantization) if resolved else (model, None)


def _tokenizer(path: Path | None) -> "tuple[str, Count] | None":
    if path is None:
        return None
    from bench.plan.tokenizer import counter

    return f"tokenizer {path.name}", counter(path)


def _port(flag: str, port: int | None) -> int | None:
    from bench.plan.resolve import within
    from bench.server.launch import free_port

    if port is None:
        return None
    try:
        return free_port(within(flag, port, 1, 65535))
    except UserError as problem:
        raise problem if flag in str(problem) else UserError(f"{flag}: {problem}") from None


def _timeout(flag: str, text: str) -> float:
    from bench.plan.resolve import parse_duration, within

    return within(flag, parse_duration(text, flag), 0.2, MAX_TIMEOUT_S, " s")
