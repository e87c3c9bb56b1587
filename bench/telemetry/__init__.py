"""A separate process that samples GPUs, host and server while load runs."""
