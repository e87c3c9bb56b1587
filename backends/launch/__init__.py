"""How each server is started: its command line for a model and what the user chose."""
