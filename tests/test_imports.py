"""Who may import whom: the flow goes one way, and each heavy library stays in its corner."""

import ast
import functools
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("bench", "backends", "scenarios", "analysis")
MODULES = sorted(path.relative_to(ROOT) for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
LOAD_PROCESS = (
    "bench/load/*",
    "bench/wire/connection.py",
    "bench/wire/dial.py",
    "bench/wire/looks.py",
    "bench/app/load_process.py",
)

# A command reads flags, calls bench.app and shows a Document.
OF_THE_CLI = ("bench.__version__", "bench.app", "bench.types", "bench.process", "analysis.present", "analysis.wording")
OF_THE_APP = (
    "bench.types", "bench.process", "bench.wire", "bench.packets", "bench.server", "bench.telemetry", "bench.truth",
    "bench.plan", "bench.runs", "bench.load", "bench.preflight", "backends", "scenarios", "analysis",
)  # fmt: skip

# Who lies below whom in analysis; what is common to all of it stands below all.
OF_A_RUN = ("analysis.stats", "analysis.wording", "bench.types", "bench.runs.folder", "bench.runs.manifest",
            "bench.runs.records", "bench.runs.sections", "bench.runs.table", "bench.process.places",
            "bench.process.printable")  # fmt: skip
ABOVE_A_RUN = (*OF_A_RUN, "analysis.run")

# Of our own modules, what each room may import besides itself: whoever stands below may not know of those above.
OURS = {
    "bench/types.py": ("bench.deltas", "bench.serving", "bench.workload"),
    "bench/deltas.py": (),
    "bench/serving.py": (),
    "bench/workload.py": (),
    "bench/suggest.py": (),
    "bench/numeric.py": ("bench.types",),
    "bench/durations.py": ("bench.types",),
    "bench/errors.py": ("bench.exit_codes",),
    "bench/exit_codes.py": (),
    "bench/endings.py": (),
    "bench/process/*": ("bench.types",),
    "bench/wire/*": ("bench.types", "bench.process"),
    "bench/packets/*": ("bench.types", "bench.process", "bench.wire"),
    "bench/server/*": ("bench.types", "bench.process", "bench.wire"),
    "bench/telemetry/*": ("bench.types", "bench.process", "bench.wire"),
    "bench/truth/*": ("bench.types", "bench.process"),
    "bench/plan/*": ("bench.types", "bench.process", "bench.server.tinytokenizer"),
    "bench/runs/*": ("bench.types", "bench.process", "bench.wire", "bench.packets", "bench.plan"),
    "bench/load/*": ("bench.types", "bench.process", "bench.wire", "bench.plan", "bench.runs"),
    "bench/preflight/*": ("bench.types", "bench.process", "bench.wire", "bench.plan", "bench.runs", "bench.load"),
    "bench/app/*": OF_THE_APP,
    "bench/cli/*": OF_THE_CLI,
    "bench/*": ("bench",),
    "backends/dialect/*": ("bench.types",),
    "backends/cold/*": ("backends.dialect", "bench.types", "bench.process.certificates", "bench.process.exchange",
                        "bench.process.secrets"),
    "backends/launch/*": ("bench.types",),
    "backends/*": ("backends", "bench.types"),
    "scenarios/*": ("scenarios", "bench.types"),
    "analysis/wording.py": (),
    "analysis/stats/*": ("bench.types",),
    "analysis/run/*": OF_A_RUN,
    "analysis/compare/*": ABOVE_A_RUN,
    "analysis/capacity/*": ABOVE_A_RUN,
    "analysis/money/*": ABOVE_A_RUN,
    "analysis/others/*": ABOVE_A_RUN,
    "analysis/checks/*": (*ABOVE_A_RUN, "analysis.compare"),
    "analysis/breakeven/*": (*ABOVE_A_RUN, "analysis.money"),
    "analysis/sizing/*": (*ABOVE_A_RUN, "analysis.money"),
    "analysis/*": (*OF_A_RUN, "analysis"),
}  # fmt: skip
FOR_ALL = (
    "bench.deltas",
    "bench.endings",
    "bench.errors",
    "bench.exit_codes",
    "bench.suggest",
    "bench.durations",
    "bench.numeric",
)
# Libraries that only some modules may import; of the vendors' clients only one, and that in the cold path.
CORNERS = {
    "locust": LOAD_PROCESS,
    "pandas": ("analysis/frames.py",),
    "gevent": (*LOAD_PROCESS, "bench/app/gate/token_cost.py"),
    "greenlet": LOAD_PROCESS,
    "genai_prices": ("analysis/money/prices.py",),
    "pynvml": ("bench/telemetry/nvidia.py",),
    "xllamacpp": ("bench/server/embedded.py",),
    "anthropic": ("backends/cold/anthropic.py",),
    "httpx2": ("backends/cold/anthropic.py",),
    **dict.fromkeys(("google", "huggingface_hub", "llama_cpp", "openai", "plotly", "text_generation", "vllm"), ()),
}
NOT_FOR_HELP = (
    "anthropic", "genai_prices", "gevent", "gguf", "jinja2", "locust", "numpy", "orjson",
    "psutil", "pyarrow", "pydantic", "pynvml", "rich", "yaml", "zstandard",
)  # fmt: skip


@functools.cache
def imported(path: Path) -> tuple[str, ...]:
    return tuple(_imported(path))


def _imported(path: Path) -> Iterator[str]:
    """Every module an import statement names, in functions too; `from a import b` names a.b."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, allowed: str) -> bool:
    return module == allowed or module.startswith(f"{allowed}.")


def test_a_module_imports_of_ours_only_what_its_place_allows() -> None:
    strays = []
    for path in MODULES:
        room = ".".join(path.parts[:2]) if len(path.parts) > 2 else "bench.types"
        allowed = (room, *FOR_ALL, *next(allowed for place, allowed in OURS.items() if fnmatch(str(path), place)))
        ours = [module for module in imported(ROOT / path) if module.partition(".")[0] in PACKAGES]
        strays += [(str(path), name) for name in ours if not any(within(name, place) for place in allowed)]
    assert strays == []


def test_a_library_is_imported_only_in_its_corner() -> None:
    strays = []
    for path in MODULES:
        found = {module.partition(".")[0] for module in imported(ROOT / path)}
        for name in found & CORNERS.keys():
            if not any(fnmatch(str(path), place) for place in CORNERS[name]):
                strays.append((str(path), name))
    assert strays == []


def test_the_types_need_nothing_but_the_standard_library() -> None:
    files = ("bench/types.py", "bench/deltas.py", "bench/serving.py", "bench/workload.py")
    found = {module.partition(".")[0] for file in files for module in imported(ROOT / file)}
    assert found - {"bench"} <= sys.stdlib_module_names


def test_the_rules_see_every_way_to_import(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("import a.b\nfrom c import d\ndef f():\n    from e.f import g as h\n")
    assert list(_imported(module)) == ["a.b", "c.d", "e.f.g"]


def test_no_help_imports_anything_heavy() -> None:
    code = f"""
import runpy, sys
from bench.cli.root import COMMANDS, command
for name in COMMANDS:
    command(name)
sys.argv = ["bench.py", "--help"]
try:
    runpy.run_path("bench.py", run_name="__main__")
finally:
    print("HEAVY", *sorted({set(NOT_FOR_HELP)} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[0].startswith("Usage: bench.py")
    assert done.stdout.splitlines()[-1] == "HEAVY"
