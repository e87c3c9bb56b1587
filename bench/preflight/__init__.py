"""Between a server and the load: what it says of itself, prompts counted, a first request rehearsed."""
