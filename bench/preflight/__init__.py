"""Between a server and the load: what the server reports, prompts counted, a first request rehearsed."""
