"""A headless Chromium driven over its DevTools protocol, for the pages the project writes."""

import base64
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import websocket

# Builders of which each has a module of its own, for the tests of every room.
from tests.analysis.comparisons import comparison  # noqa: F401
from tests.analysis.samples import doubts, filled, sampled  # noqa: F401
from tests.analysis.sides import _simulate, _summary, one, runs, simulated  # noqa: F401

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
    "--hide-scrollbars", "--remote-debugging-port=0", "--remote-allow-origins=*",
)  # fmt: skip
DRAWN = """[...document.querySelectorAll(".chart")].filter(chart => {
  const box = chart.querySelector(".main-svg")?.getBoundingClientRect();
  const marks = chart.querySelectorAll("path.js-line, .points path").length;
  return box && box.width > 200 && box.width <= innerWidth && box.height > 200 && marks;
}).map(chart => chart.id)"""
PAPER_PX = 703
"""What a sheet of A4 (210 mm) holds between margins of 12 mm, at 96 pixels an inch."""
NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


@dataclass
class Page:
    """One page of the browser: what it logged as an error and every address it asked for."""

    socket: websocket.WebSocket
    ids: Iterator[int] = field(default_factory=itertools.count)
    errors: list[str] = field(default_factory=list)
    requested: list[str] = field(default_factory=list)
    loaded: bool = False

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send one DevTools command and return its result, taking note of the events before it."""
        number = next(self.ids)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while (message := json.loads(self.socket.recv())).get("id") != number:
            self._note(message)
        assert "error" not in message, message
        result: dict[str, Any] = message["result"]
        return result

    def open(self, path: Path, width: int, dark: bool = False) -> None:
        """Load a file in a window of that width and wait until it is loaded."""
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.media(dark=dark)
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.loaded = False
        self.call("Page.navigate", url=path.as_uri())
        while not self.loaded:
            self._note(json.loads(self.socket.recv()))

    def media(self, dark: bool = False, name: str = "") -> None:
        """Switch the colour scheme, and the medium: `print`, or '' for the screen."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", media=name, features=[scheme])

    def on_paper(self, before: str = "") -> None:
        """Show the page as it is printed on a sheet of A4; `before` is done to it first."""
        self.call("Emulation.setDeviceMetricsOverride", width=PAPER_PX, height=1000, deviceScaleFactor=1, mobile=False)
        self.media(name="print")
        self.evaluate(f"{before}; dispatchEvent(new Event('beforeprint'))")

    def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression, awaited when it is a promise."""
        reply = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in reply, reply
        return reply["result"].get("value")

    def until(self, condition: str) -> None:
        """Wait until a JavaScript expression holds; charts out of view are drawn after the page has loaded."""
        self.evaluate(f"""new Promise((done, fail) => {{
          const last = performance.now() + 20_000;
          const look = () => {{
            if ({condition}) done();
            else if (performance.now() > last) fail("never");
            else requestAnimationFrame(look);
          }};
          look();
        }})""")

    def drawn(self) -> list[str]:
        """The ids of the charts that show lines or marks and fit the window, once all are there."""
        self.until("[...document.querySelectorAll('.chart')].every(chart => chart.querySelector('.main-svg'))")
        self.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
        found: list[str] = self.evaluate(DRAWN)
        return found

    def screenshot(self, path: Path) -> None:
        """The whole page as a PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _note(self, message: dict[str, Any]) -> None:
        params = message.get("params", {})
        match message.get("method"):
            case "Page.loadEventFired":
                self.loaded = True
            case "Runtime.exceptionThrown":
                self.errors.append(str(params["exceptionDetails"]))
            case "Runtime.consoleAPICalled" if params["type"] in ("error", "warning", "assert"):
                self.errors.append(str(params["args"]))
            case "Log.entryAdded" if params["entry"]["level"] in ("error", "warning"):
                self.errors.append(params["entry"]["text"])
            case "Network.requestWillBeSent":
                self.requested.append(params["request"]["url"])


def find_browser() -> str | None:
    """The path of a Chromium, None where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def running(program: str, profile: Path) -> Iterator[str]:
    """The DevTools address of a Chromium that runs meanwhile, with its profile in that folder."""
    log = (profile / "log").open("wb")
    browser = subprocess.Popen(
        [program, *FLAGS, f"--user-data-dir={profile}"], stdout=log, stderr=log, stdin=subprocess.DEVNULL
    )
    try:
        yield _url(profile / "DevToolsActivePort", browser)
    finally:
        browser.terminate()
        browser.wait(10)
        log.close()


def _url(file: Path, browser: subprocess.Popen[bytes]) -> str:
    """Chromium writes its port and the path of its endpoint, a line each, once it listens."""
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline and browser.poll() is None:
        if file.exists() and len(lines := file.read_text().splitlines()) == 2:
            return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
        time.sleep(0.05)
    raise TimeoutError(f"Chromium did not open its DevTools port within 30 s: see {file.with_name('log')}")


@contextmanager
def new_page(browser_url: str) -> Iterator[Page]:
    """A fresh page of the browser at that address, closed afterwards."""
    control = Page(websocket.create_connection(browser_url, timeout=300))
    target = control.call("Target.createTarget", url="about:blank")["targetId"]
    page = Page(websocket.create_connection(f"{browser_url.partition('/browser/')[0]}/page/{target}", timeout=300))
    try:
        yield page
    finally:
        page.socket.close()
        control.call("Target.closeTarget", targetId=target)
        control.socket.close()


@pytest.fixture(scope="session")
def browser_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The DevTools address of a Chromium started for these tests; skips where there is none."""
    program = find_browser()
    if program is None:
        pytest.skip(f"no Chromium to look at pages with: none of {', '.join(NAMES)} is on the PATH")
    with running(program, tmp_path_factory.mktemp("chromium")) as url:
        yield url


@pytest.fixture
def page(browser_url: str) -> Iterator[Page]:
    """A fresh page of the headless browser."""
    with new_page(browser_url) as page:
        yield page
