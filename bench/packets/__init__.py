"""The kernel's packet ring: when each segment came or left, whatever the client was doing meanwhile."""
