"""`bench.py gate`: did an engine or our own client get slower than a committed baseline?"""
