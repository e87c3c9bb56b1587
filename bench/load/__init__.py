"""The load process and who starts it: dispatch, timers, slots, spending. Locust and gevent live here alone."""
