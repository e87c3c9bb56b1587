"""What a model needs in memory, how fast hardware could run it at best, and what that costs."""
