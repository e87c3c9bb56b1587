"""The exporters named by `--metrics-url`, each asked once before the load, so that mistakes are found in time."""

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from itertools import count
from typing import Any, NamedTuple
from urllib.parse import quote, urlunsplit

from backends.gauges import of_engines
from bench.app import address
from bench.app.options import GCO2E_PER_KWH, WatchOptions
from bench.process.exchange import HttpAnswer
from bench.process.secrets import without_userinfo
from bench.runs.manifest import MetricsSource, ObservedGpu, ObservedServer
from bench.telemetry import exporters, scraping
from bench.telemetry.clock_offset import OffsetBounds, date_s, narrowed
from bench.telemetry.exporters import ExportedGpu
from bench.telemetry.host import is_here
from bench.telemetry.prometheus import read_metrics
from bench.telemetry.scraping import Engine
from bench.types import UserError

FLAG = "--metrics-url"
MOST_URLS = 64
KNOWN = (
    "a GPU exporter (NVIDIA's dcgm-exporter, AMD's device-metrics-exporter), node_exporter, or an engine (vLLM, TGI, "
    "llama.cpp, SGLang)"
)


class MetricsUrl(NamedTuple):
    """An address as it is requested, with user and password, and as it may be shown."""

    url: str
    shown: str


@dataclass(frozen=True, slots=True)
class WatchedServer:
    """Where the server's metrics are, which of their GPUs are its own, and the emissions per kWh of its grid."""

    urls: tuple[MetricsUrl, ...] = ()
    gpus: tuple[str, ...] = ()
    gco2e_per_kwh: Decimal | None = None


@dataclass(frozen=True, slots=True)
class SamplingSetup:
    """What will be sampled: the sampler's spec, its entry in run.json, and notes for the user."""

    engines: tuple[Engine, ...] = ()
    exporters: tuple[dict[str, Any], ...] = ()
    observed: ObservedServer = field(default_factory=ObservedServer)
    notes: tuple[str, ...] = ()


def watched(options: WatchOptions) -> tuple[WatchedServer, tuple[str, ...]]:
    """Read the options on the server's metrics, and which of their values are secret. Raises UserError."""
    hidden: list[str] = []
    urls = [_url(text, hidden) for text in options.metrics_url]
    if len(urls) > MOST_URLS:
        raise UserError(f"{FLAG}: expected at most {MOST_URLS}, got {len(urls)}")
    if options.metrics_gpu and not urls:
        raise UserError(f"--metrics-gpu: selects GPUs reported by {FLAG}; give that as well, or leave it out")
    factor = options.grid_gco2e_per_kwh
    if factor is not None:
        factor = GCO2E_PER_KWH.of("--grid-gco2e-per-kwh", str(factor))
    return WatchedServer(tuple(dict.fromkeys(urls)), options.metrics_gpu, factor), address.long_enough(hidden)


def _url(given: str, hidden: list[str]) -> MetricsUrl:
    text, variables = _expanded(given.strip())
    hidden += [*variables, *address.secrets_typed(text, ())]
    shown = without_userinfo(given)
    parts = address.taken_apart(text)
    if parts is None or not text.isprintable() or parts.fragment:
        guess = "" if "://" in given else f"; did you mean 'http://{shown}'?"
        raise UserError(f"{FLAG} {shown!r}: expected http://HOST:PORT/metrics or https://HOST/metrics{guess}")
    host = parts.netloc.rpartition("@")[2]
    path = parts.path if parts.path not in ("", "/") else "/metrics"
    whole = urlunsplit((parts.scheme, parts.netloc, path, parts.query, ""))
    return MetricsUrl(whole, urlunsplit((parts.scheme, host, path, "", "")))


def _expanded(given: str) -> tuple[str, list[str]]:
    """The URL with its variables expanded, and their contents; those before the @ may hold any characters."""
    scheme, mark, rest = given.partition("://")
    userinfo, at, _ = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")
    held: list[str] = []

    def fill(text: str, *, quoted: bool) -> str:
        filled, contents = address.expanded(FLAG, text)
        held.extend(contents)
        return quote(filled, safe="") if quoted and contents else filled

    who = ":".join(fill(part, quoted=True) for part in userinfo.split(":", 1))
    return f"{scheme}{mark}{who}{at}{fill(rest[len(userinfo) + len(at) :], quoted=False)}", held


# --- the look before the load -------------------------------------------------------------------------------------


def look(server: WatchedServer, url: str, ca_file: str | None, *, launched: bool) -> SamplingSetup:
    """Ask each address once for what it exports. Raises UserError for one that is unusable.

    `url` is where requests go.
    """
    engines: list[Engine] = []
    found: list[_ExporterGpus] = []
    # Two exporters may report one card, by its UUID: it counts for the first of them.
    numbers, nodes, known = count(), count(), dict[str, str]()
    for place in server.urls:
        answer, offset = _asked(place, ca_file)
        text = answer.data.decode(errors="replace")
        cards = exporters.gpus(text)
        gauges = {name: each for name, each in of_engines().items() if read_metrics(text, each)}
        node = next(nodes) if any(exporters.node(text)[:2]) else None
        engines += [Engine(place.url, each) for each in gauges.values()]
        own = {
            key: next(numbers)
            for key, card in cards.items()
            if (not server.gpus or exporters.matches(card, server.gpus)) and _is_new(card, place, known)
        }
        tells = (*(("gpus",) if cards else ()), *(("node",) if node is not None else ()), *gauges)
        if not tells:
            raise UserError(f"{FLAG} {place.shown}: expected metrics of {KNOWN}; found no metric of theirs")
        found.append(_ExporterGpus(place, tells, cards, own, node, offset))
    _check_selected(server, found)
    return SamplingSetup(
        tuple(engines),
        tuple(each.exporter() for each in found),
        ObservedServer(
            server_is_here=launched or is_here(url),
            sources=tuple(MetricsSource(url=each.place.shown, tells=each.tells) for each in found),
            gpus=tuple(gpu for each in found for gpu in each.observed()),
            of_gpus=sum(len(each.cards) for each in found),
        ),
        tuple(note for each in found for note in _notes(each, server.gpus)),
    )


class _ExporterGpus(NamedTuple):
    """What one address exports: which cards, and which of them count, by their numbers in the telemetry."""

    place: MetricsUrl
    tells: tuple[str, ...]
    cards: dict[str, ExportedGpu]
    own: dict[str, int]
    node: int | None
    offset: OffsetBounds | None

    def exporter(self) -> dict[str, Any]:
        """The spec of an `Exporter`."""
        return {"url": self.place.url, "gpus": self.own, "node": self.node, "offset": self.offset}

    def observed(self) -> Iterable[ObservedGpu]:
        """The cards that count, as run.json has them."""
        for key, index in self.own.items():
            card = self.cards[key]
            yield ObservedGpu(
                index=index,
                name=card.label("modelName", "card_series", "card_model"),
                uuid=_identity(card),
                host=card.label("Hostname", "hostname"),
                number=card.label("gpu", "gpu_id"),
                instances=card.parts,
                url=self.place.shown,
            )


def _identity(card: ExportedGpu) -> str | None:
    return card.label("UUID", "gpu_uuid", "serial_number")


def _is_new(card: ExportedGpu, place: MetricsUrl, known: dict[str, str]) -> bool:
    """Whether no other address reported this card; a card without UUID is unique to its address."""
    identity = _identity(card)
    return identity is None or known.setdefault(identity, place.url) == place.url


def _asked(place: MetricsUrl, ca_file: str | None) -> tuple[HttpAnswer, OffsetBounds | None]:
    """The address's usable answer; it is asked twice, in case it was just about to collect."""
    for last in (False, True):
        asked_s = time.time()
        try:
            answer = scraping.ask(place.url, ca_file)
        except scraping.FAULTS as fault:
            if last:
                why = f"no answer within {scraping.TIMEOUT_S:g} s" if isinstance(fault, TimeoutError) else str(fault)
                raise UserError(f"{FLAG} {place.shown}: {why}; is it running and reachable?") from None
            continue
        if answer.status == 200:
            return answer, narrowed(None, asked_s, time.time(), date_s(answer.headers.get("date")))
        # A server error may pass while the exporter collects; redirects and client errors do not.
        if answer.status < 500 or last:
            raise UserError(f"{FLAG} {place.shown}: {_refusal(answer)}")
    raise AssertionError("the last attempt returns or raises")


def _refusal(answer: HttpAnswer) -> str:
    if 300 <= answer.status < 400:
        where = without_userinfo(answer.headers.get("location", "nowhere"))[:200]
        return f"it redirects (HTTP {answer.status}) to {where!r}, and redirects are not followed; give that URL"
    if answer.status in (401, 403):
        return (
            f"it requires credentials (HTTP {answer.status}); give 'https://$USER:$PASSWORD@HOST…', with your own "
            "variables"
        )
    return f"HTTP {answer.status} instead of metrics; is the path right, such as /metrics?"


def _check_selected(server: WatchedServer, found: Sequence[_ExporterGpus]) -> None:
    """Check that each `--metrics-gpu` matches a GPU."""
    cards = [card for each in found for card in each.cards.values()]
    for selector in server.gpus:
        if not any(exporters.matches(card, [selector]) for card in cards):
            there = ", ".join(f"{card.label('gpu', 'gpu_id')} ({_identity(card) or 'no UUID'})" for card in cards[:8])
            raise UserError(f"--metrics-gpu {selector!r}: expected a number, a UUID or LABEL=VALUE of a GPU reported "
                            f"by {FLAG}, which are: {there or 'none'}")  # fmt: skip


def _notes(found: _ExporterGpus, selectors: Sequence[str]) -> Iterable[str]:
    if found.own and not selectors:
        of = "the one GPU" if len(found.own) == 1 else f"all {len(found.own)} GPUs"
        yield f"{of} of {found.place.shown} counted as the server's; use --metrics-gpu to select"
    for key, index in found.own.items():
        if parts := found.cards[key].parts:
            yield (
                f"GPU {index} ({key}) is split into {len(parts)} instances; its power and energy are the whole "
                "card's, other users included"
            )


def with_accounts(observed: ObservedServer, accounts: Sequence[dict[str, Any]]) -> ObservedServer:
    """The sources of run.json after the load, with how each address answered, if the sampler survived."""
    if len(accounts) != len(observed.sources):
        return observed
    pairs = zip(observed.sources, accounts, strict=True)
    return replace(observed, sources=tuple(replace(source, **account) for source, account in pairs))
