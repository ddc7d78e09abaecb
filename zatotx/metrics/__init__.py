"""Counters as plain slots, their Prometheus text, and the watchdog over the reactor."""
