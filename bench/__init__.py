"""Offer the load and observe it: sockets, clocks, Locust and files.

A package wins over the module `bench.py` of the same name: without this file `import bench` would find the script.
"""

__version__ = "0.1.0"
