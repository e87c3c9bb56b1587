"""One run, from start to folder; and the folder read again."""
