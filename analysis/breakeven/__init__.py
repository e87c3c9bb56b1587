"""Servers of one's own or an API: from which monthly volume on, how sure that is, and what would decide it."""
