"""Benchmarks of the broker and comparable servers, run together on one machine by `make bench`."""
