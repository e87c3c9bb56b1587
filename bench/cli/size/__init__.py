"""`bench.py size`: which GPUs can serve a model, and what that costs."""
