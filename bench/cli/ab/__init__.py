"""`bench.py ab`: two configurations interleaved, until it is decided which is slower or dearer."""
