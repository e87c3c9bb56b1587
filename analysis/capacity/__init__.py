"""The highest rate that keeps the objectives: which rate to try next, and what all tries say together."""
