"""`bench.py breakeven`: servers of one's own or an API, and from which volume on."""
