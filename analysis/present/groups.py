"""What a mix's classes and adapters saw, as a table with a row for each."""

from collections.abc import Sequence
from typing import Final

from analysis.present.document import Column, Columns, Table, table
from analysis.run.summary import UNMEASURED, RequestGroup
from analysis.wording import number, percent

_LATENCIES: Final = (("ttft_ms", "p50"), ("ttft_ms", "p99"), ("tpot_ms", "p50"), ("response_ms", "p99"))


def groups(found: Sequence[RequestGroup], of: str) -> Table:
    """A row for each group; no rows where there are none, which is then not shown."""
    columns: Columns[RequestGroup] = (
        (Column(of, "left"), lambda each: each.name),
        (Column("requests"), lambda each: number(each.requests.planned)),
        (Column("failed", drop=1), lambda each: number(each.requests.planned - each.requests.succeeded)),
        *(
            (
                Column(f"{name.removesuffix('_ms')} {level}, ms", "decimal"),
                lambda each, name=name, level=level: number(getattr(each.metrics.get(name, UNMEASURED), level)),
            )
            for name, level in _LATENCIES
        ),
        (Column("requests/s", "decimal"), lambda each: number(each.throughput.requests_per_s)),
        (Column("output tokens/s", "decimal", 2), lambda each: number(each.throughput.output_tokens_per_s)),
        (Column("met all objectives", drop=1), lambda each: percent(each.throughput.slo_attainment)),
    )
    return table(columns, found, f"Measured requests by {of}")
