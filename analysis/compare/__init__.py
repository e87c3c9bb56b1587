"""Is the candidate slower or dearer than the base? From the files of their runs to a verdict for each measure."""
