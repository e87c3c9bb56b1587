"""What the tool asks of the system it runs on: terminal, cores, limits, files of its own, and how a process ends."""
