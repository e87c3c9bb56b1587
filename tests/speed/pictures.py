"""`make pictures`: the pictures of docs/ and README's "What a run prints", from runs on this machine as it is now.

Needs a Chromium and a C compiler, and a machine that does nothing else: what it shows is what readers see first. The
study's contenders are the embedded llama.cpp and two ground-truth servers of known speed, at made-up prices.
"""

import base64
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from bench.truth.server import TruthOptions, launch
from tests.analysis.conftest import Page, find_browser, new_page, running

ROOT = Path(__file__).parents[2]
README, DOCS = ROOT / "README.md", ROOT / "docs"
PRINTED = re.compile(r"(\$ \.venv/bin/python (bench\.py run --scenario chat)\n).*?(?=```)", re.DOTALL)
BREAK_EVEN = re.compile(r"`(bench\.py breakeven [^`]*)\s--out\sDIR`")
SPEEDS = {
    "big GPU": (TruthOptions(ttft_ms=40, gap_ms=4), 2.69),
    "small GPU": (TruthOptions(ttft_ms=120, gap_ms=12), 0.71),
}


def main() -> None:
    """Make everything anew, in the place of what is there."""
    program = find_browser() or sys.exit("no Chromium on the PATH")
    with (
        tempfile.TemporaryDirectory() as scratch,
        tempfile.TemporaryDirectory(
            ignore_cleanup_errors=True  # a browser that ends may still write
        ) as profile,
    ):
        report, study, costs = demo(), sweep(Path(scratch)), break_even(Path(scratch))
        with running(program, Path(profile)) as browser_url, new_page(browser_url) as page:
            shoot(page, report, DOCS / "report.png", 1100, 1000)
            shoot(page, report, DOCS / "plots.png", 1400, 1695, "Latency")
            shoot(page, study, DOCS / "sweep.png", 1160, 1915)
            shoot(page, costs, DOCS / "break-even.png", 960, 4400)


def demo() -> Path:
    """The report of what `make demo` runs; what it printed goes into README."""
    text = README.read_text(encoding="utf-8")
    shown = PRINTED.search(text)
    assert shown, "README shows no run"
    printed = bench(*shlex.split(shown[2])).replace(str(ROOT), "…")
    README.write_text(text[: shown.end(1)] + printed + text[shown.end() :], encoding="utf-8")
    report = re.search(r"^report +…/(.*)$", printed, re.MULTILINE)
    assert report, printed
    return ROOT / report[1]


def sweep(scratch: Path) -> Path:
    """The page of the study that docs/sweep.md describes."""
    contenders: list[dict[str, object]] = [
        {"name": "llama.cpp", "backend": "llamacpp", "model": "tiny", "usd-per-hour": 0.34}
    ]
    servers = [launch(options) for options, _ in SPEEDS.values()]
    try:
        contenders += [
            {"name": name, "backend": "openai", "url": server.url, "model": "truth", "usd-per-hour": usd}
            for server, (name, (_, usd)) in zip(servers, SPEEDS.items(), strict=True)
        ]
        study = {
            "workload": {"scenario": "chat", "slo": ["ttft_ms:p99<2000"]},
            "contenders": contenders,
            "loads": [{"concurrency": 1, "requests": 30}, {"concurrency": 4, "requests": 100}, {"concurrency": 16}],
            "requests-per-month": 60_000_000,
            "versus": ["claude-haiku-4-5"],
        }
        file, folder = scratch / "study.yaml", scratch / "study"
        file.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
        bench("bench.py", "sweep", str(file), "--out", str(folder))
    finally:
        for server in servers:
            server.stop()
    return folder / "study.html"


def break_even(scratch: Path) -> Path:
    """The page of the command that docs/break-even.md names below its picture."""
    command = BREAK_EVEN.search((DOCS / "break-even.md").read_text(encoding="utf-8"))
    assert command, "docs/break-even.md names no command"
    bench(*shlex.split(command[1]), "--out", str(scratch / "costs"))
    return scratch / "costs" / "breakeven.html"


def bench(*command: str) -> str:
    """All that a command says, as on a terminal that is not one. What it says of a run's quality does not matter."""
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode not in (0, 1, 3):
        sys.exit(f"{shlex.join(command)}\n{done.stdout}")
    return done.stdout


def shoot(page: Page, file: Path, to: Path, width: int, height: int, below: str = "") -> None:
    """A page as a picture of that size, from its top or from the section of that title on."""
    page.open(file, width)
    page.drawn()
    titles = "[...document.querySelectorAll('h2')]"
    top = f"{titles}.find(title => title.textContent === '{below}').getBoundingClientRect().top + scrollY"
    clip = {"x": 0, "y": page.evaluate(top) if below else 0, "width": width, "height": height, "scale": 1}
    shot = page.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
    to.write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    main()
