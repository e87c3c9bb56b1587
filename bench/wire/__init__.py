"""Sockets and stamps, nothing else: the only clock, and the capture."""
