"""Any program that writes its answer to standard output, run for each request or kept running for many."""

from backends.cold.exec import count_tokens, preflight
from backends.dialect.exec import decode, request
from backends.dialect.outgoing import CHOICES
from backends.launch.exec import serve
from bench.types import Backend

BACKEND = Backend(
    name="exec",
    description="any program: `--command './run model.bin -n {output_tokens} -i {prompt}'`",
    request=request,
    decode=decode,
    preflight=preflight,
    count_tokens=count_tokens,
    serve=serve,
    options={name: CHOICES[name] for name in ("temperature", "top_p", "seed_requests")},
    gauges={
        "running": "exec:running",
        "program_cpu_s_total": "exec:cpu_seconds_total",
        "program_peak_rss_bytes": "exec:peak_rss_bytes",
    },
)
