"""What other tools measured: their files read and written, and their figures beside ours."""
