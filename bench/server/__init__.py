"""Servers that this tool starts, the models it gives them, and the tiny model that it makes."""
