"""`bench.py import`, `export` and `crosscheck`: other tools' results, and our runs as theirs."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from bench import app
from bench.cli.base import OneOf, echo
from bench.cli.numeric import WHOLE
from bench.cli.options import printed

if TYPE_CHECKING:
    from analysis.present.document import Document


@click.command("import")
@click.argument("given", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the run, or of the folders of several.  [results/]"
)
@click.option("--model", help="The model's name, where a file has none.")
@printed()
def import_(given: tuple[Path, ...], out: Path | None, model: str | None) -> "Document":
    """Make run folders of what other tools measured.

    FILE is a result of vLLM bench (Python or Rust), SGLang, GuideLLM, AIPerf, inference-perf, genai-bench, LLMPerf or
    LLMeter, detected by content. report, compare and breakeven take the folders.

    \b
    bench.py import vllm-bench.json benchmarks.json
    """
    from analysis.present import of_imported

    return of_imported.document(app.imports.import_files(given, out, model))


@click.command()
@click.argument("folder", metavar="RUN")
@click.argument("theirs", type=click.Path(path_type=Path))
@click.option("--part", type=WHOLE, help="Number of the result, from 1, if the file has several.")
@printed()
def crosscheck(folder: str, theirs: Path, part: int | None) -> "Document":
    """Compare a run of ours with another tool's result for the same server.

    THEIRS is a file that `import` takes. Where figures differ, our run is evaluated by the other tool's definitions
    (role chunk as first token, time from the connection, chunks as tokens, warm-up and failures counted, rates over all
    the time); any remaining difference is shown.

    \b
    bench.py crosscheck latest vllm-bench.json
    """
    from analysis.present import of_crosscheck

    path = Path(app.listing.folder_of(folder, "run"))
    return of_crosscheck.document(app.imports.crosscheck_with(path, theirs, part), str(path))


@click.command()
@click.argument("folder", metavar="RUN")
@click.option(
    "--format",
    "form",
    required=True,
    type=OneOf(["vllm", "aiperf", "guidellm", "openmetrics", "csv"]),
    help="Whose format.",
)
def export(folder: str, form: str) -> None:
    """Print a run of ours in another tool's format.

    vllm is what `vllm bench serve --save-detailed` writes, aiperf profile_export_aiperf.json, guidellm benchmarks.json;
    openmetrics is for a time series database, csv has a row for each request.

    \b
    bench.py export latest --format vllm > vllm-bench.json
    """
    from bench.cli import output

    path = Path(app.listing.folder_of(folder, "run"))
    if form == "csv":
        output.print_rows(app.results.csv_rows(path))
    else:
        echo(app.imports.exported(path, form).rstrip("\n"))
