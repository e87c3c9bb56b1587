"""What `--metrics-url` names is looked at before the load, and what is wrong with it is said in one line."""

from collections.abc import Callable
from decimal import Decimal
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from bench.app.exporters import MetricsUrl, SamplingSetup, WatchedServer, look, watched, with_accounts
from bench.app.options import WatchOptions
from bench.process.secrets import without_userinfo
from bench.types import UserError

RECORDED = Path(__file__).parents[2] / "fixtures" / "exporters"
HERE = "http://127.0.0.1:9"
CUT = "GPU-1f027ee8-6e1e-2b8c-0108-3d370e5f0418"

Serve = Callable[..., str]


@pytest.fixture
def exporter(web_server: Callable[[type[BaseHTTPRequestHandler]], str]) -> Serve:
    """`exporter(name or text, status=200, headers={}, asked=[])` gives the URL of one that answers so."""

    def start(text: str, status: int = 200, headers: dict[str, str] | None = None, asked: Any = None) -> str:
        page = (RECORDED / f"{text}.txt").read_bytes() if (RECORDED / f"{text}.txt").exists() else text.encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if asked is not None:
                    asked.append((self.path, self.headers.get("Authorization")))
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(page)

            def log_message(self, *_: object) -> None: ...

        return web_server(Handler)

    return start


def named(*urls: str, gpus: tuple[str, ...] = ()) -> WatchedServer:
    return watched(WatchOptions(metrics_url=urls, metrics_gpu=gpus))[0]


def seen(*urls: str, gpus: tuple[str, ...] = ()) -> SamplingSetup:
    return look(named(*urls, gpus=gpus), HERE, None, launched=True)


def test_every_card_of_an_exporter_counts_unless_some_are_named_and_it_is_said(exporter: Serve) -> None:
    url = exporter("dcgm-a800-mig")
    found = seen(url)
    assert [(gpu.index, gpu.number, gpu.instances) for gpu in found.observed.gpus] == [
        (0, "0", ("3", "5", "6")), (1, "1", ()), (2, "2", ()),
    ]  # fmt: skip
    assert found.notes == (
        f"all 3 GPUs of {url}/metrics counted as the server's; use --metrics-gpu to select",
        f"GPU 0 ({CUT}) is split into 3 instances; its power and energy are the whole card's, other users included",
    )
    some = seen(url, gpus=("2", "GPU-9e5b8fec-61bf-5124-a0a9-079af1b65cc6"))
    assert [(gpu.index, gpu.number) for gpu in some.observed.gpus] == [(0, "1"), (1, "2")]
    assert (some.observed.of_gpus, some.notes) == (3, ())


def test_a_card_that_two_addresses_tell_of_counts_once(exporter: Serve) -> None:
    found = seen(exporter("dcgm-l4"), exporter("dcgm-l4"), exporter("amd-mi300x"))
    assert [gpu.name for gpu in found.observed.gpus] == ["NVIDIA L4", *["AMD Instinct MI300X OAM"] * 2]
    assert [gpu.index for gpu in found.observed.gpus] == [0, 1, 2]


def test_machines_and_engines_are_known_by_what_they_tell(exporter: Serve) -> None:
    found = seen(exporter("node"), exporter("sglang"), exporter("vllm:num_requests_running 3\n"))
    assert [source.tells for source in found.observed.sources] == [("node",), ("sglang",), ("vllm",)]
    assert [engine.gauges["running"] for engine in found.engines] == [
        "sglang:num_running_reqs", "vllm:num_requests_running",
    ]  # fmt: skip
    assert [each["node"] for each in found.exporters] == [0, None, None]


def test_an_exporter_is_asked_where_exporters_tell_and_with_its_password_which_nothing_shows(
    exporter: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROM_PASS", "p/w@x")
    asked: list[tuple[str, str | None]] = []
    host = exporter("dcgm-l4", asked=asked).removeprefix("http://")
    found = seen(f"http://bob:pw@{host}", f"http://bob:$PROM_PASS@{host}/other?collect=gpu")
    assert asked == [("/metrics", "Basic Ym9iOnB3"), ("/other?collect=gpu", "Basic Ym9iOnAvd0B4")]
    assert [source.url for source in found.observed.sources] == [f"http://{host}/metrics", f"http://{host}/other"]
    _, hidden = watched(WatchOptions(metrics_url=(f"http://bob:hunter2-hunter2@{host}",)))
    assert "hunter2-hunter2" in hidden


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("--metrics-url=http://bob:pw@gpu:9400/metrics", "--metrics-url=http://(key)@gpu:9400/metrics"),
        ("https://a@b@c/x@y", "https://(key)@c/x@y"),
        ("http://gpu:9400/a@b", "http://gpu:9400/a@b"),
    ],
)
def test_no_user_and_password_is_in_what_is_shown_however_short(text: str, shown: str) -> None:
    assert without_userinfo(text) == shown


@pytest.mark.parametrize(
    ("text", "status", "headers", "said"),
    [
        ("", 302, {"Location": "http://elsewhere/metrics"}, "redirects (HTTP 302) to 'http://elsewhere/metrics'"),
        ("", 401, {}, "requires credentials"),
        ("", 404, {}, "HTTP 404 instead of metrics"),
        ("", 500, {}, "HTTP 500 instead of metrics"),
        ("<html>hello</html>", 200, {}, "found no metric of theirs"),
        ("DCGM_FI_DEV_POWER_USAGE{} 7\n", 200, {}, "found no metric of theirs"),
    ],
)
def test_an_address_of_no_use_is_said_in_one_line(
    exporter: Serve, text: str, status: int, headers: dict[str, str], said: str
) -> None:
    with pytest.raises(UserError, match=r"^--metrics-url http://127\.0\.0\.1") as problem:
        seen(exporter(text, status, headers))
    assert said in str(problem.value) and "\n" not in str(problem.value)


def test_where_nothing_listens_it_is_said() -> None:
    with pytest.raises(UserError, match=r"--metrics-url http://127\.0\.0\.1:9/metrics: .*refused"):
        seen("http://bob:pw@127.0.0.1:9")


@pytest.mark.parametrize(
    "url", ["gpu:9400", "ftp://gpu/metrics", "http://", "http://gpu:0/x", "http://g u/x", "http://x/#y"]
)
def test_what_is_no_url_is_said(url: str) -> None:
    with pytest.raises(UserError, match=r"--metrics-url .*expected http://HOST:PORT/metrics"):
        named(url)


def test_a_selector_that_names_no_card_says_which_there_are(exporter: Serve) -> None:
    with pytest.raises(UserError, match=r"--metrics-gpu '7': .* which are: 0 \(GPU-c2f7"):
        seen(exporter("dcgm-l4"), gpus=("7",))
    with pytest.raises(UserError, match="--metrics-gpu: selects GPUs reported by --metrics-url"):
        named(gpus=("0",))


@pytest.mark.parametrize("factor", ["0", "-1", "6000"])
def test_a_grid_that_no_grid_is_like_is_refused(factor: str) -> None:
    with pytest.raises(UserError, match="--grid-gco2e-per-kwh"):
        watched(WatchOptions(grid_gco2e_per_kwh=Decimal(factor)))


def test_how_each_address_answered_is_kept_where_the_sampler_lived(exporter: Serve) -> None:
    observed = seen(exporter("dcgm-l4")).observed
    account = {"scrapes": 9, "failed": 1, "scrape_s_max": 0.5, "clock_offset_s": 3.0, "clock_offset_within_s": 0.1}
    assert with_accounts(observed, [account]).sources[0].clock_offset_s == 3.0
    assert with_accounts(observed, []) == observed


def test_no_address_is_nothing_to_watch() -> None:
    found = look(WatchedServer(), HERE, None, launched=False)
    assert (found.engines, found.exporters, found.notes) == ((), (), ())
    assert found.observed.server_is_here is True
    assert MetricsUrl("a", "b").shown == "b"
