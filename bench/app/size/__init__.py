"""Which GPUs can serve a model under a load: from what the user says to all that is known of it."""
