"""The command line: the one part of `bench` that joins it to backends, scenarios and analysis.

`main` is imported by bench.py and by the console script; all else is imported when it is needed.
"""


def main() -> None:
    """Run the command line and exit with its code."""
    import signal

    # While this imports there is nothing to end but itself. Where Ctrl-C is ignored (nohup, cron) it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from bench.process.streams import prepare

    prepare()
    from bench.cli.base import run_and_exit
    from bench.cli.root import cli

    try:
        run_and_exit(cli)
    finally:
        # All is said; what is left is the interpreter's own end, which Ctrl-C would only garble.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
