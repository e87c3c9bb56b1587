"""Servers that this tool starts, their models, and the tiny models that it builds."""
