"""Exporters in virtual time: recorded text whose power and energy are those of a known course, told as asked.

A machine's text tells of its energy by a counter alone.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import cos, floor, pi, sin
from pathlib import Path

import pyarrow as pa

from bench.telemetry import exporters
from bench.telemetry.scraping import Exporter, Scrape

RECORDED = Path(__file__).parents[2] / "fixtures" / "exporters"
SECOND = 1_000_000_000
EPOCH_S = 1_790_000_000.0
"""What our clock says when virtual time begins."""
UNITS_PER_J = {"DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": 1e3, "gpu_energy_consumed": 1e6,
               "node_rapl_package_joules_total": 1.0}  # fmt: skip
BEFORE_J = 5e6
"""What the counters had counted by then."""
WATTS = ("DCGM_FI_DEV_POWER_USAGE", "gpu_package_power", "gpu_power_usage")
LINE = re.compile(r"^(\w+)(\{.*\}) (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Course:
    """A power that swings about a ramp, with its exact integral."""

    base_w: float
    ramp_w_per_s: float
    swing_w: float
    period_s: float

    def power_w(self, t_s: float) -> float:
        """The power at an instant."""
        return self.base_w + self.ramp_w_per_s * t_s + self.swing_w * cos(2 * pi * t_s / self.period_s)

    def energy_j(self, t_s: float) -> float:
        """The integral since 0."""
        turn = 2 * pi / self.period_s
        return self.base_w * t_s + self.ramp_w_per_s * t_s**2 / 2 + self.swing_w / turn * sin(turn * t_s)


@dataclass(frozen=True)
class FakeExporter:
    """An exporter that speaks recorded text of cards with this course.

    Its clock is `ahead_s` of ours. It renews its values each `renews_s` (0: whenever asked); it leaves out what is in
    `lacks` (quantities of ours: energy_j or power_w). Its counters began anew at `anew_s`. A scrape takes `takes_s`,
    those that begin within `slow` take 2 s, those within `dead` do not come; within `nan` its values are NaN.
    """

    text: str
    course: Course
    ahead_s: float = 0.0
    renews_s: float = 0.0
    stamped: bool = False
    lacks: tuple[str, ...] = ()
    anew_s: float | None = None
    takes_s: float = 0.02
    slow: tuple[float, float] = (0.0, 0.0)
    dead: tuple[float, float] = (0.0, 0.0)
    nan: tuple[float, float] = (0.0, 0.0)

    def answer(self, t_s: float) -> str:
        """What it says of what it knows at an instant."""
        read_s = floor(t_s / self.renews_s) * self.renews_s if self.renews_s else t_s
        began_anew = self.anew_s is not None and read_s >= self.anew_s
        before_j = -self.course.energy_j(self.anew_s or 0.0) if began_anew else BEFORE_J
        stamp = f" {round((EPOCH_S + read_s + self.ahead_s) * 1000)}" if self.stamped else ""

        def told(line: "re.Match[str]") -> str:
            name, labels, value = line.groups()
            if name in UNITS_PER_J:
                joules = self.course.energy_j(read_s) + before_j
                value = "" if "energy_j" in self.lacks else f"{joules * UNITS_PER_J[name]:.3f}"
            elif name in WATTS:
                value = "" if "power_w" in self.lacks else f"{self.course.power_w(read_s):.6f}"
            if self.nan[0] <= t_s < self.nan[1]:
                value = value and "NaN"
            return value and f"{name}{labels} {value}{stamp}"

        return LINE.sub(told, self.text)

    def scrapes(self, until_s: float) -> Iterator[Scrape]:
        """The answers to questions of each second, from a little before virtual time begins."""
        asked_s = -3.0
        while asked_s < until_s:
            if self.dead[0] <= asked_s < self.dead[1]:
                asked_s += 1.0
                continue
            takes_s = 2.0 if self.slow[0] <= asked_s < self.slow[1] else self.takes_s
            read_s, answered_s = asked_s + takes_s / 2, asked_s + takes_s
            date_s = floor(EPOCH_S + read_s + self.ahead_s)
            yield Scrape(
                self.answer(read_s), date_s, round(asked_s * SECOND), round(answered_s * SECOND), EPOCH_S + answered_s
            )
            asked_s += max(1.0, -(-takes_s // 1.0))

    def observed(self, until_s: float) -> tuple[Exporter, pa.Table]:
        """What telemetry has of it: how it answered, and the rows of its cards, or of its machine."""
        keys = exporters.gpus(self.answer(0.0))
        exporter = Exporter("http://exporter/metrics", {key: i for i, key in enumerate(keys)}, None if keys else 0)
        rows = []
        for found in self.scrapes(until_s):
            exporter.note(found)
            rows += [
                (t_ns, source, name, value)
                for source, reading, t_ns in exporter.rows(found)
                for name, value in reading.items()
            ]
        names = ("t_ns", "source", "name", "value")
        return exporter, pa.table({name: [row[i] for row in rows] for i, name in enumerate(names)})
