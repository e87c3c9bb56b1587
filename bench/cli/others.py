"""`bench.py import`: what other tools measured, as run folders."""

from pathlib import Path

import click

from bench import app


@click.command("import")
@click.argument("given", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The run's folder, or of several theirs.  [results/]")
@click.option("--model", help="The model's name, where a file has none.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def import_(given: tuple[Path, ...], out: Path | None, model: str | None, as_json: bool) -> None:
    """Make run folders of what other tools measured.

    FILE is a result of vLLM bench (Python or Rust), SGLang, GuideLLM, AIPerf, inference-perf, genai-bench, LLMPerf or
    LLMeter, known by what is in it. report, compare and breakeven take the folders.

    \b
    bench.py import vllm-bench.json benchmarks.json
    """
    from analysis.present.of_imported import document
    from bench.cli.output import deliver

    deliver(document(app.imports.import_files(given, out, model)), "text", as_json=as_json)
