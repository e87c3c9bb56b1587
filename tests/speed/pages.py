"""`python tests/speed/pages.py [FOLDER]`: how large each page is and how soon a headless Chromium has opened it.

Without a folder, of one page of each kind made from synthetic runs; else of the pages that lie in it.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from tests.analysis.conftest import find_browser, new_page, running
from tests.analysis.sample_pages import PAGES

TRIES = 5
WIDTH_PX = 1200
DRAWN = "[...document.querySelectorAll('.chart')].every(chart => chart.querySelector('.main-svg'))"


def main() -> None:
    """Print a row of the table in docs/performance.md for each page."""
    program = find_browser()
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as profile:
        files = sorted(Path(sys.argv[1]).glob("*.html")) if len(sys.argv) > 1 else list(write(Path(made)))
        print("| page | MB | loaded, ms | all charts drawn, ms |\n|---|---|---|---|")
        if program is None:
            print(*(f"| {file.stem} | {file.stat().st_size / 1e6:.2f} | | |" for file in files), sep="\n")
            return
        with running(program, Path(profile)) as browser_url:
            for file in files:
                loaded, drawn = zip(*(opened(browser_url, file) for _ in range(TRIES)), strict=True)
                megabytes = file.stat().st_size / 1e6
                print(f"| {file.stem} | {megabytes:.2f} | {median(loaded):,.0f} | {median(drawn):,.0f} |", flush=True)


def write(folder: Path) -> Iterator[Path]:
    """A file of each kind of page."""
    for name, render in PAGES.items():
        file = folder / f"{name}.html"
        file.write_text(render(), encoding="utf-8")
        yield file


def opened(browser_url: str, file: Path) -> tuple[float, float]:
    """(when its load event had ended, when its last chart was there), in ms after the start of the navigation."""
    with new_page(browser_url) as page:
        page.open(file, WIDTH_PX)
        page.until(DRAWN)
        drawn_ms: float = page.evaluate("performance.now()")
        loaded_ms: float = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd")
        assert not page.errors, page.errors
    return loaded_ms, drawn_ms


if __name__ == "__main__":
    main()
