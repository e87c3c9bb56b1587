"""Which GPUs can serve a model under a load: from the options to the result."""
