"""A study as the user states it: from a YAML file or from flags to contenders, loads and repeats."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, get_args

import yaml

from backends import BACKENDS
from bench import numeric
from bench.app.compare import check_folder_of
from bench.app.options import (
    FileOptions,
    HourOptions,
    LoadOptions,
    RunOptions,
    SearchOptions,
    WatchOptions,
    flag_of,
    names,
    plain,
)
from bench.plan.resolve import within
from bench.process.secrets import without_userinfo
from bench.runs import folder as files
from bench.suggest import did_you_mean
from bench.types import UserError

Servers = Literal["together", "one at a time"]

OF_A_LOAD: Final = (*names(LoadOptions), "prompt_tokens", "output_tokens")
OF_THE_WORKLOAD: Final = (
    *("scenario", "seed", "cache", "slo", "goodput", "inconclusive", "window", "tokenizer", "turns", "think_time"),
    *("history", "tools", "response_format", "images", *names(FileOptions)),
)
KEYS: Final = ("workload", "contenders", "loads", "repeats", "servers", "requests_per_month", "versus", "main_load")
MOST_CONTENDERS: Final = 16
MOST_REPEATS: Final = 50
MOST_VOLUME: Final = 10**12
CAPACITY: Final = "capacity"
IMPORTED: Final = "imported"


@dataclass(frozen=True, slots=True)
class Contender:
    """One way to serve: the run options that are specific to it.

    A contender measured by another tool has none; `imported` has its run folder for each load.
    """

    name: str
    options: Mapping[str, Any]
    imported: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StudyLoad:
    """One load: how much of it there is, or how its highest rate is searched for."""

    name: str
    options: Mapping[str, Any]
    search: Mapping[str, Any] | None = None


Named = TypeVar("Named", Contender, StudyLoad)


@dataclass(frozen=True, slots=True)
class Study:
    """What is measured: each contender under each load, several times; `workload` is common to all cells.

    `main_load` is the one of the page's table, `versus` are further APIs for its break-even.
    """

    contenders: tuple[Contender, ...]
    loads: tuple[StudyLoad, ...]
    workload: Mapping[str, Any] = field(default_factory=dict)
    repeats: int = 1
    servers: Servers = "together"
    requests_per_month: int | None = None
    versus: tuple[str, ...] = ()
    main_load: str | None = None

    def asked(self) -> dict[str, Any]:
        """What determines the measurements, and must stay the same when continuing; spending limits do not."""
        contenders = {
            contender.name: {name: value for name, value in contender.options.items() if name != "max_usd"}
            for contender in self.contenders
        }
        loads = {load.name: {**load.options, **({CAPACITY: load.search} if load.search is not None else {})}
                 for load in self.loads}  # fmt: skip
        asked = {"contenders": contenders, "loads": loads, "workload": self.workload, "servers": self.servers}
        return {name: plain(value, without_userinfo) for name, value in asked.items()}


def read(path: Path) -> Study:
    """Read a study's file. Raises UserError that names the wrong part."""
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as problem:
        why = getattr(problem, "strerror", None) or "not UTF-8"
        raise UserError(f"{path}: cannot be read: {why}; `bench.py init` writes one to start from") from None
    except yaml.YAMLError as problem:
        where = getattr(problem, "problem_mark", None)
        line = f" line {where.line + 1}" if where is not None else ""
        raise UserError(f"{path}{line}: expected YAML: {getattr(problem, 'problem', problem)}") from None
    try:
        return study_of(found)
    except UserError as problem:
        raise UserError(f"{path}: {problem}") from None


def read_folder(folder: Path) -> Study:
    """Read the study of a sweep's folder. Raises UserError."""
    return read(folder / files.STUDY_FILE)


def study_of(given: Any) -> Study:
    """The study described by a mapping. Raises UserError."""
    top = _mapping("a study", given, KEYS)
    contenders = [_contender(each, i) for i, each in enumerate(_list("contenders", top), 1)]
    loads = [_load(each, i) for i, each in enumerate(_list("loads", top), 1)]
    workload = _mapping("workload", top.get("workload") or {}, OF_THE_WORKLOAD)
    if len(contenders) > MOST_CONTENDERS:
        raise UserError(f"contenders: expected at most {MOST_CONTENDERS}, got {len(contenders)}")
    servers = str(top.get("servers", "together")).replace("-", " ")
    if servers not in get_args(Servers):
        raise UserError(f"servers: expected {' or '.join(get_args(Servers))}, got {top['servers']!r}")
    study = Study(
        contenders=_unique("contenders", contenders),
        loads=_unique("loads", loads),
        workload=workload,
        repeats=_whole("repeats", top.get("repeats", 1), MOST_REPEATS) or 1,
        servers=servers,  # type: ignore[arg-type]
        requests_per_month=_whole("requests_per_month", top.get("requests_per_month"), MOST_VOLUME),
        versus=tuple(map(str, _strings(top.get("versus")))),
        main_load=top.get("main_load"),
    )
    known = [load.name for load in study.loads if load.search is None]
    if all(contender.imported for contender in study.contenders):
        raise UserError(
            "contenders: all are imported, so there is nothing to measure; use bench.py compare to see them"
        )
    for contender in study.contenders:
        if other := [load for load in contender.imported if load not in known]:
            raise UserError(f"{contender.name}: {IMPORTED}: expected one of {', '.join(known)}, got {other[0]!r}")
    if study.main_load is not None and study.main_load not in known:
        near = did_you_mean(str(study.main_load), known)
        raise UserError(f"main_load: expected one of {', '.join(known)}, got {study.main_load!r}{near}")
    return study


def of_flags(
    *,
    backends: str,
    concurrencies: str | None,
    rates: str | None,
    find_capacity: bool,
    common: Mapping[str, Any],
    **study: Any,
) -> Study:
    """The study of `--backend a,b --concurrency 1,4`; NAME:MODEL names one backend's model. Raises UserError."""
    options, workload = dict(common), {}
    for name in list(options):
        if options[name] in (None, (), []):
            options.pop(name)
        elif name in OF_THE_WORKLOAD:
            workload[name] = options.pop(name)
    of_load = {name: options.pop(name) for name in OF_A_LOAD if name in options}
    contenders = []
    for text in filter(None, map(str.strip, backends.split(","))):
        backend, _, model = text.partition(":")
        own = {"backend": backend, **({"model": model} if model else {})}
        contenders.append({**_for(backend, options), **own})
    loads: list[dict[str, Any]] = [{"concurrency": n, **of_load} for n in _parts("--concurrency", concurrencies)]
    loads += [{"rate": rate, **of_load} for rate in _parts("--rate", rates)]
    lengths = {name: value for name, value in of_load.items() if name not in names(LoadOptions)}
    loads += [{CAPACITY: True, **lengths}] if find_capacity else []
    return study_of({"contenders": contenders, "loads": loads or [of_load], "workload": workload, **study})


def _for(backend: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The common options that apply to a backend: an API has no hours or GPUs, a free server no spending limit."""
    is_api = backend in BACKENDS and BACKENDS[backend].default_url is not None
    others = (*names(HourOptions), *names(WatchOptions)) if is_api else ("max_usd",)
    return {name: value for name, value in options.items() if name not in others}


def _parts(flag: str, text: str | None) -> list[str]:
    parts = [part.strip() for part in (text or "").split(",") if part.strip()]
    if cut := [part for part in parts if part[0] == "0" and part[1:2].isdigit()]:
        raise UserError(f"{flag} {text}: expected numbers with commas between them, not within them; got {cut[0]}")
    return parts


# --- the parts of a file ------------------------------------------------------------------------------------------


def _mapping(what: str, given: Any, known: Iterable[str]) -> dict[str, Any]:
    if not isinstance(given, Mapping):
        raise UserError(f"{what}: expected keys with values, got {given!r}")
    known = list(known)
    found = {_option(str(key).replace("-", "_"), known): value for key, value in given.items()}
    for key in found:
        if key not in known:
            raise UserError(f"{what}: {key!r} is not a key here{did_you_mean(key, known) or _expected(known)}")
    return found


def _option(key: str, known: Sequence[str]) -> str:
    """The name of an option that is a Python keyword, without its trailing underscore."""
    return f"{key}_" if f"{key}_" in known else key


def _expected(known: Sequence[str]) -> str:
    return f"; expected {', '.join(known)}" if len(known) <= len(KEYS) + 2 else ""


def _list(what: str, top: Mapping[str, Any]) -> list[Any]:
    found = top.get(what)
    if not isinstance(found, list) or not found:
        raise UserError(f"{what}: expected a list of at least one entry, each after a dash")
    return found


def _strings(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _whole(what: str, value: Any, most: int) -> int | None:
    if value is None:
        return None
    read = numeric.whole(str(value))
    if read is None:
        raise UserError(f"{what}: expected a whole number, got {value!r}")
    return within(what, read, 1, most)


def _contender(given: Any, place: int) -> Contender:
    own = [name for name in names(RunOptions) if name not in (*OF_A_LOAD, *OF_THE_WORKLOAD, "out")]
    what = f"contender {place}"
    found = _mapping(what, given, ["name", IMPORTED, *own])
    name, imported = found.pop("name", None), found.pop(IMPORTED, None)
    if imported is not None:
        if found or not isinstance(imported, Mapping) or not imported:
            raise UserError(f"{what}: {IMPORTED}: expected only the load's name and a run folder, without options")
        # Absolute, because the study's copy lies in another folder.
        folders = {str(load): str(Path(str(folder)).absolute()) for load, folder in imported.items()}
        return Contender(str(name or IMPORTED), {}, folders)
    _check(what, found)
    backend, model = found.get("backend", "llamacpp"), found.get("model")
    return Contender(str(name or (f"{backend} {model}" if model else backend)), found)


def _load(given: Any, place: int) -> StudyLoad:
    what = f"load {place}"
    found = _mapping(what, given, ["name", CAPACITY, *OF_A_LOAD])
    name, search = found.pop("name", None), found.pop(CAPACITY, None)
    if search is not None and search is not False:
        search = {} if search is True else _mapping(f"{what}: {CAPACITY}", search, names(SearchOptions))
        if amount := [key for key in found if key in names(LoadOptions)]:
            raise UserError(f"{what}: {CAPACITY} finds the rate: leave out {amount[0]}")
    _check(what, found)
    return StudyLoad(str(name or _load_name(found, search)), found, search if isinstance(search, dict) else None)


def _load_name(options: Mapping[str, Any], search: Any) -> str:
    """`c4` for 4 in flight, `r2` for 2 requests/s, with lengths if they are set."""
    parts = [CAPACITY] if isinstance(search, dict) else []
    parts += [f"c{options['concurrency']}"] if "concurrency" in options else []
    parts += [f"r{options['rate']}"] if "rate" in options else []
    lengths = [str(options.get(name, "")) for name in ("prompt_tokens", "output_tokens")]
    parts += [f"{lengths[0]}+{lengths[1]}"] if any(lengths) else []
    return "-".join(parts) or "load"


def _check(what: str, options: Mapping[str, Any]) -> None:
    """Read the values, so that mistakes are reported with their place in the study."""
    try:
        RunOptions.of(options)
    except UserError as problem:
        raise UserError(f"{what}: {problem}") from None


def _unique(what: str, found: list[Named]) -> tuple[Named, ...]:
    """Give entries distinct names, because folders are named after them."""
    times = Counter(entry.name for entry in found)
    seen, made = Counter[str](), list[Named]()
    for entry in found:
        seen[entry.name] += 1
        own = entry.name if times[entry.name] == 1 else f"{entry.name} {seen[entry.name]}"
        made.append(replace(entry, name=own))
    slugs = Counter(slug(entry.name) for entry in made)
    if twice := [text for text, n in slugs.items() if n > 1]:
        raise UserError(f"{what}: two have the name {twice[0]!r}; give each its own")
    return tuple(made)


def slug(name: str) -> str:
    """The name as a folder is called."""
    return re.sub(r"[^A-Za-z0-9.+_-]+", "-", name).strip("-.") or "x"


def flags_of(options: Mapping[str, Any]) -> str:
    """Options as flags, to be read."""
    words = []
    for name, value in options.items():
        values = value if isinstance(value, list | tuple) else (value,)
        words += [flag_of(name) if one is True else f"{flag_of(name)} {one}" for one in values]
    return " ".join(words)


def write_template(path: Path) -> None:
    """Write a study to start from. Raises UserError if it cannot be written."""
    check_folder_of("PATH", path)
    if path.exists():
        raise UserError(f"{path}: already exists; choose another name")
    path.write_text(TEMPLATE, encoding="utf-8")


TEMPLATE: Final = """\
# A study for `bench.py sweep`: each contender under each load, `repeats` times, in turns.
# Every key is an option of `bench.py run` without its dashes; what is commented out is an example.

workload:                  # the same for all
  scenario: chat           # a name of `bench.py scenarios`, or a YAML file
  slo:
    - 'ttft_ms:p99<2000'   # what "good" is: the page then has shares of good answers, and `capacity` has a goal
  seed: 0

contenders:
  - name: llama.cpp
    backend: llamacpp      # launched once, with slots for the largest load
    model: tiny
    usd-per-hour: 0.34     # or gpu: l4, or owned: price_usd=1800,months=36,watts=450,usd_per_kwh=0.30
  # - name: vLLM
  #   backend: vllm
  #   url: http://10.0.0.5:8000     # a server that runs already; without it one is launched
  #   model: mistral-7b-awq
  #   gpu: l4
  #   server-arg: [--max-num-seqs, "64"]
  # - name: Claude
  #   backend: claude               # the key is taken from ANTHROPIC_API_KEY
  #   model: claude-haiku-4-5
  #   max-usd: 2.00                 # never more than this, all its cells together

loads:
  - concurrency: 1
  - concurrency: 4
  - concurrency: 16
  # - rate: 2                       # an open loop: requests/s
  #   requests: 200
  # - capacity: true                # find the highest rate that meets the objectives

repeats: 2                 # three and more tell differences from the spread between runs
servers: together          # or: one at a time, where two do not fit into the memory
# requests-per-month: 1,000,000     # your volume: what each would cost you
# versus: [claude-haiku-5-5]        # more APIs for the break-even, from the price list
"""
