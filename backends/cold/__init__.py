"""Requests to a server before and after the load, when time does not matter."""
