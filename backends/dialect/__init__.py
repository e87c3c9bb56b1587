"""Dialect by dialect, what is asked and what is answered: pure, from calls to bytes and from bytes to replies."""
