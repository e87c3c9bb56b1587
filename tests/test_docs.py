"""The documents say what the program does: their commands and examples run, and they leave nothing out."""

import ast
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click
import orjson
import pytest
import yaml

from analysis.checks.identities import IDENTITIES
from analysis.run.derived import DERIVED
from analysis.run.metrics import METRICS
from backends import BACKENDS
from bench.app import familiar
from bench.app.options import RunOptions
from bench.cli import root
from bench.errors import ERRORS, STOP_REASONS, error_code, stop_reason
from bench.runs.records import NEVER_SENT
from bench.runs.table import column_of
from bench.server import tinymodel
from bench.types import Record, UserError
from scenarios import list_scenarios
from tests.commands import bench

ROOT = Path(__file__).parents[1]
DOCS = {path.name: path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")}
PAGES = DOCS | {name: (ROOT / name).read_text(encoding="utf-8") for name in ("README.md", "CHANGELOG.md")}
PYTHON = ".venv/bin/python"
# Of programs that are not ours.
FOREIGN_FLAGS = {
    "--ambient-caps", "--cap-add", "--collect-interval", "--cooldown-ratio", "--ctx-size", "--deep",
    "--distributed-executor-backend", "--dtype", "--explore", "--enable-prompt-tokens-details",
    "--inh-caps", "--init-groups", "--interrupt_requests", "--max-model-len", "--metrics", "--n-gpu-layers",
    "--n_gpu_layers", "--no-deps",
    "--output-details", "--parallel", "--regid", "--reuid", "--second-try", "--served-model-name",
    "--tensor-parallel-size", "--warmup-ratio",
}  # fmt: skip
TAKE_A_CODE = {"WireError", "fail", "end_all", "_not_sent"}
# A command of another tool, with its lines that go on.
OF_OTHER_TOOLS = re.compile(r"^(?:aiperf|guidellm) (?:.*\\\n)*.*$", re.MULTILINE)
FLAG = re.compile(r"(?<![\w-])--[a-z][\w-]*")


def commands(known: Iterable[click.Command], name: str = "bench.py") -> Iterator[tuple[str, click.Command]]:
    for command in known:
        yield f"{name} {command.name}", command
        if isinstance(command, click.Group):
            yield from commands(command.commands.values(), f"{name} {command.name}")


COMMANDS = dict(commands(map(root.command, root.COMMANDS)))
FLAGS = {flag for command in (root.cli, *COMMANDS.values()) for option in command.params for flag in option.opts} | {
    "--help", "--version",
}  # fmt: skip
# Of other tools, which we understand or say something of.
FLAGS |= {f"--{word}" for word in (*familiar.SAME, *familiar.ELSEWHERE, familiar.MOST_AT_ONCE)} | {"--num_prompts"}


def blocks(page: str, language: str, *, tested: bool) -> list[str]:
    """The code blocks of a page; `tested` ones stand below a comment that says so."""
    found = re.findall(rf"(<!-- tested -->\n)?```{language}\n(.*?)```", page, re.DOTALL)
    return [code for mark, code in found if mark or not tested]


def shell_commands(page: str, *, tested: bool) -> list[list[str]]:
    lines = "\n".join(blocks(page, "console", tested=tested)).splitlines()
    return [shlex.split(line[2:], comments=True) for line in lines if line.startswith("$ ")]


def codes(page: str, heading: str) -> set[str]:
    """What the first column of the tables in a section names in backticks."""
    section = re.split(r"^## ", page.partition(f"## {heading}\n")[2], flags=re.MULTILINE)[0]
    first_cells = re.findall(r"^\| ([^|]*)\|", section, re.MULTILINE)
    return {code for cell in first_cells for code in re.findall(r"`([^`]+)`", cell)}


# --- what the documents tell people to run -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The README's first command as it stands, but for fewer requests and another folder."""
    folder = tmp_path_factory.mktemp("docs") / "run"
    python, *arguments = shell_commands(PAGES["README.md"], tested=True)[0]
    assert python == PYTHON
    fewer = ["--requests", "8", "--warmup", "1", "--output-tokens", "16", "--out", str(folder)]
    program, *asked = arguments
    assert program == "bench.py"
    done = bench(*asked, *fewer)
    assert done.returncode == 0, done.stderr
    assert "8 of 8 succeeded" in done.stdout
    return folder


def test_the_readme_shows_what_make_demo_runs() -> None:
    recipe = re.search(r"^demo:.*\n\t\$\(BIN\)/(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert recipe is not None
    assert shell_commands(PAGES["README.md"], tested=True)[0] == shlex.split(f".venv/bin/{recipe[1]}")


def test_the_other_commands_of_the_readme_run_on_that_run(run_folder: Path) -> None:
    said = []
    for python, *arguments in shell_commands(PAGES["README.md"], tested=True)[1:]:
        assert python == PYTHON
        arguments = [str(run_folder) if word == "results/<run-id>" else word for word in arguments]
        program, *asked = arguments
        assert program == "bench.py"
        done = bench(*asked)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert [text.splitlines()[0][:8] for text in said] == ["### tiny", "", "name    "]


SHOWN = [words for page in PAGES.values() for words in shell_commands(page, tested=False)]


@pytest.mark.parametrize("words", SHOWN, ids=" ".join)
def test_a_command_that_a_page_shows_has_flags_that_are_there(words: list[str]) -> None:
    if words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif ours := next((program for program in ("bench.py", "bench") if program in words[:2]), None):
        name, *arguments = words[words.index(ours) + 1 :]
        root.command(name).make_context(name, arguments)
    else:
        assert words[0] in ("pipx", "vllm")


@pytest.mark.parametrize("code", blocks(DOCS["files.md"], "python", tested=True), ids=["requests", "capture"])
def test_an_example_that_reads_files_runs(code: str, run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    exec(code.replace("results/<run-id>", str(run_folder)), names)
    assert "ms" in capsys.readouterr().out
    if "exchanges" in names:
        assert len(names["exchanges"]) == 9
        assert all(response.startswith(b"HTTP/1.1 200") for _, _, response in names["exchanges"])


def test_a_run_from_python_prints_what_its_example_says_and_nothing_else(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (code,) = blocks(DOCS["python.md"], "python", tested=True)
    exec(code.replace("results/", f"{tmp_path}/"), {"__name__": "__main__"})
    said = capfd.readouterr()
    assert said.err == ""
    stopped, status, ttft_ms = said.out.split()
    assert (stopped, status in ("valid", "suspect", "invalid")) == ("None", True) and float(ttft_ms) > 0
    assert (tmp_path / "from-python" / "report.html").exists()


def test_the_options_in_a_file_are_options() -> None:
    (example,) = blocks(DOCS["python.md"], "yaml", tested=True)
    assert RunOptions.of(yaml.safe_load(example)).slo == ("ttft_ms:p99<500", "tpot_ms:p90<50")


def test_the_example_of_a_scenario_is_one(tmp_path: Path) -> None:
    from scenarios import load_scenario

    for example in blocks(DOCS["scenarios.md"], "yaml", tested=False):
        (tmp_path / "example.yaml").write_text(example)
        assert load_scenario(str(tmp_path / "example.yaml")).requests == 200


def test_the_examples_of_objectives_are_some() -> None:
    from analysis.run.slo import parse

    examples = re.findall(r"^--slo '(.+?)'", DOCS["metrics.md"], re.MULTILINE)
    assert [parse(example).metric for example in examples] == ["ttft_ms", "tpot_ms", "response_ms"]
    with pytest.raises(UserError):
        parse("ttft_ms")


# --- nothing is left out -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
def test_running_names_every_command_and_the_pages_all_flags(name: str) -> None:
    command = COMMANDS[name]
    assert f"`{name.removeprefix('bench.py ')}" in DOCS["running.md"]
    named = {flag for page in DOCS.values() for flag in FLAG.findall(page)}
    assert {flag for option in command.params if isinstance(option, click.Option) for flag in option.opts} <= named


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_no_flag_that_does_not_exist(name: str) -> None:
    ours = OF_OTHER_TOOLS.sub("", PAGES[name])
    assert set(FLAG.findall(ours)) - FLAGS - FOREIGN_FLAGS == set()


def test_the_columns_of_requests_are_explained() -> None:
    assert codes(DOCS["files.md"], "requests.parquet") == {*map(column_of, Record._fields), *DERIVED}


@pytest.mark.parametrize("file", ["run.json", "summary.json"])
def test_the_keys_of_the_json_files_are_explained(file: str, run_folder: Path) -> None:
    content = orjson.loads((run_folder / file).read_bytes())
    assert codes(DOCS["files.md"], file) == set(content)
    inner = {key for value in content.values() if isinstance(value, dict) for key in value}
    inner |= {key for value in content.values() if isinstance(value, list) for row in value[:1] if isinstance(row, dict)
              for key in row}  # fmt: skip
    explained = set(re.findall(r"`(\w+)`", DOCS["files.md"]))
    assert inner - METRICS.keys() - set(content.get("packages", ())) - _server_says(content) - explained == set()


def _server_says(content: dict[str, Any]) -> set[str]:
    return set(content["server"].get("settings", ()))


def test_the_files_of_a_run_are_explained(run_folder: Path) -> None:
    names = {path.name for path in run_folder.iterdir()} - {"capture"}
    assert names <= set(re.findall(r"`([\w.]+)`", DOCS["files.md"]))


def test_every_metric_identity_and_doubt_is_defined() -> None:
    assert codes(DOCS["metrics.md"], "Metrics") == METRICS.keys()
    assert codes(DOCS["metrics.md"], "Identities") == {identity.__name__ for identity in IDENTITIES}
    checks = "".join(path.read_text() for path in (ROOT / "analysis/checks").glob("*.py"))
    doubts = re.findall(r'Finding\(\s*"\w+",\s*"(\w+)"', checks)
    assert codes(DOCS["validity.md"], "The checks") == set(doubts)


def test_the_taxonomy_has_the_error_codes_that_the_code_uses() -> None:
    modules = [ROOT / f"bench/{name}.py" for name in ("wire/connection", "wire/http1", "load/worker", "runs/records")]
    used = {code for path in (*modules, *(ROOT / "backends").rglob("*.py")) for code in _error_codes(path)}
    assert used | NEVER_SENT.keys() == ERRORS.keys() | {"http_<status>"}


def test_the_taxonomy_of_the_documents_is_that_of_the_code() -> None:
    rows = {row[0].strip("`"): row for row in _rows("Error taxonomy", columns=7)}
    assert rows.keys() == ERRORS.keys() | {"http_<status>"}
    sent, billed = {True: "yes", False: "no", None: "perhaps"}, {"usage": "by usage"}
    for code, (_, _, _, *said, advice) in rows.items():
        known = error_code("http_500") if code == "http_<status>" else ERRORS[code]
        assert said == [sent[known.sent], billed.get(known.billed, known.billed), known.counts_as], code
        assert code == "http_<status>" or advice.replace("`", "").startswith(known.remedy.replace("`", "")), code


def test_the_reasons_to_stop_of_the_documents_are_those_of_the_code() -> None:
    rows = [[cell.replace("`", "") for cell in row] for row in _rows("Error taxonomy", columns=4)]
    known = [*STOP_REASONS, stop_reason("a load process died")]
    assert rows == [[each.begins or "anything else", str(each.exit_code), each.unsent, each.remedy] for each in known]


def _rows(section: str, columns: int) -> list[list[str]]:
    """The rows of a section's tables that have so many columns, without their heads."""
    text = DOCS["metrics.md"].partition(f"## {section}\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    return [row for row in rows if len(row) == columns and row[0] not in ("code", "begins with")]


def _error_codes(path: Path) -> Iterator[str]:
    """What stands first in a pair (code, message), where a function takes a code, and as an `error` of a dict."""
    for node in ast.walk(ast.parse(path.read_text())):
        match node:
            case ast.Tuple([code, message], ast.Load()) if not _is_word(message):
                yield from _as_codes(code)
            case ast.Call(ast.Name(name) | ast.Attribute(_, name), [code, *_]) if name in TAKE_A_CODE:
                yield from _as_codes(code)
            case ast.Dict(keys, values):
                pairs = zip(keys, values, strict=True)
                yield from (code for key, value in pairs if key and ast.unparse(key) == "'error'"
                            for code in _as_codes(value))  # fmt: skip


def _as_codes(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.Constant(str(code)) if _is_word(node):
            yield code
        case ast.IfExp(_, yes, no):
            yield from (*_as_codes(yes), *_as_codes(no))
        case ast.JoinedStr([ast.Constant("http_"), _]):
            yield "http_<status>"


def _is_word(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and re.fullmatch(r"[a-z_]+", str(node.value)) is not None


def test_every_scenario_is_in_the_table_with_its_numbers() -> None:
    rows = re.findall(
        r"^\| `([\w-]+)` .*\| (\d+) \| (\d+(?: sessions)?) \| (\d+) \|[^|]*\|$", DOCS["scenarios.md"], re.MULTILINE
    )
    bundled = [
        (s.name, str(s.concurrency), f"{s.turns.sessions} sessions", str(s.turns.warmup_sessions))
        if s.turns
        else (s.name, str(s.concurrency), str(s.requests), str(s.warmup_requests))
        for s in list_scenarios()
    ]
    assert sorted(rows) == bundled


def test_every_backend_and_model_is_named() -> None:
    assert all(f"\n## `{name}`\n" in DOCS["backends.md"] for name in BACKENDS)
    assert all(f"`{name}`" in PAGES["CHANGELOG.md"] for name in tinymodel.SIZES)


# --- links -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PAGES)
def test_the_links_of_a_page_lead_somewhere(name: str) -> None:
    here = ROOT / "docs" if name in DOCS else ROOT
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        if target.startswith(("http://", "https://")):
            continue
        path, _, heading = target.partition("#")
        file = here / path if path else here / name
        assert file.exists(), target
        assert not heading or heading in _anchors(file), target


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
