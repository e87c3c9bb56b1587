"""One run: from its records to metrics, rates, counts and summary.json."""
