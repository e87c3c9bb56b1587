"""What a mix's classes and adapters saw, as a table with a row for each."""

from collections.abc import Sequence
from typing import Final

from analysis.present.document import Column, Row, Table, row
from analysis.run.summary import UNMEASURED, RequestGroup
from analysis.wording import number, percent

_LATENCIES: Final = (("ttft_ms", "p50"), ("ttft_ms", "p99"), ("tpot_ms", "p50"), ("response_ms", "p99"))


def groups(found: Sequence[RequestGroup], of: str) -> Table:
    """A row for each group; no rows where there are none, which is then not shown."""
    columns = (
        Column(of, "left"),
        Column("requests"),
        Column("failed", drop=1),
        *(Column(f"{name.removesuffix('_ms')} {statistic}, ms", "decimal") for name, statistic in _LATENCIES),
        Column("requests/s", "decimal"),
        Column("output tokens/s", "decimal", 2),
        Column("kept all objectives", drop=1),
    )
    caption = f"The measured requests of each {of}; together they are all that have one"
    return Table(columns, tuple(_row(group) for group in found), caption)


def _row(group: RequestGroup) -> Row:
    counts, rates = group.requests, group.throughput
    latencies = (getattr(group.metrics.get(name, UNMEASURED), statistic) for name, statistic in _LATENCIES)
    return row(
        group.name,
        number(counts.planned),
        number(counts.planned - counts.succeeded),
        *map(number, latencies),
        number(rates.requests_per_s),
        number(rates.output_tokens_per_s),
        percent(rates.slo_attainment),
    )
