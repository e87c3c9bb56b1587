"""Findings on the machine: others on its cores, a hypervisor that takes them, a full wire, a hot GPU, a set clock."""

from collections.abc import Iterator

from analysis.checks.finding import Check, Finding
from analysis.run.summary import RunSummary
from bench.runs.manifest import RunManifest

MOST_STOLEN = 0.05
# Chat on two cores lost 4% of its throughput with a third of the window contended, 10 to 40% with all of it.
MOST_CONTENDED = 1 / 3
# An average over a second hides the bursts, which queue long before it reaches all that a link takes.
MOST_LINK_SHARE = 0.7
MOST_SLOWED = 0.05
MOST_POWER_CAPPED = 0.5
# The kernel slews the wall clock by 500 ppm at most, and the samples of its offset follow that; the rest is a step.
CLOCK_STEP_MS, SLEW = 1.0, 500e-6


def stolen_cores(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """The hypervisor gave this machine's cores to others while something here wanted to run."""
    stolen, cores = summary.host.stolen_cores, run.hardware.cores
    if stolen is not None and cores and stolen / cores > MOST_STOLEN:
        message = (
            f"the hypervisor took {stolen / cores:.0%} of this machine's cores for other guests: whatever ran here, "
            "client or server, stood still in that time; run again, or on a dedicated machine"
        )
        yield Finding("suspect", "stolen_cores", message, stolen / cores, MOST_STOLEN)


def other_load(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """Other processes took part of a machine that had no core to spare."""
    share = summary.host.contended_share
    if share is not None and share > MOST_CONTENDED:
        others = summary.host.other_busy_cores
        whose = (
            "with the server at --url or other programs, which cannot be told apart here"
            if others is None
            else f"and other programs ran on them ({others:.2g} cores on average)"
        )
        message = (
            f"for {share:.0%} of the window all cores were busy {whose}: stop other programs, or run on a "
            "dedicated machine"
        )
        yield Finding("suspect", "other_load", message, share, MOST_CONTENDED)


def wire_full(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """The network interface towards the server carried about all it can, so answers waited for the wire."""
    share = summary.host.link_share
    if share is not None and share > MOST_LINK_SHARE:
        message = (
            f"the network towards the server used {share:.0%} of its link (limit {MOST_LINK_SHARE:.0%}): "
            "waiting for it is in every latency; use a faster link, a client nearer to the server, or less load"
        )
        yield Finding("suspect", "wire_full", message, share, MOST_LINK_SHARE)


def gpu_throttled(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """A GPU's clocks were held down by heat or by its power supply, or for most of the time by its power limit."""
    for gpu in summary.throttling:
        if gpu.slowed_share > MOST_SLOWED:
            message = (
                f"GPU {gpu.index} was slowed down by heat or its power supply for {gpu.slowed_share:.0%} of the "
                "window: check its cooling, or run again when it is cool; raise --warmup to find its lasting speed"
            )
            yield Finding("suspect", "gpu_slowed", message, gpu.slowed_share, MOST_SLOWED)
        if gpu.power_capped_share > MOST_POWER_CAPPED:
            message = (
                f"GPU {gpu.index} was at its power limit for {gpu.power_capped_share:.0%} of the window: the "
                "numbers are those of that limit; name it beside them, or raise it (nvidia-smi -pl)"
            )
            yield Finding("suspect", "gpu_power_capped", message, gpu.power_capped_share, MOST_POWER_CAPPED)


def clock_step(run: RunManifest, summary: RunSummary) -> Iterator[Finding]:
    """The wall clock was set during the load, and with it the kernel's stamps of the next tenth of a second."""
    step_ns = run.clock_step_ns
    if step_ns is None or summary.client.stamps != "kernel":
        return
    seconds = max((phase.end_s for phase in summary.phases), default=0.0)
    step_ms, limit_ms = step_ns / 1e6, CLOCK_STEP_MS + SLEW * 1000 * seconds
    if step_ms > limit_ms:
        message = (
            f"the wall clock moved by {step_ms:.3g} ms against the monotonic one: arrivals within a tenth of a second "
            "of that may be wrong by as much; let the clock settle (NTP, a resumed guest), and run again"
        )
        yield Finding("suspect", "clock_step", message, step_ms, limit_ms)


CHECKS: tuple[Check, ...] = (stolen_cores, other_load, wire_full, gpu_throttled, clock_step)
