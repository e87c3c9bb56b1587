"""Several contenders under several loads: a study, its cells, what they say, and its page."""
