"""`bench.py selftest`: how exact this machine's client is, at which load."""
