"""A process of its own that samples GPUs, host and server while load runs."""
