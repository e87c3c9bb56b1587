"""`bench.py run --repeat N`: the same load again and again, so that the spread between runs is in the intervals."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bench.cli.base import echo
from bench.cli.compare import read
from bench.cli.results import exit_code, exit_code_of, recorded_code, results
from bench.cli.run import captured_is_kept, observe, sayer
from bench.exit_codes import EXIT_INTERRUPTED, EXIT_NOT_TO_BE_TRUSTED, EXIT_OBJECTIVE_MISSED, EXIT_OUT_OF_BUDGET
from bench.types import UserError

if TYPE_CHECKING:
    from analysis.compare.comparison import Run
    from bench.app.request import RunRequest
    from bench.cli.output import Screen
    from bench.server.launch import Server

WORST_FIRST = (
    EXIT_INTERRUPTED,
    EXIT_OUT_OF_BUDGET,
    EXIT_NOT_TO_BE_TRUSTED,
    EXIT_OBJECTIVE_MISSED,
    0,
)
_GAP = "  "


def repeat(request: "RunRequest", asked: int, screen: "Screen", *, keep_server: bool) -> int:
    """Make the run as often as asked, each in its own folder, and conclude from all; returns the worst exit code.

    What ends it early (Ctrl-C, a limit on spending, a server that cannot be started) keeps the runs that are there,
    and concludes from them.
    """
    from bench.app.run import launched
    from bench.runs import folder as files

    folder, codes = request.out, [0]
    files.make(folder)
    with _concluding(folder, screen), ExitStack() as stack:
        files.write_json(folder / files.REPEATS, {"schema": files.SCHEMA, "asked": asked, "keep_server": keep_server})
        server = None
        if keep_server:
            server = stack.enter_context(launched(request, sayer(screen), folder / files.SERVER_LOG))
        for number in range(1, asked + 1):
            screen.print(f"run {number} of {asked}", highlight=False)
            stopped, code = _one(request.one_of(folder, f"{number:02}"), screen, server)
            codes.append(exit_code_of(stopped, code))
            if stopped is not None:
                break
    return min(codes, key=WORST_FIRST.index)


@contextmanager
def _concluding(folder: Path, screen: "Screen") -> Iterator[None]:
    """Conclude from the runs that the block has made, also where it fails; where there is none the folder goes."""
    from bench.runs import folder as files

    try:
        yield
    except BaseException as problem:
        if _runs(folder):
            conclude(folder, screen)
        elif not any(folder.glob(f"*/{files.RUN}")):
            files.discard(folder, but_named_in=str(problem))
        raise
    conclude(folder, screen)


def _one(request: "RunRequest", screen: "Screen", server: "Server | None") -> tuple[str | None, int]:
    """One of the runs: why it stopped early, if it did, and the exit code that its summary deserves."""
    from bench.cli.screen import print_fact

    stopped = observe(request, screen, server)
    with captured_is_kept(request.out):
        summary = results(request.out)
    print_fact(screen, f"run {request.out.name}", _in_short(summary))
    return stopped, exit_code(summary)


def _in_short(summary: dict[str, Any]) -> str:
    from analysis.wording import metric, number

    verdict = summary["verdict"]
    codes = ", ".join(reason["code"] for reason in verdict["reasons"])
    return (
        f"ttft p50 {number(metric(summary, 'ttft_ms', 'p50'))} ms, "
        f"{number(summary['throughput']['output_tokens_per_s'])} output tok/s, "
        f"{verdict['status']}{codes and f': {codes}'}"
    )


# --- what is made of them ---------------------------------------------------------------------------------------


def decode_all(folder: Path, screen: "Screen", window: str | None) -> int:
    """Read the captures of each of the repeats again and conclude from all; returns the worst exit code."""
    from bench.runs import folder as files

    folders = [path.parent for path in sorted(folder.glob(f"*/{files.RUN}"))]
    codes = [recorded_code(one, exit_code(results(one, window))) for one in folders]
    if not codes:
        raise UserError(f"{folder}: there is no run in it to conclude from")
    conclude(folder, screen)
    return min(codes, key=WORST_FIRST.index)


def conclude(folder: Path, screen: "Screen") -> None:
    """Write repeats.json and repeats.html from the runs that are there, and show what they say together."""
    from analysis.repeats import summarize
    from bench.runs import folder as files

    asked = files.read_json(folder, files.REPEATS)
    found = summarize(_runs(folder), asked["asked"], keep_server=asked["keep_server"])
    files.write_json(folder / files.REPEATS, found)
    _write_page(folder, found)
    _print(screen, found, folder)


def report_all(folder: Path, form: Literal["html", "markdown", "json"]) -> None:
    """Write the page of repeats again, or print them."""
    import orjson

    from analysis.present.repeats_written import markdown
    from bench.runs import folder as files

    found = files.read_json(folder, files.REPEATS)
    if "runs" not in found:
        raise UserError(f"{folder}: nothing was concluded from its runs yet; do so with: bench.py decode {folder}")
    if form == "html":
        _write_page(folder, found)
        echo(str(folder / files.REPEATS_PAGE))
    elif form == "markdown":
        echo(markdown(found))
    else:
        echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())


def _runs(folder: Path) -> "list[Run]":
    """The runs of which there are results, in their order."""
    from bench.runs import folder as files

    paths = sorted(path.parent for path in folder.glob(f"*/{files.SUMMARY}"))
    return [read(path)._replace(name=path.name) for path in paths]


def _write_page(folder: Path, found: dict[str, Any]) -> None:
    from analysis.present import repeats_page
    from bench.runs import folder as files

    files.write_text(folder / files.REPEATS_PAGE, repeats_page.render(found, _runs(folder)))


def _print(screen: "Screen", found: dict[str, Any], folder: Path) -> None:
    from rich.text import Text

    from analysis.present.repeats_written import HEAD, SHOWN, how_many, lines, row
    from bench.cli.screen import print_fact, print_verdict
    from bench.runs import folder as files

    screen.print()
    print_verdict(screen, found["verdict"])
    screen.print()
    rows = [HEAD, *(row(line) for line in lines(found, SHOWN))]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for style, (name, *cells) in zip(["bold", *[""] * len(rows)], rows, strict=False):
        padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        screen.print(Text(_GAP.join([name.ljust(widths[0]), *padded]), style), soft_wrap=True)
    screen.print(Text("means over the runs ± half of their 95% interval; cv: the spread between runs", "dim"))
    screen.print()
    print_fact(screen, "runs", how_many(found))
    print_fact(screen, "report", str(folder / files.REPEATS_PAGE))
