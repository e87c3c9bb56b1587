"""The command line: the one part of `bench` that joins it to backends, scenarios and analysis.

`main` is imported by bench.py and by the console script; all else is imported when it is needed.
"""


def main() -> None:
    """Run the command line and exit with its code."""
    from bench.cli.streams import prepare

    prepare()
    from bench.cli.base import conduct
    from bench.cli.root import cli

    conduct(cli)
