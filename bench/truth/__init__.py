"""The ground-truth server: it logs when it sent what, so that a client can be held against it."""
