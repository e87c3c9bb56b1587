"""Records in, numbers and pictures out: pure functions over the files of a run folder; nothing here sends a request."""
