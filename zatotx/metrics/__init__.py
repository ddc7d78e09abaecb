"""Metrics: counters that are plain attributes, the Prometheus text format, and the reactor's watchdog."""
