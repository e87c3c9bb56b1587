"""Self-hosted servers against APIs: from the options to a comparison, and three smaller choices."""
