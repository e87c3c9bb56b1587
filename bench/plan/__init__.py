"""From scenario and seed to calls: lengths, prompts, arrivals. Pure."""
