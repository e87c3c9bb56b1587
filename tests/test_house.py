"""The rules that keep the sources readable, over the whole tree; each failure says what to do."""

import ast
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "backends", "scenarios", "analysis")
FILES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
MODULES = {".".join(path.with_suffix("").parts).removesuffix(".__init__"): path for path in FILES}

LONGEST_FUNCTION = 60
LONGEST_FILE = 400
# Import statements inside one function of bench/cli: what a command needs beyond its flags, so that --help is fast.
LAZY_IN_CLI = 4
# Elsewhere a function imports only for one of these reasons.
LAZY: Mapping[str, str] = {
    "analysis/frames.py": "pandas is an extra, for notebooks",
    "backends/cold/anthropic.py": "the vendor's client takes half a second to import, and one backend asks it",
    "bench/app/gate/reference.py": "of two kinds of reference work only one needs numpy",
    "bench/app/gate/token_cost.py": "it runs in a process of its own, where gevent must patch the interpreter first",
    "bench/app/load_process.py": "gevent must patch the interpreter before anything else is imported",
    "bench/app/pricing.py": "the price list takes a third of a second, and most runs bill nothing",
    "bench/load/controller.py": "ZeroMQ is for runs with several load processes",
    "bench/plan/tokenizer.py": "only backends without a count of their own need a tokenizer",
    "bench/server/embedded.py": "an optional package that is not there on every machine",
    "bench/server/modelfile.py": "GGUF files are read by few commands",
    "bench/server/names.py": "the tiny models need numpy, and most models are not tiny",
    "bench/telemetry/sampler.py": "the sampler itself stays small; only the end of a run makes a table",
}
# Nothing in the tree calls these, and still they are not dead.
OFFERED: Mapping[str, str] = {
    "analysis.frames.load": "called as analysis.load (docs/python.md)",
    "backends.cold.http.get_json": "for whoever adds a backend (docs/backends.md)",
    "bench.app.dry.dry_run": "called as bench.app.dry_run (docs/python.md)",
    "bench.telemetry.nvidia.throttle_names": "for whoever reads telemetry.parquet: its samples are bits",
}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text(encoding="utf-8"))


@cache
def nodes(path: Path) -> tuple[ast.AST, ...]:
    """All of a file's syntax tree, which most rules go through."""
    return tuple(ast.walk(tree(path)))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    return (node for node in nodes(path) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def imports(among: Iterable[ast.AST]) -> Iterator[ast.Import | ast.ImportFrom]:
    return (node for node in among if isinstance(node, ast.Import | ast.ImportFrom))


def names(statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str]]:
    """The (name here, what it stands for) that an import makes."""
    for alias in statement.names:
        if isinstance(statement, ast.ImportFrom):
            yield alias.asname or alias.name, f"{statement.module}.{alias.name}"
        else:
            yield alias.asname or alias.name, alias.name


def module_of(dotted: str) -> str | None:
    """The module of ours that a dotted name lies in."""
    while dotted and dotted not in MODULES:
        dotted = dotted.rpartition(".")[0]
    return dotted or None


def room(module: str) -> str:
    """The folder that a module lies in, two names deep; a file that lies in none is a room of its own."""
    return ".".join(MODULES[module].parts[:2]).removesuffix(".py")


def needs(place: Mapping[str, str]) -> dict[str, set[str]]:
    """Which places import which others, where `place` says of each module in which it is."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, path in MODULES.items():
        for statement in imports(nodes(path)):
            for _, dotted in names(statement):
                other = module_of(dotted)
                if other is not None and place[other] != place[module]:
                    found[place[module]].add(place[other])
    return found


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as found:
        return list(found.args[1])
    return []


def test_a_class_has_a_name_of_its_own() -> None:
    places = defaultdict(list)
    for path in FILES:
        for node in nodes(path):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(str(path))
    twice = {name: where for name, where in places.items() if len(where) > 1}
    assert not twice, f"rename the less central class to what it is, so that a search finds one: {twice}"


def test_a_function_fits_on_a_screen() -> None:
    long = [
        f"{path}:{node.lineno} {node.name}"
        for path in FILES
        for node in functions(path)
        if (node.end_lineno or 0) - node.lineno >= LONGEST_FUNCTION
    ]
    assert not long, f"give a part of it a name of its own; {LONGEST_FUNCTION} lines are the most: {long}"


def test_a_file_is_read_in_one_sitting() -> None:
    lines = {str(path): len((ROOT / path).read_text(encoding="utf-8").splitlines()) for path in FILES}
    long = {path: count for path, count in lines.items() if count > LONGEST_FILE}
    assert not long, f"split it by what it is about; {LONGEST_FILE} lines are the most: {long}"


def test_no_files_import_each_other_in_a_circle() -> None:
    found = circle(needs({module: module for module in MODULES}))
    assert not found, f"move what both need below both of them: {' -> '.join(found)}"


def test_no_rooms_import_each_other_in_a_circle() -> None:
    found = circle(needs({module: room(module) for module in MODULES}))
    assert not found, f"a room here uses what lies above it; move that down: {' -> '.join(found)}"


def test_a_function_imports_only_what_start_up_cannot_afford() -> None:
    lazy = {(str(path), node.name): len(list(imports(ast.walk(node)))) for path in FILES for node in functions(path)}
    stray = [
        f"{path}: {name}"
        for (path, name), count in lazy.items()
        if count > (LAZY_IN_CLI if path.startswith("bench/cli/") else 0) and path not in LAZY
    ]
    assert not stray, f"import at the top of the file, or name the file in LAZY with the reason: {stray}"
    needless = LAZY.keys() - {path for (path, _), count in lazy.items() if count}
    assert not needless, f"these import nothing in functions any more; take them out of LAZY: {needless}"


def test_what_is_public_is_used_by_more_than_tests() -> None:
    used = set[str]()
    for module, path in [*MODULES.items(), ("bench", Path("bench.py"))]:
        used |= set(_used(module, path))
    public = {
        f"{module}.{node.name}"
        for module, path in MODULES.items()
        for node in tree(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_")
    }
    dead = sorted(public - used - OFFERED.keys())
    assert not dead, f"remove what only tests call, or name it in OFFERED with the reason: {dead}"
    alive = sorted(OFFERED.keys() & used)
    assert not alive, f"these are used now; take them out of OFFERED: {alive}"


def _used(module: str, path: Path) -> Iterator[str]:
    """Every name of ours that a module uses, with the module that it is from; a definition is no use of itself."""
    known = {name: dotted for statement in imports(nodes(path)) for name, dotted in names(statement)}
    for statement in tree(path).body:
        own = getattr(statement, "name", None)
        registered = getattr(statement, "decorator_list", ())
        if registered and own:
            yield f"{module}.{own}"
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and node.id != own:
                yield known.get(node.id, f"{module}.{node.id}")
            elif isinstance(node, ast.Attribute):
                yield _dotted(node, known)


def _dotted(node: ast.expr, known: Mapping[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, known)}.{node.attr}"
    return known.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


@pytest.mark.parametrize("source", ["import a.b\n", "from a import b\n"])
def test_the_rules_see_imports_in_functions(source: str) -> None:
    parsed = ast.parse(f"def f():\n    {source}")
    assert [dotted for statement in imports(ast.walk(parsed)) for _, dotted in names(statement)] == ["a.b"]


def test_a_circle_is_found() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) != []
    assert circle({"a": {"b", "c"}, "b": {"c"}}) == []
