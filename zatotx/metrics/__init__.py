"""Metrics: counters as plain attributes, the Prometheus text format, and the reactor's watchdog."""
