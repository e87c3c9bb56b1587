"""What is asked of a server before and after the load, where time does not matter."""
