"""How each server is started: its command line for a model and the user's options."""
