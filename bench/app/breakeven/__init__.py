"""Servers of one's own against APIs: from what the user says to a comparison, and small choices beside it."""
