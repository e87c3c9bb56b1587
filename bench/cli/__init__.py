"""The command line: the one part of `bench` that connects a user to `bench.app`.

`main` is imported by bench.py and by the console script; everything else is imported on first use.
"""


def main() -> None:
    """Run the command line and exit with its code."""
    from bench.process import interrupts

    interrupts.end_at_once()
    from bench.process.streams import prepare

    prepare()
    from bench.cli.base import run_and_exit
    from bench.cli.root import cli

    try:
        run_and_exit(cli)
    finally:
        interrupts.ignore()
