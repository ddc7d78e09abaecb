"""Decisions of the broker as pure functions: they perform no I/O, and receive the current time and random numbers as
parameters."""
