"""`bench.py selftest`: how far this machine's client is from the truth, at which load."""
