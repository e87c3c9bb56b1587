"""The dialects: how calls become requests and bytes become replies; pure."""
