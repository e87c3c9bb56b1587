"""`bench.py sweep` and `init` as their user meets them: cells in turns, kills, failures, the page and its figures."""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis.present import chart_library
from analysis.present.of_study import SHOWN
from analysis.run import summary as summaries
from analysis.study import FIGURES, ContenderResult, StudyCell, StudyResult, StudyRun
from analysis.wording import dollars, number, percent
from bench.app.compare import runs_of_sides
from bench.app.sweep.cells import cells_of
from bench.app.sweep.results import _sides
from bench.app.sweep.running import yaml_of
from bench.app.sweep.study import Contender, Study, StudyLoad, of_flags, read, study_of
from bench.runs import folder as files
from bench.runs import manifest
from bench.truth.server import TruthOptions, launch
from bench.types import UserError
from tests.commands import bench
from tests.summaries import manifest_of, summary_of

ROOT = Path(__file__).parents[3]


# --- what a study is --------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(1, 3), st.booleans())
def test_every_cell_comes_once_and_over_two_repeats_nobody_is_earlier_than_others(
    contenders: int, loads: int, pairs: int, together: bool
) -> None:
    study = Study(
        tuple(Contender(f"c{i}", {}) for i in range(contenders)),
        tuple(StudyLoad(f"l{i}", {}) for i in range(loads)),
        repeats=2 * pairs,
        servers="together" if together else "one at a time",
    )
    cells = list(cells_of(study))
    assert len({cell.name for cell in cells}) == len(cells) == contenders * loads * 2 * pairs
    places = defaultdict(list)
    for place, cell in enumerate(cells):
        places[cell.contender.name, cell.load.name].append(place)
    assert {mean(where) for where in places.values()} == {(len(cells) - 1) / 2}


def test_the_file_that_init_writes_is_a_study_and_a_study_is_written_as_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    assert bench("init", path).returncode == 0
    found = read(path)
    assert study_of(yaml.safe_load(yaml_of(found))) == found
    assert [load.name for load in found.loads] == ["c1", "c4", "c16"]
    assert bench("init", path).returncode == 2
    # What is commented out there is right as well.
    everything = re.sub(r"^(\s*)# (?=[-\w ]+:? ?[-\[\w])", r"\1", path.read_text().partition("\n\n")[2], flags=re.M)
    assert len(study_of(yaml.safe_load(everything)).contenders) == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"contenders": []}, "contenders: expected a list of at least one entry"),
        ({"loads": [{"concurency": 4}]}, "load 1: 'concurency' is not a key here; did you mean 'concurrency'?"),
        ({"contenders": [{"backend": "vllm", "scenario": "chat"}]}, "contender 1: 'scenario' is not a key here"),
        ({"loads": [{"concurrency": "many"}]}, "load 1: --concurrency: expected a whole number, got 'many'"),
        ({"loads": [{"capacity": True, "rate": 2}]}, "load 1: capacity finds the rate: leave out rate"),
        ({"repeats": 0}, "repeats"),
        ({"servers": "apart"}, "servers: expected together or one at a time, got 'apart'"),
        ({"main_load": "c9"}, "main_load: expected one of c1, got 'c9'"),
        ({"contenders": [{"name": "a b"}, {"name": "a-b"}]}, "two have the name 'a-b'"),
    ],
)
def test_what_is_wrong_with_a_study_is_said_with_its_place(change: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError) as refused:
        study_of({"contenders": [{"backend": "llamacpp"}], "loads": [{"concurrency": 1}], **change})
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_contender_names_its_own_exporters_and_the_study_keeps_no_password_of_theirs() -> None:
    gpus = {"metrics-url": ["http://bob:pw@gpu7:9400"], "metrics-gpu": "0", "grid-gco2e-per-kwh": 380}
    contenders = [{"backend": "openai", "url": "http://gpu7:8000", **gpus}, {"backend": "claude"}]
    study = study_of({"contenders": contenders, "loads": [{"concurrency": 1}]})
    assert study.contenders[0].options["metrics_url"] == ["http://bob:pw@gpu7:9400"]
    assert "bob" not in yaml_of(study) and "bob" not in json.dumps(study.asked())
    assert "http://(key)@gpu7:9400" in yaml_of(study)


def test_flags_for_exporters_go_to_servers_of_ones_own() -> None:
    of_all = {"metrics_url": ("http://gpu7:9400",), "url": "http://gpu7:8000"}
    study = of_flags(backends="vllm,claude", concurrencies="1", rates=None, find_capacity=False, common=of_all)
    own, api = study.contenders
    assert own.options["metrics_url"] == ("http://gpu7:9400",) and "metrics_url" not in api.options


def test_a_dry_run_says_cells_hours_and_dollars_and_sends_nothing(tmp_path: Path) -> None:
    done = bench(
        "sweep", "--backend", "llamacpp,claude:claude-haiku-4-5", "--concurrency", "1,4", "--repeats", "2",
        "--max-usd", "0.10", "--out", tmp_path / "s", "--dry-run", env={"ANTHROPIC_API_KEY": "k"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "llamacpp: 4 cells, about " in done.stdout
    assert "at most $0.10 for its API" in done.stdout
    assert "total: 8 cells" in done.stdout
    assert not (tmp_path / "s").exists()


# --- what it measures -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[str, str]]:
    """The addresses of two servers of known speed."""
    with launch(TruthOptions(ttft_ms=5, gap_ms=1)) as fast, launch(TruthOptions(ttft_ms=20, gap_ms=2)) as slow:
        yield fast.url, slow.url


def study_file(path: Path, servers: tuple[str, str], *, broken: bool = False, **more: Any) -> Path:
    contenders = [
        {"name": name, "backend": "openai", "url": url, "model": "truth", "usd-per-hour": usd}
        for name, url, usd in zip(("fast", "slow"), servers, (1.0, 0.5), strict=True)
    ]
    if broken:
        contenders.append({"name": "broken", "backend": "llamacpp", "model": str(path.parent / "nowhere.gguf")})
    content = {
        "workload": {"scenario": "smoke", "slo": ["ttft_ms:p90<2000"]},
        "contenders": contenders,
        "loads": [{"concurrency": 1, "requests": 30}, {"concurrency": 4, "requests": 30}],
        "repeats": 2,
        **more,
    }
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def swept(servers: tuple[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study of two servers and one that cannot start."""
    place = tmp_path_factory.mktemp("sweep")
    path = study_file(
        place / "s.yaml", servers, broken=True, versus=["claude-haiku-4-5"], **{"requests-per-month": "1m"}
    )
    done = bench("sweep", path, "--out", place / "out")
    assert done.returncode == 3 or "failed" in done.stdout, done.stderr
    return place / "out"


def test_one_contender_that_cannot_start_costs_only_its_cells(swept: Path) -> None:
    found = files.read_json(swept, "study.json")
    verdicts = {each["name"]: {load["verdict"] for load in each["loads"]} for each in found["contenders"]}
    assert verdicts["broken"] == {"failed"}
    assert verdicts["fast"] | verdicts["slow"] <= {"valid", "suspect"}
    assert all("nowhere.gguf" in load["problem"] for load in found["contenders"][2]["loads"])


def test_every_figure_is_that_of_the_cells_own_summaries(swept: Path) -> None:
    """study.json holds the figures of each run; the page's tables show their medians, every column of every cell."""
    found = files.read_json(swept, "study.json")
    page = (swept / "study.html").read_text(encoding="utf-8")
    named = {column.name: figure for figure, column in SHOWN.items()}
    assert (named["ttft p50, ms"], named["good"], named["J/token"]) == ("ttft_ms_p50", "good_share", "joules_per_token")
    main, cells = (dict(_rows(page, before)) for before in (f"at {found['main_load']}</p>", "every cell"))
    checked = 0
    for contender in found["contenders"][:2]:
        for load in contender["loads"]:
            summed = [summaries.read(swept / run["folder"]) for run in load["runs"]]
            for run, summary in zip(load["runs"], summed, strict=True):
                assert {name: run[name] for name in FIGURES} == {name: of(summary) for name, of in FIGURES.items()}
                assert (swept / run["folder"] / "report.html").exists()
            places = [cells[contender["name"], load["load"]]]
            places += [main[contender["name"],]] if load["load"] == found["main_load"] else []
            for column, shown in ((column, row[column]) for row in places for column in named if column in row):
                of = FIGURES[named[column]]
                # Of two the median is the mean; a run that a busy machine disturbed may have no rate.
                known = [value for summary in summed if (value := of(summary)) is not None]
                assert shown == (_written(named[column], mean(known)) if known else "–")
                checked += 1
    assert checked >= 30


def _rows(page: str, before: str) -> Iterator[tuple[tuple[str, ...], dict[str, str]]]:
    """The rows of the first table behind some words of the page, by contender (and load, where that is a column)."""
    table = page[page.lower().index(before) :].partition("</table>")[0]
    read_rows = [
        [re.sub("<[^>]*>", "", cell).strip(" ◆") for cell in re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.S)]
        for row in re.findall(r"<tr.*?</tr>", table, re.S)
    ]
    for cells in read_rows[1:]:
        row = dict(zip(read_rows[0], cells, strict=True))
        yield tuple(row[key] for key in ("contender", "load") if key in row), row


def _written(name: str, value: float) -> str:
    return percent(value) if name == "good_share" else (dollars if name.startswith("usd") else number)(value)


def test_the_first_sentence_and_the_bills_are_those_of_breakeven_by_hand(swept: Path) -> None:
    found = files.read_json(swept, "study.json")
    program, *words = shlex.split(found["breakeven"]["command"])
    assert program == "bench.py"
    by_hand = bench(*words, "--json")
    assert by_hand.returncode == 0, by_hand.stderr
    ranking = json.loads(by_hand.stdout)["ranking"]
    assert ranking == found["breakeven"]["ranking"]
    assert f"verdict     {found['answer']}" in bench(*words).stdout
    page = (swept / "study.html").read_text(encoding="utf-8")
    assert f"<strong>{found['answer']}</strong>" in page
    for bill in ranking["month"]:
        assert f">{dollars(bill['usd'], 2)}<" in page


def test_the_page_is_one_file_that_links_to_the_runs_which_share_the_charts(swept: Path) -> None:
    page = (swept / "study.html").read_text(encoding="utf-8")
    words = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    links = [link for link in re.findall(r'href="([^"#]+)"', words) if not link.startswith("data:")]
    assert links
    assert all((swept / link).exists() for link in links)
    assert len(page) < 1_600_000
    report = next(swept.glob("fast/*/report.html")).read_text(encoding="utf-8")
    (script,) = re.findall(r'<script src="([^"]+)">', report)
    assert (next(swept.glob("fast/*")) / script).resolve().exists()
    assert len(report) < 500_000


def test_nothing_is_measured_again_and_another_question_is_refused(swept: Path, servers: tuple[str, str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in swept.glob("*/*/summary.json")}
    bench("sweep", swept)
    assert {path: path.stat().st_mtime_ns for path in swept.glob("*/*/summary.json")} == before
    other = study_file(swept.parent / "other.yaml", servers)
    refused = bench("sweep", other, "--out", swept)
    assert (refused.returncode, "holds runs of sweep with different contenders" in refused.stderr) == (2, True)


@pytest.mark.slow
def test_killed_twice_it_goes_on_with_the_same_cells_and_measures_none_twice(
    servers: tuple[str, str], tmp_path: Path
) -> None:
    path = study_file(tmp_path / "s.yaml", servers, broken=True)
    command = [sys.executable, "bench.py", "sweep", str(path), "--out", str(tmp_path / "out")]
    done = dict[Path, int]()
    for wanted in (2, 5):
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
        )
        deadline = time.monotonic() + 600
        while len(list((tmp_path / "out").glob("*/*/summary.json"))) < wanted and time.monotonic() < deadline:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        ended = {one: one.stat().st_mtime_ns for one in (tmp_path / "out").glob("*/*/summary.json")}
        assert done.items() <= ended.items()
        done = ended
    last = bench("sweep", path, "--out", tmp_path / "out")
    assert last.returncode in (2, 3), last.stderr
    after = {one: one.stat().st_mtime_ns for one in (tmp_path / "out").glob("*/*/summary.json")}
    assert done.items() <= after.items()
    found = files.read_json(tmp_path / "out", "study.json")
    assert {load["verdict"] for each in found["contenders"][:2] for load in each["loads"]} <= {"valid", "suspect"}
    assert [len(load["runs"]) for each in found["contenders"] for load in each["loads"]] == [2, 2, 2, 2, 0, 0]
    assert (tmp_path / "out" / "study.html").read_text().endswith("</html>")


@pytest.mark.slow
def test_report_writes_the_page_again_prints_it_and_writes_copies_that_need_nothing_else(
    swept: Path, tmp_path: Path
) -> None:
    page, written = swept / "study.html", json.loads((swept / "study.json").read_bytes())
    page.unlink()
    assert bench("report", swept).stdout.strip() == str(page)
    assert json.loads(bench("report", swept, "--format", "json").stdout)["contenders"] == written["contenders"]
    assert bench("report", swept, "--format", "markdown").stdout.startswith("### fast against slow")
    assert bench("report", swept, "--format", "csv").stdout.splitlines()[1].startswith("fast,c1,")
    cell, library = swept / "fast" / "c1-01" / "report.html", str(chart_library.script())
    for again in ("report", "decode"):
        assert bench(again, cell.parent).returncode in (0, 3)
        assert library not in cell.read_text() and "../../study.html" in cell.read_text()
    for folder in (swept, cell.parent):
        copy = tmp_path / "copy.html"
        assert bench("report", folder, "--html", copy).stdout.strip() == str(copy)
        assert library in copy.read_text() and "nav class" not in copy.read_text()
    assert bench("report", swept, "--html", tmp_path / "nowhere" / "x.html").returncode == 2


def test_a_field_without_an_api_has_the_bills_of_its_own_servers(swept: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(swept, tmp_path / "own")
    study = yaml.safe_load((folder / "study.yaml").read_text())
    (folder / "study.yaml").write_text(yaml.safe_dump({**study, "versus": []}))
    found = json.loads(bench("report", folder, "--format", "json").stdout)
    before = json.loads((swept / "study.json").read_bytes())["breakeven"]["ranking"]["month"]
    bills = found["breakeven"]["ranking"]["month"]
    assert {bill["name"]: bill["usd"] for bill in bills} == {
        bill["name"]: bill["usd"] for bill in before if bill["name"] in ("fast", "slow")
    }
    assert found["answer"].startswith("At 1,000,000 requests a month the cheapest is ")
    program, *words = shlex.split(found["breakeven"]["command"])
    assert program == "bench.py"
    assert json.loads(bench(*words, "--json").stdout)["ranking"]["month"] == bills
    assert bench("report", folder).returncode == 0
    assert "All options around your volume" in (folder / "study.html").read_text()


@pytest.mark.parametrize(("slower", "api", "differ"), [((1,), 1, False), ((2,), 2, False), ((1, 2), 1, True)])
def test_a_measured_api_is_held_against_the_repeat_that_its_servers_were_measured_with(
    slower: tuple[int, ...], api: int, differ: bool, tmp_path: Path
) -> None:
    """Of two repeats, which have plans of their own, a server's bill is by the slower one."""

    def contender(name: str, basis: str, slow: int) -> ContenderResult:
        found = [
            summary_of({"plan_hash": str(repeat), "cost": {"basis": basis},
                        "throughput": {"requests_per_s": 1.0 if repeat == slow else 2.0}})
            for repeat in (1, 2)
        ]  # fmt: skip
        runs = tuple(StudyRun(f"{name}/c1-0{i}", i, summary) for i, summary in enumerate(found, 1))
        for run in runs:
            (tmp_path / run.folder).mkdir(parents=True)
            manifest.write(tmp_path / run.folder, manifest_of({"plan_hash": run.summary.plan_hash, "seed": run.seed}))
        return ContenderResult(name, "vllm", "m", (StudyCell("c1", runs),))

    own = [contender(f"own{i}", "self-hosted", slow) for i, slow in enumerate(slower)]
    result = StudyResult((contender("api", "api", 1), *own), ("c1",), "c1")
    sides = _sides(Study((), ()), result, tmp_path)
    assert sides.servers == tuple(f"own{i}={tmp_path}/own{i}/c1-0{slow}" for i, slow in enumerate(slower))
    assert (sides.versus, sides.differ) == ((f"api={tmp_path}/api/c1-0{api}",), differ)


def test_compare_takes_a_sweep_as_a_side_for_each_contender_at_the_load_of_its_table(swept: Path) -> None:
    found = files.read_json(swept, "study.json")
    load = found["main_load"]
    assert runs_of_sides([str(swept)]) == [
        [swept / name / f"{load}-0{repeat}" for repeat in (1, 2)] for name in ("fast", "slow")
    ]
    one = str(swept / "fast" / f"{load}-01")
    assert len(runs_of_sides([one, str(swept)])) == 3
    alone = bench("compare", one)
    assert (alone.returncode, "expected a second side" in alone.stderr) == (2, True)


def test_the_cells_of_a_sweep_say_what_came_from_variables_and_files(tmp_path: Path, servers: tuple[str, str]) -> None:
    done = bench(
        "sweep", "--backend", "openai", "--model", "truth", "--scenario", "smoke", "--concurrency", "1",
        "--requests", "5", "--out", tmp_path / "out", env={"BENCH_URL": servers[0]},
    )  # fmt: skip
    assert done.returncode in (0, 3), done.stderr
    run = files.read_json(tmp_path / "out" / "openai-truth" / "c1-01", "run.json")
    assert [(each["option"], each["source"]) for each in run["settings"]] == [("--url", "BENCH_URL")]


@pytest.mark.parametrize("value", [4, "4", "4.0", "1e3", "2k", "many", True])
def test_numbers_of_a_search_are_read_as_they_are_printed_and_what_is_none_is_said(value: Any, tmp_path: Path) -> None:
    study = study_file(tmp_path / "s.yaml", ("http://127.0.0.1:1",) * 2, loads=[{"capacity": {"up-to": value}}])
    done = bench("sweep", study, "--out", tmp_path / "out", "--dry-run")
    is_number = value not in ("many", True)
    assert done.returncode == (0 if is_number else 2), done.stderr
    assert is_number or "--up-to: expected a number, got" in done.stderr


@pytest.mark.parametrize(("value", "code"), [("2,000", 0), ("4.5", 2), ("inf", 2)])
def test_a_whole_number_of_a_search_has_no_fraction_and_an_end(value: str, code: int, tmp_path: Path) -> None:
    study = study_file(tmp_path / "s.yaml", ("http://127.0.0.1:1",) * 2, loads=[{"capacity": {"requests": value}}])
    done = bench("sweep", study, "--out", tmp_path / "out", "--dry-run")
    assert done.returncode == code, done.stderr
    assert code == 0 or "--requests: expected a whole number, got" in done.stderr
