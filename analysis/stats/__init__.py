"""Quantiles, distributions and intervals, none of which knows what a request is."""
