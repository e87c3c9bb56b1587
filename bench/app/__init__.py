"""What the commands do, callable from Python: the only room that joins all others."""
